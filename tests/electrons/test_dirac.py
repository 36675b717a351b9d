"""Folding of K, the manifold, directions and refusals."""

import numpy as np
import pytest
from ase import Atoms

from mlepi_core.artefacts import InputError
from mlepi_core.electrons import DiracCone
from mlepi_core.structures import build_ab, build_monolayer, build_supercell, build_twisted


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6])
def test_k_folds_to_gamma_where_n_is_a_multiple_of_three(n):
    cone = DiracCone.from_atoms(build_supercell(build_ab(), n))
    assert (cone.n, cone.layers) == (n, 2)
    assert cone.both_valleys == (n % 3 == 0)
    assert cone.n_states == (8 if n % 3 == 0 else 4)
    # 8 doubly occupied states per primitive cell; the manifold straddles the Fermi level.
    assert cone.first_state + cone.n_states // 2 == 8 * n * n
    if n % 3:
        np.testing.assert_allclose(cone.point, [n / 3 % 1, 2 * n / 3 % 1, 0], atol=1e-8)


def test_k_of_vectors_at_120_degrees():
    atoms = build_monolayer()
    atoms.set_cell([atoms.cell[0], atoms.cell[1] - atoms.cell[0], atoms.cell[2]])
    np.testing.assert_allclose(DiracCone.from_atoms(atoms).point, [1 / 3, 1 / 3, 0], atol=1e-8)


def test_axes_follow_a_rotated_cell():
    atoms = build_monolayer()
    flat = DiracCone.from_atoms(atoms)
    atoms.rotate(40, "x", rotate_cell=True)
    tilted = DiracCone.from_atoms(atoms)
    normal = np.cross(atoms.cell[0], atoms.cell[1])
    np.testing.assert_allclose(tilted.axes @ tilted.axes.T, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(tilted.axes @ normal, 0, atol=1e-9)
    np.testing.assert_allclose(flat.axes[:, 2], 0, atol=1e-12)


@pytest.mark.parametrize("directions", [1, 2, 3, 6])
def test_directions_average_out_warping(directions):
    """cos 6 theta vanishes on the mean over the lines (from two on for any start; at once at 15 degrees)."""
    cone = DiracCone.from_atoms(build_supercell(build_monolayer(), 3))
    lines = cone.offsets(directions)
    angles = np.arctan2(lines @ cone.axes[1], lines @ cone.axes[0])
    assert len(lines) == directions
    assert np.cos(6 * angles).mean() == pytest.approx(0, abs=1e-12)
    both_ways = DiracCone.from_atoms(build_monolayer()).offsets(directions)
    np.testing.assert_allclose(both_ways.sum(axis=0), 0, atol=1e-12)
    assert len(both_ways) == 2 * directions


def test_refusals():
    with pytest.raises(InputError, match="not an n x n cell"):
        DiracCone.from_atoms(build_twisted((2, 1)))
    square = Atoms("C2", positions=[[0, 0, 5], [1.2, 1.2, 5]], cell=[2.4, 2.4, 10], pbc=True)
    square.arrays["layer"] = np.zeros(2, dtype=int)
    with pytest.raises(InputError, match="not hexagonal"):
        DiracCone.from_atoms(square)
    with pytest.raises(InputError, match="do not fill whole bands"):
        DiracCone.from_atoms(build_monolayer(), n_electrons=7)


def test_radius_stays_clear_of_the_next_folded_bands():
    cone = DiracCone.from_atoms(build_supercell(build_ab(), 12))
    with pytest.raises(InputError, match="next folded bands of the 12x12 cell"):
        cone.check_radius(0.1)
    cone.check_radius(0.05)
    DiracCone.from_atoms(build_supercell(build_ab(), 6)).check_radius(0.1)

"""Perturbations: sizes, rigidity, periodicity and reproducibility."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mlepi_core.artefacts import InputError
from mlepi_core.structures import (
    ANY_STACKING,
    NEAR_EQUILIBRIUM,
    build_ab,
    build_monolayer,
    build_supercell,
    change_distance,
    interlayer_distances,
    perturbed_bilayer,
    rattle,
    ripple,
    set_distance,
    shift_layer,
)
from mlepi_core.structures.perturb import Recipe


def test_rattle_has_the_given_spread_and_depends_on_seed_and_index() -> None:
    atoms = build_supercell(build_ab(), 20)
    moved = rattle(atoms, 0.03, seed=7).positions - atoms.positions
    assert moved.std() == pytest.approx(0.03, rel=0.03)
    assert np.array_equal(rattle(atoms, 0.03, seed=7).positions, rattle(atoms, 0.03, 7, 0).positions)
    assert not np.allclose(rattle(atoms, 0.03, 7, 1).positions, rattle(atoms, 0.03, 7, 0).positions)
    assert not np.allclose(rattle(atoms, 0.03, 8, 0).positions, rattle(atoms, 0.03, 7, 0).positions)


def test_perturbations_keep_labels_and_leave_their_input_alone() -> None:
    atoms = build_supercell(build_ab(), 4)
    before = atoms.positions.copy()
    for moved in (
        rattle(atoms, 0.1, 1),
        shift_layer(atoms, (0.1, 0.2)),
        change_distance(atoms, 0.1),
        ripple(atoms, 0.1, 1),
    ):
        assert np.array_equal(moved.arrays["layer"], atoms.arrays["layer"])
        assert not np.allclose(moved.positions, before)
    assert np.array_equal(atoms.positions, before)


def test_shift_moves_one_layer_rigidly_in_plane() -> None:
    atoms = build_supercell(build_ab(), 2)
    moved = shift_layer(atoms, (1 / 6, 1 / 6)).positions - atoms.positions
    lower = atoms.arrays["layer"] == 0
    assert np.array_equal(moved[lower], np.zeros_like(moved[lower]))
    assert np.allclose(moved[~lower], np.array([1 / 6, 1 / 6]) @ atoms.cell.array[:2])
    with pytest.raises(InputError, match="layer 2"):
        shift_layer(atoms, (0.1, 0.1), layer=2)


def test_distance_is_along_the_normal_of_rotated_cells() -> None:
    atoms = build_ab()
    turn = Rotation.from_euler("xy", [0.4, -1.2]).as_matrix()
    atoms.set_cell(atoms.cell.array @ turn.T)
    atoms.positions = atoms.positions @ turn.T
    moved = set_distance(atoms, 3.5)
    assert interlayer_distances(moved) == pytest.approx([3.5])
    assert np.allclose(moved.positions.mean(axis=0), atoms.positions.mean(axis=0))
    step = moved.positions[3] - atoms.positions[3]
    assert np.allclose(step, 0.17 * turn[:, 2])


def test_impossible_distances_are_refused() -> None:
    with pytest.raises(InputError, match="pass through"):
        change_distance(build_ab(), -3.2)
    with pytest.raises(InputError, match="not two"):
        set_distance(build_monolayer(), 3.0)


def test_ripple_is_periodic_long_and_along_the_normal() -> None:
    atoms = build_supercell(build_ab(), 6)
    bent = ripple(atoms, 0.15, seed=3)
    moved = bent.positions - atoms.positions
    assert np.abs(moved[:, 2]).max() == pytest.approx(0.15)
    assert np.allclose(moved[:, :2], 0.0)
    shifted = atoms.copy()
    shifted.positions += np.array([1, -2, 0]) @ atoms.cell.array
    assert np.allclose(ripple(shifted, 0.15, seed=3).positions - shifted.positions, moved)
    neighbours = atoms.get_all_distances(mic=True) < 1.5
    steps = np.abs(moved[:, 2][:, None] - moved[:, 2])[neighbours]
    assert steps.max() < 0.15 * 3 * 2 * np.pi / 6.0 * 1.43


def test_layers_share_a_ripple_unless_asked_otherwise() -> None:
    atoms = build_supercell(build_ab(), 6)
    above = atoms.arrays["layer"] == 1
    shared = ripple(atoms, 0.15, seed=3).positions - atoms.positions
    separate = ripple(atoms, 0.15, seed=3, per_layer=True).positions - atoms.positions
    # atoms on top of each other move together only under the shared ripple
    sites = atoms.positions[:, :2]
    lower, upper = np.flatnonzero(~above), np.flatnonzero(above)
    close = np.linalg.norm(sites[lower][:, None] - sites[upper][None], axis=2) < 1e-6
    a, b = np.nonzero(close)
    assert np.allclose(shared[lower[a], 2], shared[upper[b], 2])
    assert not np.allclose(separate[lower[a], 2], separate[upper[b], 2])


def test_cells_without_a_long_wave_are_refused() -> None:
    with pytest.raises(InputError, match="larger supercell"):
        ripple(build_ab(), 0.1, seed=1)
    assert np.allclose(ripple(build_supercell(build_ab(), 4), 0.0, 1).positions.std(axis=0)[2], 1.58)


@pytest.mark.parametrize("call", [lambda a: rattle(a, -0.1, 1), lambda a: ripple(a, np.nan, 1)])
def test_negative_or_undefined_sizes_are_refused(call: object) -> None:
    with pytest.raises(InputError, match="must be"):
        call(build_supercell(build_ab(), 4))  # type: ignore[operator]


def test_recipes_give_the_same_cell_whatever_else_is_made() -> None:
    atoms = build_supercell(build_ab(), 4)
    some = [perturbed_bilayer(atoms, NEAR_EQUILIBRIUM, 11, index, 4).positions for index in (5, 2)]
    again = [perturbed_bilayer(atoms, NEAR_EQUILIBRIUM, 11, index, 4).positions for index in (2, 5)]
    assert np.array_equal(some[0], again[1])
    assert np.array_equal(some[1], again[0])


def test_recipe_ranges_are_respected() -> None:
    atoms = build_supercell(build_ab(), 4)
    still = Recipe((0.0, 0.0), (0.0, 0.0), ANY_STACKING.distance, random_shift=True)
    primitive = atoms.cell.array[:2, :2] / 4
    for index in range(8):
        cell = perturbed_bilayer(atoms, still, 1, index, 4)
        assert 3.2 <= interlayer_distances(cell)[0] <= 3.6
        shift = (cell.positions - atoms.positions)[atoms.arrays["layer"] == 1][0, :2]
        fraction = shift @ np.linalg.inv(primitive)
        assert ((fraction >= 0) & (fraction < 1)).all()
    near = perturbed_bilayer(atoms, NEAR_EQUILIBRIUM, 1, 0, 4)
    assert np.abs((near.positions - atoms.positions)[:, :2]).max() < 0.06 * 5

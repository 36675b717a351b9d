"""K point, folding, supercells and their maps."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mlepi_core.artefacts import InputError
from mlepi_core.structures import (
    build_ab,
    build_monolayer,
    build_supercell,
    build_twisted,
    fold_k,
    hexagonal_cell,
    k_point,
    supercell_map,
    supercell_matrix,
)


def at_120_degrees() -> np.ndarray:
    cell = hexagonal_cell(2.474, 14.0)
    cell[1] -= cell[0]
    return cell


def test_k_of_both_conventions() -> None:
    assert np.allclose(k_point(hexagonal_cell(2.474, 14.0)), [1 / 3, 2 / 3, 0])
    assert np.allclose(k_point(at_120_degrees()), [1 / 3, 1 / 3, 0])


@pytest.mark.parametrize("cell", [hexagonal_cell(2.474, 14.0), at_120_degrees()])
def test_k_does_not_depend_on_orientation_and_is_a_zone_corner(cell: np.ndarray) -> None:
    turned = cell @ Rotation.from_euler("zyx", [0.3, -0.7, 1.1]).as_matrix().T
    k = k_point(turned)
    assert np.allclose(k, k_point(cell))
    reciprocal = 2 * np.pi * np.linalg.inv(turned).T
    images = [(k + [p, q, 0]) @ reciprocal for p in (-1, 0, 1) for q in (-1, 0, 1)]
    lengths = np.sort(np.linalg.norm(images, axis=1))
    assert lengths[0] == pytest.approx(4 * np.pi / (3 * 2.474))
    assert np.allclose(lengths[:3], lengths[0])  # a corner belongs to three zones


def test_the_nearest_neighbour_sum_vanishes_at_k() -> None:
    """The Dirac point: the sum over the three bonds of exp(2πi k·R) is zero."""
    bonds = np.array([[0, 0, 0], [-1, 0, 0], [0, -1, 0]])
    assert abs(np.exp(2j * np.pi * bonds @ k_point(hexagonal_cell(2.474, 14.0))).sum()) < 1e-12


@pytest.mark.parametrize("cell", [np.diag([2.0, 2.0, 9.0]), np.diag([2.0, 0.0, 9.0]), np.zeros((3, 3))])
def test_k_of_other_lattices_is_refused(cell: np.ndarray) -> None:
    with pytest.raises(InputError, match="hexagonal"):
        k_point(cell)


def test_folding_into_n_by_n_cells() -> None:
    k = k_point(hexagonal_cell(2.474, 14.0))
    for n in (3, 6, 9, 12):
        assert np.array_equal(fold_k(k, n), np.zeros(3))
    for n in (1, 4, 7):
        assert np.allclose(fold_k(k, n), k)
    for n in (2, 5, 8):
        assert np.allclose(fold_k(k, (n, n, 1)), [2 / 3, 1 / 3, 0])


def test_folding_is_that_of_plane_waves() -> None:
    """A wave exp(2πi k·R) over primitive cells has the folded k in units of the supercell."""
    matrix = np.array([[2, 1], [-1, 3]])
    k = np.array([0.37, -0.81, 0.0])
    full = supercell_matrix(matrix)
    phase = full @ k
    assert np.allclose((phase - fold_k(k, matrix)) % 1.0 % 1.0, 0.0, atol=1e-9)


@pytest.mark.parametrize("value", [0, (2, -1), 1.5, (1, 2, 3, 4), [[1, 1], [1, 1]]])
def test_bad_supercells_are_refused(value: object) -> None:
    with pytest.raises(InputError, match="supercell"):
        supercell_matrix(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, (3, 2), [[2, 1], [-1, 3]], [[1, 2], [3, 1]]])
def test_supercell_sites_and_map(size: object) -> None:
    primitive = build_ab()
    cell = build_supercell(primitive, size)
    matrix = supercell_matrix(size)
    assert len(cell) == 4 * abs(round(np.linalg.det(matrix)))
    kappa, shift = cell.arrays["kappa"], cell.arrays["cell_index"]
    assert np.array_equal(cell.arrays["layer"], primitive.arrays["layer"][kappa])
    assert np.allclose(cell.positions, primitive.positions[kappa] + shift @ primitive.cell.array)
    assert len(np.unique(np.column_stack([kappa, shift]), axis=0)) == len(cell)
    order = np.random.default_rng(3).permutation(len(cell))
    mixed = cell[order]
    mixed.wrap()
    found = supercell_map(mixed, primitive)
    assert np.array_equal(found.kappa, kappa[order])
    inverse = np.linalg.inv(matrix)
    assert np.allclose(np.round((found.cells - shift[order]) @ inverse, 9) % 1.0, 0.0)
    assert found.n_cells * 4 == len(cell)


def test_supercell_order_is_by_primitive_atom_then_cell_with_a1_fastest() -> None:
    cell = build_supercell(build_monolayer(), (2, 3))
    assert cell.arrays["kappa"].tolist() == [0] * 6 + [1] * 6
    assert cell.arrays["cell_index"][:6, :2].tolist() == [[0, 0], [1, 0], [0, 1], [1, 1], [0, 2], [1, 2]]


def test_phonopy_makes_supercells_in_the_same_order() -> None:
    phonopy = pytest.importorskip("phonopy")
    from phonopy.structure.atoms import PhonopyAtoms

    primitive = build_ab()
    unit = PhonopyAtoms(numbers=primitive.numbers, positions=primitive.positions, cell=primitive.cell.array)
    other = phonopy.Phonopy(unit, np.diag([3, 2, 1]), primitive_matrix=np.eye(3)).supercell
    ours = build_supercell(primitive, (3, 2))
    assert np.allclose(ours.cell.array, other.cell)
    difference = (ours.positions - other.positions) @ np.linalg.inv(other.cell)
    assert np.allclose(difference, np.round(difference), atol=1e-9)


def test_map_refuses_foreign_structures() -> None:
    primitive = build_ab()
    with pytest.raises(InputError, match="integer multiple"):
        supercell_map(build_twisted((1, 1)), primitive)
    cell = build_supercell(primitive, 2)
    cell.positions[5] += [0.2, 0, 0]
    with pytest.raises(InputError, match="atom 5"):
        supercell_map(cell, primitive)
    cell = build_supercell(primitive, 2)
    cell.positions[1] = cell.positions[0]
    with pytest.raises(InputError, match="same site"):
        supercell_map(cell, primitive)


def test_repetition_along_c_needs_periodicity_and_drops_the_labels() -> None:
    atoms = build_ab(cell_height=6.4, distance=3.2)
    with pytest.raises(InputError, match="along c"):
        build_supercell(atoms, (1, 1, 2))
    atoms.pbc = True
    assert "layer" not in build_supercell(atoms, (1, 1, 2)).arrays

"""Builders against the geometry of the DFT data and against counting formulas."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from mlepi_core.artefacts import InputError
from mlepi_core.graph import atoms_pairs, pair_vectors
from mlepi_core.structures import (
    build_aa,
    build_ab,
    build_bilayer,
    build_monolayer,
    build_twisted,
    k_point,
    twist_angle,
    twist_matrices,
)
from mlepi_core.structures.lattice import fold_k

# Input of the OpenMX calculation bg_ab_prim of the data set.
OPENMX_AB = [
    [0.0, 0.0, 5.42],
    [1.237, 0.714182282988, 5.42],
    [1.237, 0.714182282988, 8.58],
    [2.474, 1.428364565975, 8.58],
]
# Sites of the ideal 21.79° cell of the data set, in twenty-firsts of the moiré vectors.
TWISTED_LOWER = "6 3,11 2,12 6,17 5,18 9,2 8,3 12,8 11,9 15,14 14,15 18,20 17,0 0,5 20"
TWISTED_UPPER = "9 18,13 19,12 3,16 4,15 9,19 10,18 15,1 16,0 0,4 1,3 6,7 7,6 12,10 13"


def shortest_bond(atoms: Atoms) -> tuple[float, float]:
    i, j, R = atoms_pairs(atoms, 1.8)
    length = np.linalg.norm(pair_vectors(atoms.positions, atoms.cell.array, i, j, R), axis=1)
    assert len(i) == 3 * len(atoms)
    return float(length.min()), float(length.max())


def test_ab_cell_is_that_of_the_dft_data() -> None:
    atoms = build_ab()
    assert np.allclose(atoms.positions, OPENMX_AB, atol=1e-10)
    cell = [[2.474, 0, 0], [1.237, 2.142546848963, 0], [0, 0, 14.0]]
    assert np.allclose(atoms.cell.array, cell, atol=1e-10)
    assert atoms.pbc.tolist() == [True, True, False]
    assert atoms.arrays["layer"].tolist() == [0, 0, 1, 1]


def test_aa_and_shifted_stackings() -> None:
    aa = build_aa()
    assert np.allclose(aa.positions[2:, :2], aa.positions[:2, :2])
    shifted = build_bilayer((0.25, 0.5), distance=3.4)
    offset = shifted.positions[2] - shifted.positions[0]
    assert np.allclose(offset, [*(np.array([0.25, 0.5]) @ shifted.cell.array[:2, :2]), 3.4])
    assert shifted.positions[:, 2].mean() == pytest.approx(7.0)


def test_two_species_and_other_elements_in_the_upper_layer() -> None:
    bn = build_bilayer(elements=("B", "N"), top_elements=("N", "B"), lattice_constant=2.51)
    assert bn.get_chemical_symbols() == ["B", "N", "N", "B"]
    hetero = build_ab(elements=("C", "C"), top_elements=("B", "N"))
    assert hetero.get_chemical_symbols() == ["C", "C", "B", "N"]
    assert build_monolayer(elements=("B", "N")).get_chemical_symbols() == ["B", "N"]


def test_smallest_twisted_cell_is_that_of_the_dft_data() -> None:
    atoms = build_twisted((1, 1))
    sites = np.round(atoms.get_scaled_positions()[:, :2] * 21, 6).tolist()
    for label, text in enumerate((TWISTED_LOWER, TWISTED_UPPER)):
        expected = sorted([float(x) for x in pair.split()] for pair in text.split(","))
        assert sorted(s for s, n in zip(sites, atoms.arrays["layer"], strict=True) if n == label) == expected
    assert atoms.cell.array[0, 0] == pytest.approx(6.54558874, abs=1e-8)


@pytest.mark.parametrize("m", [1, 2, 3, 6, 30])
def test_twisted_cells_of_consecutive_index(m: int) -> None:
    atoms = build_twisted((m, 1))
    count = 3 * m * m + 3 * m + 1
    assert len(atoms) == 4 * count
    assert twist_angle((m, 1)) == pytest.approx(np.degrees(np.arccos((count - 0.5) / count)))
    assert np.allclose(shortest_bond(atoms), 2.474 / np.sqrt(3.0), atol=1e-9)


def test_magic_angle_cell() -> None:
    assert 4 * (3 * 30**2 + 3 * 30 + 1) == 11_164
    assert twist_angle((30, 1)) == pytest.approx(1.0845, abs=1e-4)


@pytest.mark.parametrize(
    ("index", "atoms_expected"), [((1, 2), 52), ((1, 3), 28), ((2, 3), 52), ((3, 2), 196)]
)
def test_twisted_cells_of_other_indices(index: tuple[int, int], atoms_expected: int) -> None:
    """4(3m² + 3mr + r²) atoms, and a third of that if 3 divides r."""
    atoms = build_twisted(index)
    assert len(atoms) == atoms_expected
    assert np.allclose(shortest_bond(atoms), 2.474 / np.sqrt(3.0), atol=1e-9)


@pytest.mark.parametrize("index", [(1, 1), (2, 1), (1, 2), (1, 3), (2, 3)])
def test_the_upper_lattice_is_the_lower_one_turned_by_the_twist_angle(index: tuple[int, int]) -> None:
    atoms = build_twisted(index)
    angles = []
    for label in (0, 1):
        layer = atoms[atoms.arrays["layer"] == label]
        i, j, R = atoms_pairs(layer, 2.474 + 0.01)
        vectors = pair_vectors(layer.positions, layer.cell.array, i, j, R)[:, :2]
        vectors = vectors[np.linalg.norm(vectors, axis=1) > 2.0]
        angle = np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0])) % 60.0
        angles.append(np.degrees(np.angle(np.exp(1j * np.radians(angle * 6.0)).mean())) / 6.0)
    turn = (angles[1] - angles[0] - twist_angle(index) + 30.0) % 60.0 - 30.0
    assert turn == pytest.approx(0.0, abs=1e-6)
    assert atoms.info["twist_degrees"] == pytest.approx(twist_angle(index))


def test_valleys_of_both_layers_fold_onto_corners_of_the_moire_zone() -> None:
    """Bistritzer and MacDonald: the two K points are different corners (r = 1)."""
    below, above = twist_matrices((6, 1))
    k = k_point(build_monolayer().cell)
    folded = {tuple(np.round(3 * fold_k(k, matrix)).astype(int)) for matrix in (below, above)}
    assert folded == {(1, 2, 0), (2, 1, 0)}


def test_shift_of_the_upper_layer_of_a_twisted_cell_is_in_primitive_vectors() -> None:
    plain = build_twisted((1, 1))
    assert np.allclose(build_twisted((1, 1), shift=(0.0, 0.0)).positions, plain.positions)
    below, _ = twist_matrices((1, 1))
    primitive = np.linalg.solve(below[:2, :2].astype(float), plain.cell.array[:2, :2])
    moved = build_twisted((1, 1), shift=(0.1, 0.05))
    change = (moved.positions - plain.positions)[14:, :2] - np.array([0.1, 0.05]) @ primitive
    whole = change @ np.linalg.inv(plain.cell.array[:2, :2])
    assert np.allclose(whole, np.round(whole), atol=1e-9)


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: build_ab(distance=0.2), "distance"),
        (lambda: build_ab(distance=13.9), "distance"),
        (lambda: build_ab(lattice_constant=-1.0), "lattice_constant"),
        (lambda: build_ab(elements=("C", "Xx")), "Xx"),
        (lambda: build_bilayer((0.1, np.nan)), "shift"),
        (lambda: build_twisted((2, 2)), "coprime"),
        (lambda: build_twisted((0, 1)), "index"),
        (lambda: build_twisted((1.5, 1)), "index"),  # type: ignore[arg-type]
    ],
)
def test_parameters_out_of_range_are_named(call: object, word: str) -> None:
    with pytest.raises(InputError, match=word):
        call()  # type: ignore[operator]

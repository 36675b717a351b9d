"""Neighbour pairs against ASE and brute force; relations, reverse index, invariances."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import primitive_neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st

from mlepi_core.artefacts import InputError
from mlepi_core.graph import atoms_pairs, neighbour_pairs, pair_vectors, relation_masks, reverse_index
from mlepi_core.structures import assign_layers, build_ab, build_monolayer, build_supercell


def ase_pairs(atoms: Atoms, cutoff: float) -> np.ndarray:
    i, j, shift = primitive_neighbor_list("ijS", atoms.pbc, atoms.cell.array, atoms.positions, cutoff)
    pairs = np.column_stack([i, j, shift])
    return pairs[np.lexsort(pairs.T[::-1])]


@pytest.mark.parametrize("pbc", [(True, True, False), (True, True, True), (False, False, False)])
@pytest.mark.parametrize("cutoff", [1.8, 6.35, 11.0])
def test_pairs_agree_with_ase_when_the_cutoff_exceeds_the_cell(pbc: tuple, cutoff: float) -> None:
    atoms = build_ab()
    atoms.pbc = pbc
    assert np.array_equal(np.column_stack(atoms_pairs(atoms, cutoff)), ase_pairs(atoms, cutoff))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    pbc=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    cutoff=st.floats(0.5, 7.0),
)
def test_pairs_agree_with_ase_in_random_skewed_cells(seed: int, pbc: tuple, cutoff: float) -> None:
    generator = np.random.default_rng(seed)
    cell = np.diag([3.0, 3.5, 4.0]) + generator.uniform(-1.0, 1.0, (3, 3))
    atoms = Atoms("C5", positions=generator.uniform(-9.0, 9.0, (5, 3)), cell=cell, pbc=pbc)
    assert np.array_equal(np.column_stack(atoms_pairs(atoms, cutoff)), ase_pairs(atoms, cutoff))


def test_dft_support_of_bilayer_graphene_has_81_pairs_per_atom() -> None:
    """Carbon orbitals of 6 Bohr: about 82 neighbours per atom, itself included, within 12 Bohr."""
    atoms = build_ab()
    i, *_ = atoms_pairs(atoms, 12.0 * 0.529177249)
    assert len(i) / 4 + 1 == pytest.approx(82.0, abs=1.0)


def test_pairs_are_sorted_closed_under_reversal_and_strictly_within_the_cutoff() -> None:
    atoms = build_supercell(build_ab(), 2)
    atoms.positions += np.random.default_rng(0).normal(0.0, 0.05, atoms.positions.shape)
    i, j, R = atoms_pairs(atoms, 4.0)
    pairs = np.column_stack([i, j, R])
    assert np.array_equal(pairs, pairs[np.lexsort(pairs.T[::-1])])
    partner = reverse_index(i, j, R)
    assert np.array_equal(partner[partner], np.arange(len(i)))
    assert np.array_equal(pairs[partner], np.column_stack([j, i, -R]))
    vectors = pair_vectors(atoms.positions, atoms.cell.array, i, j, R)
    assert np.array_equal(vectors[partner], -vectors)
    assert np.linalg.norm(vectors, axis=1).max() < 4.0


def test_a_pair_at_exactly_the_cutoff_is_left_out_in_both_directions() -> None:
    atoms = Atoms("C2", positions=[[0, 0, 0], [2.0, 0, 0]])
    assert len(atoms_pairs(atoms, 2.0)[0]) == 0
    assert len(atoms_pairs(atoms, 2.0 + 1e-12)[0]) == 2


def test_moving_atoms_by_lattice_vectors_changes_only_the_image_indices() -> None:
    atoms = build_ab()
    shifts = np.array([[0, 0, 0], [3, -1, 0], [0, 0, 0], [-2, 5, 0]])
    moved = atoms.copy()
    moved.positions += shifts @ atoms.cell.array
    i, j, R = atoms_pairs(moved, 6.35)
    back = np.column_stack([i, j, R + shifts[j] - shifts[i]])
    assert np.array_equal(back[np.lexsort(back.T[::-1])], np.column_stack(atoms_pairs(atoms, 6.35)))


def test_self_images_are_pairs_but_the_atom_itself_is_not() -> None:
    atoms = build_monolayer()
    i, j, R = atoms_pairs(atoms, 2.6)
    own = i == j
    assert own.sum() == 2 * 6
    assert R[own].any(axis=1).all()


def test_relations_of_a_slab_follow_the_labels() -> None:
    atoms = build_ab()
    i, j, R = atoms_pairs(atoms, 6.35)
    intra, inter = relation_masks(i, j, R, atoms.arrays["layer"])
    height = pair_vectors(atoms.positions, atoms.cell.array, i, j, R)[:, 2]
    assert np.array_equal(intra, np.abs(height) < 1e-9)
    assert np.array_equal(inter, ~intra)


def test_relations_of_a_bulk_stack_use_the_winding() -> None:
    """One layer per cell, corrugated across the edge of the cell: R_c alone does not tell images apart."""
    atoms = build_monolayer(cell_height=3.3)
    atoms.pbc = True
    atoms.positions[:, 2] = [0.05, 3.3 - 0.05]
    atoms = assign_layers(atoms)
    assert set(atoms.arrays["layer"]) == {0}
    i, j, R = atoms_pairs(atoms, 5.0)
    intra, inter = relation_masks(i, j, R, atoms.arrays["layer"], atoms.arrays["winding"])
    height = np.abs(pair_vectors(atoms.positions, atoms.cell.array, i, j, R)[:, 2])
    assert np.array_equal(intra, height < 1.0)
    assert inter.any()
    without, _ = relation_masks(i, j, R, atoms.arrays["layer"])
    assert not np.array_equal(without, intra)


def test_bad_input_is_named() -> None:
    cell = np.diag([3.0, 3.0, 0.0])
    with pytest.raises(InputError, match="atom 1"):
        neighbour_pairs([[0, 0, 0], [np.nan, 0, 0]], np.eye(3), True, 1.0)
    with pytest.raises(InputError, match="periodic direction"):
        neighbour_pairs(np.zeros((1, 3)), cell, True, 1.0)
    with pytest.raises(InputError, match="cutoff"):
        neighbour_pairs(np.zeros((1, 3)), np.eye(3), True, 0.0)
    with pytest.raises(InputError, match="no partner"):
        reverse_index([0], [1], [[0, 0, 0]])
    with pytest.raises(InputError, match="twice"):
        reverse_index([0, 0, 1, 1], [1, 1, 0, 0], np.zeros((4, 3), dtype=int))
    with pytest.raises(InputError, match="winding"):
        relation_masks([0], [1], [[0, 0, 0]], [0, 1], [0])


def test_structures_without_pairs_give_empty_arrays() -> None:
    i, j, R = neighbour_pairs(np.zeros((1, 3)), np.zeros((3, 3)), False, 3.0)
    assert i.shape == j.shape == (0,)
    assert R.shape == (0, 3)
    assert reverse_index(i, j, R).shape == (0,)
    assert neighbour_pairs(np.zeros((0, 3)), np.eye(3), True, 3.0)[2].shape == (0, 3)

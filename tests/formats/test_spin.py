"""Spin in blocks and stores: conjugation of spinors, scalar part, time reversal, round trips, refusals."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from ase import Atoms

from mlepi_core.artefacts import InputError
from mlepi_core.formats.blocks import (
    BlockMatrix,
    block_offsets,
    from_directed,
    is_canonical,
    reversed_pairs,
)
from mlepi_core.formats.spin import pauli_parts, spinor_parts
from mlepi_core.formats.store import LabelEntry, LabelStore, StoreWriter
from mlepi_core.labels import Dataset
from mlepi_core.orbitals import Basis

BASIS = Basis({"B": (0, 1), "N": (0,)})
NUMBERS = np.array([5, 7])
PAIRS = np.array([[0, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [1, 0, 1, 0, 0], [1, 1, 0, 0, 0]])
SPINS = ["none", "collinear", "soc"]


def random_matrix(spin: str, seed: int = 2) -> BlockMatrix:
    """Canonical matrix with Hermitian on-site blocks."""
    counts = BASIS.counts(NUMBERS)
    both = np.unique(np.concatenate([PAIRS, reversed_pairs(PAIRS)]), axis=0)
    blank = BlockMatrix(NUMBERS, counts, both, block_offsets(counts, both), spin=spin)
    rng = np.random.default_rng(seed)
    h = rng.normal(size=blank.hamiltonian_shape)
    if spin == "soc":
        h = h + 1j * rng.normal(size=h.shape)
    return from_directed(blank.with_values(h, rng.normal(size=h.shape[-1])), tolerance=np.inf)


def entry_of(matrix: BlockMatrix, name: str = "a") -> LabelEntry:
    atoms = Atoms(numbers=NUMBERS, positions=[[0, 0, 0], [1, 0, 0]], cell=np.eye(3) * 4, pbc=True)
    return LabelEntry(name, atoms, blocks=matrix)


def spinor_block(parts: np.ndarray) -> np.ndarray:
    return np.block([[parts[0], parts[1]], [parts[2], parts[3]]])


def test_partner_of_a_spinor_block_is_its_hermitian_conjugate():
    both = random_matrix("soc").directed()
    assert len(both.pairs) == 8
    for p, pair in enumerate(both.pairs):
        [q] = np.flatnonzero((both.pairs == reversed_pairs(pair[None])).all(axis=1))
        block, partner = spinor_block(both.block(p)), spinor_block(both.block(q))
        np.testing.assert_array_equal(partner, block.conj().T)


@pytest.mark.parametrize("spin", SPINS)
def test_halves_and_both_copies_are_the_same_matrix(spin):
    matrix = random_matrix(spin)
    again = from_directed(matrix.directed(), tolerance=0)
    np.testing.assert_array_equal(again.pairs, matrix.pairs)
    np.testing.assert_array_equal(again.hamiltonian, matrix.hamiltonian)
    order = np.array([3, 0, 4, 1, 2])
    turned = matrix._rebuild(reversed_pairs(matrix.pairs)[order], order, np.ones(5, dtype=bool))
    assert turned.spin == spin
    np.testing.assert_array_equal(turned.canonical().hamiltonian, matrix.hamiltonian)
    np.testing.assert_array_equal(turned.canonical().overlap, matrix.overlap)


def test_copies_that_are_transposed_only_are_refused():
    both = random_matrix("soc").directed()
    kept = np.repeat(is_canonical(both.pairs), np.diff(both.offsets))
    mixed = np.where(kept, both.hamiltonian, both.hamiltonian[:, both.partner_index()])
    with pytest.raises(InputError, match="hamiltonian: Hermitian copies differ by"):
        from_directed(both.with_values(hamiltonian=mixed), tolerance=1e-6)


@pytest.mark.parametrize("spin", SPINS)
def test_stacked_blocks(spin):
    matrix = random_matrix(spin)
    for shape, index in matrix.groups():
        stacked = matrix.dense_blocks("hamiltonian", index[::-1])
        assert stacked.shape == (len(index), *matrix.hamiltonian_shape[:-1], *shape)
        for block, p in zip(stacked, index[::-1], strict=True):
            np.testing.assert_array_equal(block, matrix.block(p))


def test_pauli_parts_are_traces_with_pauli_matrices():
    rng = np.random.default_rng(0)
    block = rng.normal(size=(2, 2)) + 1j * rng.normal(size=(2, 2))
    pauli = np.array(
        [[[1, 0], [0, 1]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]], [[0, 1], [1, 0]]]
    )  # 1, y, z, x
    parts = pauli_parts(*block.ravel())
    np.testing.assert_allclose(parts, [np.trace(sigma @ block) / 2 for sigma in pauli], atol=1e-15)
    np.testing.assert_allclose(spinor_parts(*parts), block.ravel(), atol=1e-15)


@pytest.mark.parametrize("spin", SPINS)
def test_scalar_part_and_its_addition(spin):
    matrix = random_matrix(spin)
    scalar = matrix.scalar_part()
    assert scalar.spin == "none"
    h = matrix.hamiltonian
    expected = {"none": h, "collinear": (h[0] + h[-1]) / 2, "soc": (h[0] + h[-1]).real / 2}[spin]
    np.testing.assert_array_equal(scalar.hamiltonian, expected)
    rest = matrix.add_scalar(-scalar.hamiltonian)
    assert np.abs(rest.scalar_part().hamiltonian).max() < 1e-15
    np.testing.assert_allclose(rest.add_scalar(scalar.hamiltonian).hamiltonian, h, atol=1e-15)
    if spin == "soc":
        np.testing.assert_array_equal(rest.hamiltonian[1:3], h[1:3])


def test_time_odd_part():
    """sigma_y H* sigma_y of each block: the odd part is half of the difference."""
    matrix = random_matrix("soc")
    turned = matrix.hamiltonian.conj()[[3, 2, 1, 0]] * np.array([1, -1, -1, 1])[:, None]
    odd = (matrix.hamiltonian - turned) / 2
    assert matrix.time_odd_rms() == pytest.approx(np.sqrt(np.mean(np.abs(odd) ** 2)), rel=1e-12)
    assert matrix.with_values(hamiltonian=matrix.hamiltonian - odd).time_odd_rms() < 1e-15
    assert random_matrix("none").time_odd_rms() == 0
    collinear = random_matrix("collinear")
    half = (collinear.hamiltonian[0] - collinear.hamiltonian[1]) / 2
    assert collinear.time_odd_rms() == pytest.approx(np.sqrt(np.mean(half**2)), rel=1e-12)


def test_shape_must_fit_the_spin():
    matrix = random_matrix("none")
    with pytest.raises(ValueError, match="its pairs need"):
        matrix.with_values(hamiltonian=np.stack([matrix.hamiltonian] * 2))


@pytest.mark.parametrize("spin", SPINS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_store_keeps_spin_and_values(tmp_path, spin, dtype):
    matrix = random_matrix(spin)
    with StoreWriter(tmp_path / "s.h5", BASIS, dtype=dtype) as writer:
        writer.add(entry_of(matrix))
    with LabelStore(tmp_path / "s.h5") as store:
        assert store.spin == spin
        read = store.read("a").blocks
    assert (read.spin, read.hamiltonian.dtype) == (spin, matrix.hamiltonian.dtype)
    tolerance = 0 if dtype == "float64" else 1e-6
    np.testing.assert_allclose(read.hamiltonian, matrix.hamiltonian, rtol=0, atol=tolerance)
    np.testing.assert_allclose(read.overlap, matrix.overlap, rtol=0, atol=tolerance)
    with h5py.File(tmp_path / "s.h5") as file:
        expected = {"float64": "complex128", "float32": "complex64"}[dtype] if spin == "soc" else dtype
        assert (file["a/hamiltonian"].dtype, file["a/overlap"].dtype) == (expected, dtype)


def _write(path, *entries, spin=None):
    with StoreWriter(path, BASIS, spin=spin) as writer:
        for entry in entries:
            writer.add(entry)
    return path


def test_store_holds_one_kind_of_spin(tmp_path):
    first, second = entry_of(random_matrix("collinear")), entry_of(random_matrix("soc"), "b")
    with pytest.raises(InputError, match="entry b has spin 'soc', the store 'collinear'"):
        _write(tmp_path / "s.h5", first, second)
    with pytest.raises(InputError, match="entry a has spin 'collinear', the store 'soc'"):
        _write(tmp_path / "s.h5", first, spin="soc")
    assert not (tmp_path / "s.h5").exists()


def test_data_set_holds_one_kind_of_spin(tmp_path):
    for name in ("none", "soc"):
        _write(tmp_path / f"{name}.h5", entry_of(random_matrix(name), name))
    assert Dataset(tmp_path / "soc.h5").spin == "soc"
    with pytest.raises(InputError, match=r"soc\.h5: spin is 'soc', elsewhere 'none'"):
        Dataset(tmp_path)


def test_damaged_spin_stores_are_refused(tmp_path):
    path = tmp_path / "s.h5"
    for attribute, message in (
        ("none", r"hamiltonian is complex, which spin 'none' does not allow"),
        ("collinear", r"hamiltonian is complex, which spin 'collinear'"),
        ("noncollinear", "spin 'noncollinear' is unknown"),
    ):
        _write(path, entry_of(random_matrix("soc")))
        with h5py.File(path, "r+") as file:
            file.attrs["spin"] = attribute
        with pytest.raises(InputError, match=message), LabelStore(path) as store:
            store.read("a")
    _write(path, entry_of(random_matrix("none")))
    with h5py.File(path, "r+") as file:
        file.attrs["spin"] = "soc"
    with pytest.raises(InputError, match="its pairs need"), LabelStore(path) as store:
        store.read("a")


@pytest.mark.parametrize("value", [complex(0, np.nan), complex(np.inf, 0)])
def test_spinors_that_are_not_finite_are_refused(tmp_path, value):
    matrix = random_matrix("soc")
    matrix.hamiltonian[2, 3] = value
    with pytest.raises(InputError, match="hamiltonian is not finite"):
        _write(tmp_path / "s.h5", entry_of(matrix))

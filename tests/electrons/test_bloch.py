"""Bloch sums against a slow twin, gauges, derivatives, supercells."""

import numpy as np
import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.electrons import BlochHamiltonian, eigenvalues, repeat_blocks, solve, velocity_matrices
from mlepi_core.formats.blocks import BlockMatrix, block_offsets, from_directed
from mlepi_core.structures import build_supercell
from tests.electrons.tight_binding import displaced, tight_binding

K = np.array([0.137, -0.291, 0.0])


@pytest.fixture(scope="module")
def random_matrix() -> tuple[BlockMatrix, np.ndarray, np.ndarray]:
    """Two species with 2 and 3 orbitals, a skew cell, all pairs within one lattice vector."""
    rng = np.random.default_rng(5)
    numbers, counts = np.array([5, 7, 5]), np.array([2, 3, 2])
    shifts = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    pairs = np.array([(i, j, *r) for i in range(3) for j in range(3) for r in shifts])
    blank = BlockMatrix(numbers, counts, pairs, block_offsets(counts, pairs))
    size = int(blank.offsets[-1])
    directed = blank.with_values(rng.normal(size=size), rng.normal(size=size) * 0.01)
    matrix = from_directed(directed, tolerance=np.inf)
    cell = np.array([[3.0, 0.2, 0.0], [0.9, 2.7, 0.1], [0.0, 0.3, 4.0]])
    return matrix, rng.random((3, 3)) @ cell, cell


def slow_sum(matrix, positions, cell, name, k, gauge):
    """Double loop over both directed copies of every block."""
    both = matrix.directed()
    start = both.orbital_offsets
    total = np.zeros((both.n_orbitals,) * 2, dtype=complex)
    for p, (i, j, *shift) in enumerate(both.pairs.tolist()):
        lever = np.array(shift, dtype=float)
        if gauge == "atomic":
            lever = lever + (positions[j] - positions[i]) @ np.linalg.inv(cell)
        phase = np.exp(2j * np.pi * (lever @ k))
        total[start[i] : start[i + 1], start[j] : start[j + 1]] += phase * both.block(p, name)
    return total


@pytest.mark.parametrize("gauge", ["cell", "atomic"])
@pytest.mark.parametrize("k", [np.zeros(3), K, np.array([0.5, 0.0, -0.5])])
def test_sum_equals_slow_twin(random_matrix, gauge, k):
    matrix, positions, cell = random_matrix
    h, s = BlochHamiltonian(matrix, positions, cell).matrices(k, gauge)
    np.testing.assert_allclose(h, slow_sum(matrix, positions, cell, "hamiltonian", k, gauge), atol=1e-13)
    np.testing.assert_allclose(s, slow_sum(matrix, positions, cell, "overlap", k, gauge), atol=1e-13)
    assert np.array_equal(h, h.conj().T)


def test_real_where_phases_are_real(random_matrix):
    bloch = BlochHamiltonian(*random_matrix)
    assert not np.iscomplexobj(bloch.matrices([0, 0, 0])[0])
    assert not np.iscomplexobj(bloch.matrices([0.5, 0, 0])[0])
    assert np.iscomplexobj(bloch.matrices([0.25, 0, 0])[0])


def test_gauges_are_related_by_position_phases(random_matrix):
    matrix, positions, cell = random_matrix
    bloch = BlochHamiltonian(matrix, positions, cell)
    phase = np.repeat(np.exp(1j * positions @ (K @ bloch.reciprocal)), matrix.counts)
    expected = phase.conj()[:, None] * bloch.matrices(K, "cell")[0] * phase
    np.testing.assert_allclose(bloch.matrices(K, "atomic")[0], expected, atol=1e-12)


@pytest.mark.parametrize("gauge", ["cell", "atomic"])
@pytest.mark.parametrize("k", [np.zeros(3), K])
def test_derivatives_equal_central_differences(random_matrix, gauge, k):
    bloch = BlochHamiltonian(*random_matrix)
    analytic = bloch.derivatives(k, gauge)
    step = 1e-5
    for x in range(3):
        dk = bloch.fractional(step * np.eye(3)[x])
        plus, minus = bloch.matrices(k + dk, gauge), bloch.matrices(k - dk, gauge)
        for which in (0, 1):
            numeric = (plus[which] - minus[which]) / (2 * step)
            np.testing.assert_allclose(analytic[which][x], numeric, atol=2e-9)


def test_velocity_operator_is_the_slope_of_the_bands(graphene_3x3):
    """Diagonal of V against finite differences of the energies, S not unity, atoms displaced."""
    atoms = displaced(graphene_3x3, 0.05, 1)
    bloch = BlochHamiltonian.from_atoms(atoms, tight_binding(atoms, overlap=0.12))
    states = solve(*bloch.matrices(K), vectors=True)
    for gauge in ("atomic", "cell"):
        v = velocity_matrices(bloch, K, states.energies, states.vectors, gauge)
        np.testing.assert_allclose(v, v.conj().transpose(0, 2, 1), atol=1e-12)
        for x in (0, 1):
            dk = bloch.fractional(1e-5 * np.eye(3)[x])
            upper, lower = (eigenvalues(bloch, K + sign * dk)[0][0] for sign in (1, -1))
            np.testing.assert_allclose(np.diagonal(v[x]).real, (upper - lower) / 2e-5, atol=1e-6)


def test_supercell_folds_the_bands_exactly(dft_bilayer):
    primitive = BlochHamiltonian.from_atoms(dft_bilayer.atoms, dft_bilayer.blocks)
    n = 3
    atoms = build_supercell(dft_bilayer.atoms, n)
    folded = BlochHamiltonian.from_atoms(atoms, repeat_blocks(dft_bilayer.blocks, n))
    k = np.array([0.21, -0.13, 0.0])
    unfolded = [(k + [a, b, 0]) / [n, n, 1] for a in range(n) for b in range(n)]
    expected = np.sort(eigenvalues(primitive, unfolded)[0].ravel())
    np.testing.assert_allclose(eigenvalues(folded, k)[0][0], expected, atol=1e-10)


@pytest.mark.parametrize("size", [3, (2, 5), [[2, 1], [-1, 3]]])
def test_repeated_matrix_is_that_of_the_repeated_structure(graphene, size):
    """Same atoms, same pairs: the order is that of `build_supercell`."""
    large = repeat_blocks(tight_binding(graphene, 0.1), size)
    direct = tight_binding(build_supercell(graphene, size), 0.1)
    np.testing.assert_array_equal(large.numbers, direct.numbers)
    # Atoms on the cell's faces may be stored in another image: compare what does not depend on it.
    atoms = build_supercell(graphene, size)
    for blocks in (large, direct):
        vector = blocks.pairs[:, 2:] @ np.asarray(atoms.cell)
        vector = vector + atoms.positions[blocks.pairs[:, 1]] - atoms.positions[blocks.pairs[:, 0]]
        assert np.linalg.norm(vector, axis=1).max() < 1.5
    np.testing.assert_array_equal(large.pairs, direct.pairs)
    np.testing.assert_allclose(large.hamiltonian, direct.hamiltonian, atol=1e-12)


def test_missing_overlap_is_refused(graphene):
    blocks = tight_binding(graphene)
    only_h = BlockMatrix(blocks.numbers, blocks.counts, blocks.pairs, blocks.offsets, blocks.hamiltonian)
    with pytest.raises(InputError, match="holds no S"):
        BlochHamiltonian.from_atoms(graphene, only_h)

"""Generalised eigensolver: subsets, nearly singular S, the torch path."""

import numpy as np
import pytest
import scipy.linalg

from mlepi_core.artefacts import InputError
from mlepi_core.electrons import BlochHamiltonian, eigenvalues, solve
from mlepi_core.electrons.solver import _eigenvalues_torch
from mlepi_core.formats.blocks import BlockMatrix, block_offsets


def problem(smallest: float, n: int = 12, seed: int = 0):
    """Random Hermitian H, and S whose smallest eigenvalue is `smallest`, the others 0.5 … 2."""
    rng = np.random.default_rng(seed)
    h = rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n))
    u = scipy.linalg.qr(rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n)))[0]
    values = np.concatenate([[smallest], np.linspace(0.5, 2, n - 1)])
    s = (u * values) @ u.conj().T
    return h + h.conj().T, (s + s.conj().T) / 2, u


def test_full_solution():
    h, s, _ = problem(0.4)
    result = solve(h, s, vectors=True)
    residual = h @ result.vectors - s @ result.vectors * result.energies
    assert np.abs(residual).max() < 1e-11
    np.testing.assert_allclose(result.vectors.conj().T @ s @ result.vectors, np.eye(12), atol=1e-12)
    assert result.n_projected == 0


def test_subset_is_a_slice():
    h, s, _ = problem(0.4)
    np.testing.assert_allclose(solve(h, s, subset=(3, 6)).energies, solve(h, s).energies[3:7], atol=1e-12)
    with pytest.raises(InputError, match="do not exist"):
        solve(h, s, subset=(3, 12))


def test_small_eigenvalues_of_s_are_projected_out():
    h, s, u = problem(1e-4)
    result = solve(h, s, vectors=True)
    assert result.n_projected == 1
    assert np.isnan(result.energies[-1])
    kept = u[:, 1:]
    expected = scipy.linalg.eigh(kept.conj().T @ h @ kept, kept.conj().T @ s @ kept, eigvals_only=True)
    np.testing.assert_allclose(result.energies[:-1], expected, atol=1e-10)
    np.testing.assert_allclose(solve(h, s, subset=(2, 5)).energies, expected[2:6], atol=1e-10)
    assert solve(h, s, threshold=5e-5).n_projected == 0
    with pytest.raises(InputError, match="state 11 is lost"):
        solve(h, s, subset=(10, 11))


def test_projection_removes_ghost_states():
    """An error of H along a nearly dependent combination moves a state by error/s unless it is projected."""
    h, s, u = problem(1e-4)
    noisy = h - 0.05 * np.outer(u[:, 0], u[:, 0].conj())
    unprotected = solve(noisy, s, threshold=0.0).energies - solve(h, s, threshold=0.0).energies
    assert np.abs(unprotected).max() > 100
    np.testing.assert_allclose(solve(noisy, s).energies[:-1], solve(h, s).energies[:-1], atol=1e-10)


def test_negative_overlap_is_refused():
    h, s, _ = problem(-1e-3)
    with pytest.raises(InputError, match=r"1 negative eigenvalues, the lowest -1\.00e-03"):
        solve(h, s)


def test_torch_path_equals_lapack(dft_bilayer):
    bloch = BlochHamiltonian.from_atoms(dft_bilayer.atoms, dft_bilayer.blocks)
    k = np.random.default_rng(1).random((5, 3)) * [1, 1, 0]
    reference, _ = eigenvalues(bloch, k, subset=(4, 11))
    energies, dropped = _eigenvalues_torch(bloch, k, (4, 11), 5e-4, "cpu")
    np.testing.assert_allclose(energies, reference, atol=1e-9)
    assert dropped == 0


def test_torch_path_hands_singular_k_to_lapack():
    """Two orbitals with S12(k) = 0.99 at Gamma and 0 elsewhere on the mesh."""
    pairs = np.array([[0, 0, 0, 0, 0], [0, 1, 0, 0, 0], [1, 0, 1, 0, 0], [1, 1, 0, 0, 0]])
    counts = np.ones(2, dtype=int)
    blocks = BlockMatrix(np.array([6, 6]), counts, pairs, block_offsets(counts, pairs))
    blocks = blocks.with_values(np.array([0.3, -1.0, -0.5, 0.2]), np.array([1.0, 0.49995, 0.49995, 1.0]))
    bloch = BlochHamiltonian(blocks, np.zeros((2, 3)), 3 * np.eye(3))
    k = np.array([[0.0, 0, 0], [0.5, 0, 0]])
    slow, dropped = eigenvalues(bloch, k)
    fast, also_dropped = _eigenvalues_torch(bloch, k, None, 5e-4, "cpu")
    assert dropped == also_dropped == 1
    np.testing.assert_allclose(fast, slow, atol=1e-12)

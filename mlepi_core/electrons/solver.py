"""Dense generalised eigensolver H C = S C E, with care for nearly singular S."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike

from mlepi_core.artefacts import InputError
from mlepi_core.electrons.bloch import BlochHamiltonian

OVERLAP_THRESHOLD = 5e-4
_BATCH_BYTES = 2 * 1024**3


@dataclass
class Eigenpairs:
    """Solution of one generalised problem.

    Attributes
    ----------
    energies
        (m,) ascending, eV; NaN at the top for states lost to the projection of S.
    vectors
        (n, m) with C^+ S C = 1, or None.
    n_projected
        Number of eigenvalues of S that were dropped.
    """

    energies: np.ndarray
    vectors: np.ndarray | None
    n_projected: int


def solve(
    hamiltonian: np.ndarray,
    overlap: np.ndarray,
    *,
    vectors: bool = False,
    subset: tuple[int, int] | None = None,
    threshold: float = OVERLAP_THRESHOLD,
    where: str = "overlap matrix",
) -> Eigenpairs:
    """Eigenvalues, and optionally eigenvectors, of H C = S C E.

    Where S has eigenvalues at or below `threshold` the problem is solved in the space of the others,
    X = U s^(-1/2): errors in H times 1/s would otherwise make ghost states.

    Parameters
    ----------
    hamiltonian, overlap
        (n, n) Hermitian, eV and unitless.
    subset
        First and last index of the wanted states, counted from the bottom; None for all.
    threshold
        Smallest eigenvalue of S that is kept.
    where
        Named in errors.

    Raises
    ------
    InputError
        If S has a negative eigenvalue, or a wanted state was lost to the projection.
    """
    n = len(overlap)
    if subset is not None and not 0 <= subset[0] <= subset[1] < n:
        raise InputError(where, f"states {subset[0]}…{subset[1]} of {n} do not exist")
    if _well_conditioned(overlap, threshold):
        solution = scipy.linalg.eigh(hamiltonian, overlap, eigvals_only=not vectors, subset_by_index=subset)
        energies, states = solution if vectors else (solution, None)
        return Eigenpairs(energies, states, 0)
    return _solve_projected(hamiltonian, overlap, vectors, subset, threshold, where)


def _well_conditioned(overlap: np.ndarray, threshold: float) -> bool:
    """Whether every eigenvalue of S lies above `threshold`: S - threshold has a Cholesky factor.

    Exact, and a tenth of the cost of diagonalising S.
    """
    shifted = overlap.copy()
    shifted[np.diag_indices_from(shifted)] -= threshold
    try:
        scipy.linalg.cholesky(shifted, lower=True, overwrite_a=True)
    except scipy.linalg.LinAlgError:
        return False
    return True


def _solve_projected(
    hamiltonian: np.ndarray,
    overlap: np.ndarray,
    vectors: bool,
    subset: tuple[int, int] | None,
    threshold: float,
    where: str,
) -> Eigenpairs:
    values, u = scipy.linalg.eigh(overlap)
    if values[0] < -1e-12:
        raise InputError(
            where,
            f"has {int((values < -1e-12).sum())} negative eigenvalues, the lowest {values[0]:.2e}",
            "overlaps must be those of real orbitals: check the tables, cutoffs and lattice sums",
        )
    keep = values > threshold
    n, n_kept = len(values), int(keep.sum())
    basis = u[:, keep] / np.sqrt(values[keep])
    reduced = basis.conj().T @ hamiltonian @ basis
    first, last = subset if subset is not None else (0, n - 1)
    if subset is not None and last >= n_kept:
        raise InputError(
            where,
            f"only {n_kept} of {n} states lie above the threshold {threshold:g} on S",
            f"state {last} is lost",
        )
    last = min(last, n_kept - 1)
    solution = scipy.linalg.eigh(reduced, eigvals_only=not vectors, subset_by_index=(first, last))
    energies, states = solution if vectors else (solution, None)
    if subset is None:
        energies = np.concatenate([energies, np.full(n - n_kept, np.nan)])
    if states is not None:
        states = basis @ states
        if subset is None:
            states = np.hstack([states, np.full((n, n - n_kept), np.nan)])
    return Eigenpairs(energies, states, n - n_kept)


def eigenvalues(
    bloch: BlochHamiltonian,
    kpoints: ArrayLike,
    *,
    subset: tuple[int, int] | None = None,
    threshold: float = OVERLAP_THRESHOLD,
    device: str = "cpu",
) -> tuple[np.ndarray, int]:
    """Energies on a list of k.

    Parameters
    ----------
    kpoints
        (K, 3) fractional.
    subset
        First and last index of the wanted states; None for all.
    device
        "cpu": LAPACK, one k after the other. "cuda": batches of k on the GPU; those whose S is nearly
        singular are solved by LAPACK. "auto": the GPU if there is one.

    Returns
    -------
    energies
        (K, m) eV, ascending in each row.
    n_projected
        Largest number of eigenvalues of S dropped at one k.
    """
    kpoints = np.atleast_2d(np.asarray(kpoints, dtype=float))
    if device != "cpu":
        from mlepi_core.nn.model_file import resolve_device

        device = str(resolve_device(device))
    if not device.startswith("cpu"):
        return _eigenvalues_torch(bloch, kpoints, subset, threshold, device)
    rows, dropped = [], 0
    for k in kpoints:
        result = solve(*bloch.matrices(k), subset=subset, threshold=threshold, where=_overlap_at(k))
        rows.append(result.energies)
        dropped = max(dropped, result.n_projected)
    return np.array(rows), dropped


def _overlap_at(k: Sequence[float]) -> str:
    return "S(k) at k = (" + ", ".join(f"{x:.6g}" for x in k) + ")"


def _eigenvalues_torch(
    bloch: BlochHamiltonian,
    kpoints: np.ndarray,
    subset: tuple[int, int] | None,
    threshold: float,
    device: str,
) -> tuple[np.ndarray, int]:
    """As `eigenvalues`, in batches of k on a torch device; float64 throughout."""
    import torch

    n = bloch.n_states
    size = max(1, _BATCH_BYTES // (6 * 16 * n * n))
    low, high = subset if subset is not None else (0, n - 1)
    rows, dropped = [], 0
    for start in range(0, len(kpoints), size):
        batch = kpoints[start : start + size]
        pairs = [bloch.matrices(k) for k in batch]
        h, s = (torch.from_numpy(np.stack([p[i] for p in pairs]).astype(complex)).to(device) for i in (0, 1))
        shifted = s - threshold * torch.eye(n, dtype=s.dtype, device=s.device)
        singular = torch.linalg.cholesky_ex(shifted).info.cpu().numpy() != 0
        factor = torch.linalg.cholesky_ex(s).L
        half = torch.linalg.solve_triangular(factor, h, upper=False)
        standard = torch.linalg.solve_triangular(factor, half.mH, upper=False)
        standard[torch.as_tensor(singular, device=s.device)] = 0
        energies = torch.linalg.eigvalsh(standard).cpu().numpy()[:, low : high + 1]
        for row in np.flatnonzero(singular):
            result = solve(*pairs[row], subset=subset, threshold=threshold, where=_overlap_at(batch[row]))
            energies[row] = result.energies
            dropped = max(dropped, result.n_projected)
        rows.append(energies)
    return np.concatenate(rows), dropped

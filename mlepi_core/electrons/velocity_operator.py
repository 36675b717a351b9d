"""Velocity operator dE/dk = C^+ (dH/dk - E dS/dk) C in a non-orthogonal basis."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mlepi_core.electrons.bloch import BlochHamiltonian


def velocity_matrices(
    bloch: BlochHamiltonian, k: ArrayLike, energies: np.ndarray, vectors: np.ndarray, gauge: str = "atomic"
) -> np.ndarray:
    """Velocity matrices of a group of states, V_ij = C_i^+ (dH/dk - (E_i + E_j)/2 dS/dk) C_j.

    Parameters
    ----------
    bloch
        H and S.
    k
        (3,) fractional.
    energies, vectors
        (m,) eV and (n, m) with C^+ S C = 1, in the cell gauge (as `solve` gives for
        ``bloch.matrices(k)``).
    gauge
        Gauge of the derivatives. "atomic" takes the positions of this structure: in the cell gauge
        elements between states of different energy change by i (E_i - E_j) times a position
        (docs/concepts.md).

    Returns
    -------
    ndarray
        (3, m, m) Hermitian, eV Å (hbar v), Cartesian.
    """
    k = np.asarray(k, dtype=float)
    dh, ds = bloch.derivatives(k, gauge)
    if gauge == "atomic" and k.any():
        phase = np.exp(-1j * bloch.positions @ (k @ bloch.reciprocal))
        phase = np.tile(np.repeat(phase, bloch.blocks.counts), bloch.n_states // bloch.n_orbitals)
        vectors = phase[:, None] * vectors
    mean = (energies[:, None] + energies[None, :]) / 2
    bra = vectors.conj().T
    return np.stack([bra @ dh[x] @ vectors - mean * (bra @ ds[x] @ vectors) for x in range(3)])


def squared_velocity(matrices: np.ndarray, axes: np.ndarray) -> float:
    """Invariant mean square (tr Vx^2 + tr Vy^2) / (2 dim) in (eV Å)^2.

    Parameters
    ----------
    matrices
        (3, m, m) Hermitian, Cartesian.
    axes
        (2, 3) unit vectors of the plane.
    """
    in_plane = np.einsum("ax,xij->aij", axes, matrices)
    return float(np.sum(np.abs(in_plane) ** 2) / (2 * matrices.shape[1]))

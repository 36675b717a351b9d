"""Electron counting: valence electrons, k meshes and the Fermi level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.constants
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit

from mlepi_core.artefacts import InputError
from mlepi_core.electrons.bloch import BlochHamiltonian
from mlepi_core.electrons.solver import OVERLAP_THRESHOLD, eigenvalues
from mlepi_core.formats.spin import TIME_ODD_TOLERANCE
from mlepi_core.orbitals import symbol_of

BOLTZMANN = scipy.constants.k / scipy.constants.e
"""eV/K."""

# Electrons outside the core of the usual pseudopotentials without semi-core states.
VALENCE = {1: 1, 5: 3, 6: 4, 7: 5, 8: 6, 9: 7, 14: 4, 15: 5, 16: 6, 17: 7}


def valence_electrons(numbers: ArrayLike) -> int:
    """Valence electrons of atoms with atomic numbers (N,).

    Raises
    ------
    InputError
        For a species whose valence depends on the pseudopotential: give `n_electrons` instead.
    """
    numbers = np.asarray(numbers, dtype=int)
    unknown = sorted({int(z) for z in numbers} - set(VALENCE))
    if unknown:
        raise InputError(
            "n_electrons",
            f"the number of valence electrons of {symbol_of(unknown[0])} is not known",
            "give n_electrons in the entry",
        )
    return sum(VALENCE[int(z)] for z in numbers)


def n_occupied(numbers: ArrayLike, n_electrons: float | None = None) -> int:
    """Doubly occupied states per k of an undoped cell.

    Parameters
    ----------
    n_electrons
        Electrons of the cell; None counts valence charges.

    Raises
    ------
    InputError
        If the number of electrons is not an even integer.
    """
    electrons = valence_electrons(numbers) if n_electrons is None else n_electrons
    half = round(electrons / 2)
    if abs(electrons - 2 * half) > 1e-3:
        raise InputError(
            "n_electrons", f"{electrons:g} electrons do not fill whole bands", "use an undoped cell"
        )
    return half


def gamma_mesh(mesh: Sequence[int], time_reversal: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Regular k mesh that contains Gamma, reduced by E(-k) = E(k) if there is time reversal.

    Parameters
    ----------
    mesh
        (3,) points along the reciprocal vectors.
    time_reversal
        False keeps both k and -k, as magnetic spinors need.

    Returns
    -------
    kpoints, weights
        (K, 3) fractional and (K,), sum 1.
    """
    mesh = np.asarray(mesh, dtype=int)
    if mesh.shape != (3,) or (mesh < 1).any():
        raise InputError("k mesh", f"{mesh.tolist()} are not three positive integers")
    points = np.stack(np.meshgrid(*map(np.arange, mesh), indexing="ij"), axis=-1).reshape(-1, 3)
    if not time_reversal:
        return points / mesh, np.full(len(points), 1 / len(points))
    key = np.minimum(*(np.ravel_multi_index(tuple(p.T), tuple(mesh)) for p in (points, -points % mesh)))
    _, first, count = np.unique(key, return_index=True, return_counts=True)
    return points[first] / mesh, count / len(points)


def mesh_for_cell(
    cell: ArrayLike, spacing: float = 0.25, periodic: ArrayLike = (True, True, False)
) -> np.ndarray:
    """Mesh (3,) whose points lie at most `spacing` (1/Å) apart; one point where not periodic.

    The default spacing is that of a 12 x 12 mesh of primitive graphene.
    """
    lengths = np.linalg.norm(2 * np.pi * np.linalg.inv(np.asarray(cell, dtype=float)), axis=0)
    return np.where(np.asarray(periodic), np.maximum(1, np.ceil(lengths / spacing)), 1).astype(int)


def fermi_level(
    energies: ArrayLike,
    weights: ArrayLike,
    n_electrons: float,
    temperature: float = 300.0,
    electrons_per_state: float = 2.0,
) -> float:
    """Level mu with g sum_k w_k sum_n f((E_kn - mu)/kT) = N_e.

    Parameters
    ----------
    energies
        (K, n) eV; NaN (states lost to the projection of S) count as empty.
    weights
        (K,), sum 1.
    n_electrons
        Electrons per cell.
    temperature
        Electronic temperature of the Fermi function in K, > 0.
    electrons_per_state
        g: 2 without spin; 1 for spinors, and for collinear spin with the bands of both spins in one row.

    Returns
    -------
    float
        eV. In a gap the middle to within kT.
    """
    energies, weights = np.asarray(energies, dtype=float), np.asarray(weights, dtype=float)
    if temperature <= 0:
        raise InputError("electronic temperature", f"{temperature:g} K", "must be > 0 K")
    if not 0 < n_electrons < electrons_per_state * energies.shape[1]:
        raise InputError("n_electrons", f"{n_electrons:g} electrons in {energies.shape[1]} bands")
    beta = 1 / (BOLTZMANN * temperature)
    filled = np.where(np.isnan(energies), np.inf, energies)

    def surplus(mu: float) -> float:
        filling = weights @ expit(beta * (mu - filled)).sum(axis=1)
        return electrons_per_state * float(filling) - n_electrons

    margin = 60 / beta
    return float(brentq(surplus, np.nanmin(energies) - margin, np.nanmax(energies) + margin, xtol=1e-12))


def fermi_level_of(
    bloch: BlochHamiltonian | Sequence[BlochHamiltonian],
    n_electrons: float | None = None,
    *,
    mesh: Sequence[int] | None = None,
    temperature: float = 300.0,
    threshold: float = OVERLAP_THRESHOLD,
    device: str = "cpu",
) -> float:
    """Fermi level (eV) of a Hamiltonian by electron counting on a k mesh.

    Parameters
    ----------
    bloch
        One Hamiltonian, or the channels of both spins (`spin_channels`), which share their electrons.
    n_electrons
        Electrons per cell; None counts valence charges.
    mesh
        (3,) points; None takes `mesh_for_cell`.
    temperature
        Electronic temperature in K.
    """
    channels = [bloch] if isinstance(bloch, BlochHamiltonian) else list(bloch)
    first = channels[0]
    electrons = valence_electrons(first.numbers) if n_electrons is None else n_electrons
    reversible = not first.spinor or first.blocks.time_odd_rms() < TIME_ODD_TOLERANCE
    kpoints, weights = gamma_mesh(mesh_for_cell(first.cell) if mesh is None else mesh, reversible)
    energies = [eigenvalues(one, kpoints, threshold=threshold, device=device)[0] for one in channels]
    return fermi_level(np.hstack(energies), weights, electrons, temperature, first.electrons_per_state)

"""Spectral functions and averaged Green functions of displaced supercells at primitive k.

The Green function is that of the Löwdin-orthogonalised Hamiltonian H~ = S^(-1/2) H S^(-1/2),
G(k, z) = < P (z - H~)^-1 P^+ > with the Bloch sums P of `mlepi_core.electrons.unfolding`. In this form its
self-energy tends to a constant at large z; in coefficient space the scatter of S alone would make it grow.
Its spectral function -Im tr G(k, E + i eta)/pi is that of Löwdin weights with Lorentzians of half width eta.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike

from mlepi_core.artefacts import InputError
from mlepi_core.electrons.bloch import BlochHamiltonian
from mlepi_core.electrons.unfolding import BlochSums, UnfoldedStates, overlap_root, supercell_points

SHAPES = ("lorentzian", "gaussian")


def spectral_function(
    states: UnfoldedStates, grid: ArrayLike, width: float, shape: str = "lorentzian"
) -> np.ndarray:
    """A(k, E) (E,) in 1/eV of one snapshot: sum over states of weight times a normalised peak.

    Parameters
    ----------
    states
        Energies and weights at one primitive k.
    grid
        Energies (E,), eV.
    width
        Half width at half maximum of a Lorentzian, or standard deviation of a Gaussian, eV.
    shape
        One of `SHAPES`.
    """
    if not width > 0:
        raise InputError("width", f"is {width} eV", "give a positive broadening")
    x = np.asarray(grid, dtype=float)[:, None] - states.energies
    if shape == "lorentzian":
        peaks = width / np.pi / (x**2 + width**2)
    elif shape == "gaussian":
        peaks = np.exp(-((x / width) ** 2) / 2) / (width * np.sqrt(2 * np.pi))
    else:
        raise InputError("shape", f"{shape!r} is unknown", f"use one of {', '.join(SHAPES)}")
    return peaks @ states.weights


def green_functions(bloch: BlochHamiltonian, sums: BlochSums, kpoints: ArrayLike, z: ArrayLike) -> np.ndarray:
    """P (z - H~)^-1 P^+ of one snapshot at primitive k (K, 3) and complex energies z (Z,).

    All states are solved; cost is one dense diagonalisation of H and one of S per supercell point.

    Returns
    -------
    ndarray
        (K, Z, n, n) complex, 1/eV, n orbitals of the primitive cell.
    """
    kpoints = np.atleast_2d(np.asarray(kpoints, dtype=float))
    z = np.asarray(z, dtype=complex)
    n = sums.n_primitive
    result = np.empty((len(kpoints), len(z), n, n), dtype=complex)
    for point, members in supercell_points(sums, kpoints):
        h, s = bloch.matrices(point)
        energies, vectors = scipy.linalg.eigh(h, s)
        orthogonal = overlap_root(s) @ vectors
        for index in members:
            states = sums.projector(kpoints[index]) @ orthogonal
            for place, energy in enumerate(z):
                result[index, place] = (states / (energy - energies)) @ states.conj().T
    return result


def effective_hamiltonian(green: np.ndarray, z: ArrayLike) -> np.ndarray:
    """z - G(z)^-1, which is the static Hamiltonian plus the self-energy.

    Parameters
    ----------
    green
        (…, Z, n, n), mean over snapshots.
    z
        (Z,) complex energies, eV.
    """
    identity = np.eye(green.shape[-1])
    return np.asarray(z, dtype=complex)[:, None, None] * identity - np.linalg.inv(green)


def quasiparticle_energies(green: np.ndarray, z: ArrayLike, bands: Sequence[int]) -> np.ndarray:
    """Where the bands of the averaged Green function lie: E = eigenvalue of Re[z - G(E + i eta)^-1].

    Parameters
    ----------
    green
        (K, Z, n, n) on energies z = E + i eta with rising E.
    z
        (Z,) complex, eV.
    bands
        Indices of the wanted bands, counted from the bottom.

    Returns
    -------
    ndarray
        (K, len(bands)) eV, by linear interpolation between the two energies of the grid where the eigenvalue
        crosses E; NaN where it does not cross within the grid.
    """
    grid = np.asarray(z).real
    effective = effective_hamiltonian(green, z)
    hermitian = (effective + effective.conj().swapaxes(-1, -2)) / 2
    excess = np.linalg.eigvalsh(hermitian)[..., list(bands)] - grid[:, None]
    return np.apply_along_axis(_crossing, 1, excess, grid)


def _crossing(excess: np.ndarray, grid: np.ndarray) -> float:
    """Energy at which `excess` (Z,) goes through zero from above; the first if there are several."""
    places = np.flatnonzero((excess[:-1] > 0) & (excess[1:] <= 0))
    if not len(places):
        return np.nan
    left = places[0]
    share = excess[left] / (excess[left] - excess[left + 1])
    return float(grid[left] + share * (grid[left + 1] - grid[left]))


@dataclass
class RunningMean:
    """Mean and standard error of arrays that come one sample (or pair) after the other; nothing is kept.

    Welford's recurrence (1962, doi:10.1080/00401706.1962.10490022).
    """

    count: int = 0
    mean: np.ndarray | float = 0.0
    _squares: np.ndarray | float = 0.0

    def add(self, value: np.ndarray) -> None:
        """Take in one sample."""
        self.count += 1
        step = np.asarray(value) - self.mean
        self.mean = self.mean + step / self.count
        self._squares = self._squares + np.abs(step) ** 2 * (self.count - 1) / self.count

    @property
    def standard_error(self) -> np.ndarray:
        """Of the mean; NaN with fewer than two samples."""
        if self.count < 2:
            return np.full(np.shape(self.mean), np.nan)
        return np.sqrt(np.asarray(self._squares) / (self.count - 1) / self.count)

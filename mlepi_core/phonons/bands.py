"""Phonon bands along Γ–M–K–Γ and frequencies at single q points."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from phonopy import Phonopy

from mlepi_core.phonons.modes import complement, dynamical_matrix, signed_frequencies, translations
from mlepi_core.phonons.units import CM1_PER_THZ
from mlepi_core.structures import k_point, m_point

#: Columns of `PhononBands.rows`.
BAND_COLUMNS = ("iq", "distance_per_A", "qx", "qy", "qz", "branch", "frequency_cm1", "frequency_THz")


@dataclass(frozen=True)
class QPath:
    """Points along a path; q fractional (Q, 3), distance (Q,) in 1/Å with 2π, labels at distances."""

    qpoints: np.ndarray
    distances: np.ndarray
    labels: tuple[str, ...]
    label_distances: tuple[float, ...]


@dataclass(frozen=True)
class PhononBands:
    """Frequencies (Q, 3n) in THz, imaginary ones negative, along a path."""

    path: QPath
    frequencies: np.ndarray

    @property
    def frequencies_cm1(self) -> np.ndarray:
        """Frequencies (Q, 3n) in cm⁻¹."""
        return self.frequencies * CM1_PER_THZ

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row per point and branch, for a table with `BAND_COLUMNS`."""
        for iq, (q, distance) in enumerate(zip(self.path.qpoints, self.path.distances, strict=True)):
            for branch, frequency in enumerate(self.frequencies[iq]):
                yield {
                    "iq": iq,
                    "distance_per_A": f"{distance:.8f}",
                    "qx": f"{q[0]:.8f}",
                    "qy": f"{q[1]:.8f}",
                    "qz": f"{q[2]:.8f}",
                    "branch": branch,
                    "frequency_cm1": f"{frequency * CM1_PER_THZ:.4f}",
                    "frequency_THz": f"{frequency:.6f}",
                }


def gamma_m_k_gamma(cell: Any, points: int = 101) -> QPath:
    """The path Γ–M–K–Γ of a hexagonal cell with `points` points on each leg, both ends included.

    K comes from the lattice; M is the zone-edge midpoint next to it.
    """
    reciprocal = 2 * np.pi * np.linalg.inv(np.asarray(cell, dtype=float)).T
    corners = [np.zeros(3), m_point(cell), k_point(cell), np.zeros(3)]
    qpoints, distances, marks = [corners[0]], [0.0], [0.0]
    for start, end in itertools.pairwise(corners):
        length = float(np.linalg.norm((end - start) @ reciprocal))
        for step in range(1, points):
            qpoints.append(start + (end - start) * step / (points - 1))
            distances.append(marks[-1] + length * step / (points - 1))
        marks.append(distances[-1])
    return QPath(np.array(qpoints), np.array(distances), ("Γ", "M", "K", "Γ"), tuple(marks))


def frequencies_at(phonon: Phonopy, qpoints: np.ndarray) -> np.ndarray:
    """Frequencies (Q, 3n) in THz at fractional q of the primitive cell, ascending, imaginary negative."""
    return np.array([eigensystem(phonon, q)[0] for q in np.atleast_2d(qpoints)])


def eigensystem(
    phonon: Phonopy, q: np.ndarray, *, drop_translations: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in THz (ascending, imaginary negative) and C-type eigenvectors at one fractional q.

    Returns 3n modes, eigenvectors as columns; with `drop_translations` (at Γ only) the 3n − 3 modes
    orthogonal to the uniform translations.
    """
    matrix = dynamical_matrix(phonon, q)
    if not drop_translations:
        eigenvalues, vectors = np.linalg.eigh(matrix)
        return signed_frequencies(eigenvalues), vectors
    basis = complement(translations(phonon.primitive.masses))
    eigenvalues, vectors = np.linalg.eigh(basis.T @ matrix @ basis)
    return signed_frequencies(eigenvalues), basis @ vectors


def phonon_bands(phonon: Phonopy, path: QPath) -> PhononBands:
    """Frequencies along `path`."""
    return PhononBands(path, frequencies_at(phonon, path.qpoints))

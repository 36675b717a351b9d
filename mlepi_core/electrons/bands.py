"""Band energies on a list of k, and how far two sets of bands lie apart."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from mlepi_core.artefacts import InputError
from mlepi_core.electrons.bloch import BlochHamiltonian
from mlepi_core.electrons.occupation import fermi_level_of
from mlepi_core.electrons.solver import OVERLAP_THRESHOLD, eigenvalues
from mlepi_core.structures.lattice import k_point, m_point


def read_kpoints(path: str | os.PathLike[str]) -> np.ndarray:
    """k list (K, 3), fractional, one per line; blank lines and text after ``#`` are skipped.

    Raises
    ------
    InputError
        If the file is missing or empty, or a line does not hold three numbers.
    """
    if not Path(path).is_file():
        raise InputError(path, "no such k-point file", "one k per line, three fractional coordinates")
    points = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        words = line.split("#", 1)[0].replace(",", " ").split()
        if not words:
            continue
        try:
            point = [float(word) for word in words]
        except ValueError:
            point = []
        if len(point) != 3 or not np.isfinite(point).all():
            raise InputError(
                path, f"line {number}: {line.strip()!r}", "expected three fractional coordinates"
            )
        points.append(point)
    if not points:
        raise InputError(path, "holds no k point", "one k per line, three fractional coordinates")
    return np.array(points)


def k_path(corners: ArrayLike, points_per_segment: int) -> tuple[np.ndarray, np.ndarray]:
    """Straight lines between corners.

    Parameters
    ----------
    corners
        (C, 3) fractional.
    points_per_segment
        Steps on each line.

    Returns
    -------
    kpoints, nodes
        (K, 3) with each corner once, and the indices (C,) of the corners.
    """
    corners = np.asarray(corners, dtype=float)
    step = np.arange(points_per_segment)[:, None] / points_per_segment
    lines = [a + step * (b - a) for a, b in pairwise(corners)]
    return np.vstack([*lines, corners[-1:]]), np.arange(len(corners)) * points_per_segment


def symmetry_path(cell: ArrayLike, points_per_segment: int) -> tuple[np.ndarray, dict[int, str]]:
    """Γ–M–K–Γ of a hexagonal cell, Γ–X–M–Γ of any other: k (K, 3) fractional and labels by index.

    Parameters
    ----------
    cell
        Lattice vectors as rows, Å.
    """
    try:
        names, corners = ("Γ", "M", "K", "Γ"), [(0, 0, 0), m_point(cell), k_point(cell), (0, 0, 0)]
    except InputError:
        names, corners = ("Γ", "X", "M", "Γ"), [(0, 0, 0), (0.5, 0, 0), (0.5, 0.5, 0), (0, 0, 0)]
    kpoints, nodes = k_path(np.array(corners, dtype=float), points_per_segment)
    return kpoints, dict(zip(nodes.tolist(), names, strict=True))


def path_lengths(kpoints: ArrayLike, reciprocal: ArrayLike) -> np.ndarray:
    """Length along the path at each k (K,), 1/Å, for k (K, 3) fractional."""
    cartesian = np.asarray(kpoints) @ np.asarray(reciprocal)
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(cartesian, axis=0), axis=1))])


@dataclass(frozen=True)
class BandDifference:
    """Distance of two sets of bands near the Fermi level of the first.

    Attributes
    ----------
    rms, largest
        eV, after the shift.
    shift
        eV, added to the second set (0 without alignment).
    n_states
        Number of states compared.
    """

    rms: float
    largest: float
    shift: float
    n_states: int


def band_difference(
    reference: ArrayLike, other: ArrayLike, fermi: float, window: float = 1.0, align: bool = True
) -> BandDifference:
    """Rms difference of two sets of bands, state by state.

    States are matched by k and index; those count whose `reference` energy lies within `window` of
    `fermi`. The common shift is the mean difference: H has an arbitrary constant.

    Parameters
    ----------
    reference, other
        (K, n) eV.
    fermi
        eV, on the scale of `reference`.
    window
        Half width in eV.
    align
        Whether one common shift is removed.

    Raises
    ------
    InputError
        If the shapes differ or no state lies in the window.
    """
    reference, other = np.asarray(reference, dtype=float), np.asarray(other, dtype=float)
    if reference.shape != other.shape:
        raise InputError(
            "bands", f"shapes {reference.shape} and {other.shape} differ", "use one basis and k list"
        )
    inside = np.abs(reference - fermi) <= window
    if not inside.any():
        raise InputError(
            "bands", f"no state within {window:g} eV of {fermi:g} eV", "use more k or a wider window"
        )
    difference = other[inside] - reference[inside]
    shift = -float(difference.mean()) if align else 0.0
    difference = difference + shift
    return BandDifference(
        rms=float(np.sqrt(np.mean(difference**2))),
        largest=float(np.abs(difference).max()),
        shift=shift,
        n_states=int(inside.sum()),
    )


def compare_bands(
    reference: BlochHamiltonian,
    other: BlochHamiltonian,
    kpoints: ArrayLike,
    *,
    n_electrons: float | None = None,
    fermi: float | None = None,
    window: float = 1.0,
    align: bool = True,
    threshold: float = OVERLAP_THRESHOLD,
    device: str = "cpu",
) -> BandDifference:
    """`band_difference` of two Hamiltonians of one cell on k (K, 3) fractional.

    `fermi` (eV) is the Fermi level of `reference`; None computes it by electron counting.
    """
    if fermi is None:
        fermi = fermi_level_of(reference, n_electrons, threshold=threshold, device=device)
    first, _ = eigenvalues(reference, kpoints, threshold=threshold, device=device)
    second, _ = eigenvalues(other, kpoints, threshold=threshold, device=device)
    return band_difference(first, second, fermi, window, align)

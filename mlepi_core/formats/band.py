"""OpenMX `.Band` file: eigenvalues along k paths."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from mlepi_core.artefacts import InputError
from mlepi_core.formats.compressed import read_text
from mlepi_core.formats.openmx_out import BOHR, HARTREE


@dataclass(frozen=True)
class BandPath:
    """One straight piece of a path: number of points, both ends (fractional) and their labels."""

    n_points: int
    start: tuple[float, float, float]
    end: tuple[float, float, float]
    labels: tuple[str, str]


@dataclass(frozen=True)
class Bands:
    """Eigenvalues of a `.Band` file.

    Parameters
    ----------
    kpoints
        (K, 3) fractional, in the order of the file; ends of pieces stand twice.
    energies
        (K, B) eV, absolute, ascending. Of spinors there are twice as many as orbitals.
    fermi_level
        Chemical potential (eV).
    reciprocal
        (3, 3) rows in 1/Å, with the factor 2 pi.
    paths
        The pieces.
    """

    kpoints: np.ndarray
    energies: np.ndarray
    fermi_level: float
    reciprocal: np.ndarray
    paths: list[BandPath]


def read_band(path: str | os.PathLike[str]) -> Bands:
    """Read a `.Band` file (plain, xz or gz).

    Raises
    ------
    InputError
        If the file is truncated, holds something else, or is spin-polarised.
    """
    lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
    try:
        return _parse(lines, path)
    except (ValueError, IndexError) as error:
        raise InputError(path, f"not a complete .Band file ({error})", "run OpenMX again") from None


def _parse(lines: list[list[str]], path: str | os.PathLike[str]) -> Bands:
    n_bands, spin, fermi_level = int(lines[0][0]), int(lines[0][1]), float(lines[0][2])
    if spin == 1:
        raise InputError(path, "is spin-polarised, which is not supported yet", "give a spinless calculation")
    n_paths = int(lines[2][0])
    paths = [_path(words) for words in lines[3 : 3 + n_paths]]
    n_kpoints = sum(piece.n_points for piece in paths)
    rows = lines[3 + n_paths :]
    if len(rows) != 2 * n_kpoints:
        raise ValueError(f"{len(rows)} lines for {n_kpoints} k points")
    energies = np.array([[float(word) for word in row] for row in rows[1::2]])
    if energies.shape != (n_kpoints, n_bands):
        raise ValueError(f"{energies.shape[1]} energies per k point for {n_bands} bands")
    return Bands(
        kpoints=np.array([[float(word) for word in row[1:4]] for row in rows[::2]]),
        energies=energies * HARTREE,
        fermi_level=fermi_level * HARTREE,
        reciprocal=np.array(lines[1], dtype=float).reshape(3, 3) / BOHR,
        paths=paths,
    )


def _path(words: list[str]) -> BandPath:
    x0, y0, z0, x1, y1, z1 = (float(word) for word in words[1:7])
    return BandPath(int(words[0]), (x0, y0, z0), (x1, y1, z1), (words[7], words[8]))

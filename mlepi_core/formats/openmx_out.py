"""OpenMX `.out` file: energy, forces, Fermi level and whether the self-consistency was reached.

Also the place of OpenMX's own constants: with CODATA values its files would not agree with each
other to better than 1e-7.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import numpy as np

from mlepi_core.artefacts import InputError
from mlepi_core.formats.compressed import read_text
from mlepi_core.formats.openmx_input import OpenmxInput

HARTREE = 27.2113845  # eV, as in OpenMX
BOHR = 0.529177249  # Å, as in OpenMX

_FLOAT = r"([-+]?\d+\.\d+(?:[eE][-+]?\d+)?)"
_VERSION = re.compile(r"OpenMX Ver\. (\S+)")
_HISTORY = re.compile(rf"SCF=\s*(\d+)\s+NormRD=\s*{_FLOAT}\s+Uele=\s*{_FLOAT}")
_TOTAL = re.compile(rf"^\s*Utot\.\s+{_FLOAT}", re.MULTILINE)
_BAND_ENERGY = re.compile(rf"^\s*Uele\.\s+{_FLOAT}", re.MULTILINE)
_CHEMICAL_POTENTIAL = re.compile(rf"Chemical potential \(Hartree\)\s+{_FLOAT}")
_FORCES = re.compile(r"<coordinates\.forces\s+(\d+)\n(.*?)coordinates\.forces>", re.DOTALL)
_WALL = re.compile(rf"Elapsed\.Time\.\s+{_FLOAT}")


@dataclass(frozen=True)
class OpenmxOut:
    """What a `.out` file says about the last geometry of its run.

    Parameters
    ----------
    version
        OpenMX version, e.g. ``3.9.23``.
    energy
        Total energy (eV).
    band_energy_ha
        Sum of the occupied eigenvalues, "Uele" (Ha, as printed).
    fermi_level
        Chemical potential (eV).
    symbols, positions, forces
        Species names (N), positions (N, 3) in Å to five digits as printed, forces (N, 3) in eV/Å.
    converged
        The self-consistency criterion was met.
    scf_iterations
        Iterations of the last self-consistency loop.
    wall_s
        Elapsed time; None if the run did not get there.
    """

    version: str
    energy: float
    band_energy_ha: float
    fermi_level: float
    symbols: list[str]
    positions: np.ndarray
    forces: np.ndarray
    converged: bool
    scf_iterations: int
    wall_s: float | None


def read_out(path: str | os.PathLike[str], std: str | os.PathLike[str] | None = None) -> OpenmxOut:
    """Read a `.out` file (plain, xz or gz); of several geometries the last one.

    Parameters
    ----------
    path
        The `.out` file.
    std
        Standard output of the same run, where OpenMX says whether the self-consistency was reached.
        Without it OpenMX's own rule is applied to the printed history: the band energy changed by
        less than ``scf.criterion`` and the residual norm is below ten times that (`DFT.c`).

    Raises
    ------
    InputError
        If the file is not an OpenMX output, or ends before energy and forces.
    """
    text = read_text(path)
    version = _VERSION.search(text)
    if version is None:
        raise InputError(path, "not the .out file of OpenMX", "give the .out file of the same run")
    symbols, positions, forces = _last_forces(text, path)
    history = _last_history(text, path)
    criterion = OpenmxInput(text.splitlines(), path).number("scf.criterion", 1e-6)
    wall = _WALL.search(text)
    return OpenmxOut(
        version=version.group(1),
        energy=_last_number(_TOTAL, text, path, "total energy (Utot)") * HARTREE,
        band_energy_ha=_last_number(_BAND_ENERGY, text, path, "band energy (Uele)"),
        fermi_level=_last_number(_CHEMICAL_POTENTIAL, text, path, "chemical potential") * HARTREE,
        symbols=symbols,
        positions=positions,
        forces=forces,
        converged=_reached(history, criterion) if std is None else _reached_in_std(std),
        scf_iterations=len(history),
        wall_s=float(wall.group(1)) if wall else None,
    )


def _last_number(pattern: re.Pattern[str], text: str, path: str | os.PathLike[str], what: str) -> float:
    found = pattern.findall(text)
    if not found:
        raise InputError(path, f"holds no {what}", "the run was cut short: run it again")
    return float(found[-1])


def _last_forces(text: str, path: str | os.PathLike[str]) -> tuple[list[str], np.ndarray, np.ndarray]:
    found = _FORCES.findall(text)
    if not found:
        raise InputError(
            path, "holds no forces (block coordinates.forces)", "the run was cut short: run it again"
        )
    count, body = found[-1]
    rows = [line.split() for line in body.strip().splitlines()]
    if len(rows) != int(count) or any(len(row) != 8 for row in rows):
        raise InputError(
            path, f"block coordinates.forces: expected {count} rows of 8 columns", "run OpenMX again"
        )
    try:
        values = np.array([[float(word) for word in row[2:]] for row in rows])
    except ValueError as error:
        raise InputError(path, f"block coordinates.forces: {error}", "run OpenMX again") from None
    if not np.isfinite(values).all():
        raise InputError(path, "block coordinates.forces holds NaN or infinity", "run OpenMX again")
    return [row[1] for row in rows], values[:, :3], values[:, 3:] * (HARTREE / BOHR)


def _last_history(text: str, path: str | os.PathLike[str]) -> list[tuple[float, float]]:
    """(residual norm, band energy in Ha) of every iteration of the last self-consistency loop."""
    history: list[tuple[float, float]] = []
    for iteration, norm, energy in _HISTORY.findall(text):
        if int(iteration) == 1:
            history = []
        history.append((float(norm), float(energy)))
    if not history:
        raise InputError(path, "holds no SCF history", "the run was cut short: run it again")
    return history


def _reached(history: list[tuple[float, float]], criterion: float) -> bool:
    if len(history) < 2:
        return False
    norm, energy = history[-1]
    return abs(energy - history[-2][1]) < criterion and norm < 10 * criterion


def _reached_in_std(std: str | os.PathLike[str]) -> bool:
    """Whether the last loop in the standard output ended with "The SCF was achieved"."""
    text = read_text(std)
    last_loop = text.rfind("SCF calculation at MD")
    return "The SCF was achieved" in text[max(last_loop, 0) :]

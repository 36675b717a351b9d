"""Rigid-layer modes from labels of rigidly slipped bilayers, the accurate reference for these soft modes."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np

from mlepi_core.artefacts import InputError
from mlepi_core.phonons.units import CM1_PER_THZ, THZ_PER_SQRT_EIGENVALUE

#: Columns of `slip_reference`.
SLIP_COLUMNS = ("mode", "source", "constant_eV_per_A2_per_atom", "frequency_cm1", "frequency_se_cm1")
_SLIP_FIELDS = (
    "slip_x_A",
    "slip_y_A",
    "distance_change_A",
    "energy_minus_AB_meV_per_cell",
    "force_x_meV_per_A",
    "force_y_meV_per_A",
    "force_z_meV_per_A",
)


def slip_reference(
    path: str | os.PathLike[str], mass_amu: float, atoms_per_layer: int = 2
) -> list[dict[str, Any]]:
    """Shear and breathing modes of a bilayer from energies and forces of rigid slips about AB.

    Per atom of a layer, the energy of a relative displacement r = (x, y) is ½k r² + c(y³ − 3x²y) + d r⁴
    (threefold axis), that of a change z of the distance −f z + ½k z² + a z³; the few points along z do not
    determine a further term. Forces (mean over the atoms of the upper layer) and, independently, energies
    are fitted by least squares; ω² = 2k/m, as two layers of equal mass vibrate against each other.

    Parameters
    ----------
    path
        CSV with the slips (Å), energies (meV per cell) and forces per atom (meV/Å).
    mass_amu
        Mean mass of an atom, amu.
    atoms_per_layer
        Atoms of a layer in the cell of the file.

    Returns
    -------
    list of dict
        Keys `SLIP_COLUMNS`; source is ``"forces"`` or ``"energies"``, the error that of the fit.
    """
    x, y, z, energy, fx, fy, fz = _read_slips(path)
    energy = energy / atoms_per_layer
    plane, normal = z == 0, (x == 0) & (y == 0)
    fits = {
        ("shear", "forces"): (_shear_forces(x[plane], y[plane]), np.concatenate([fx[plane], fy[plane]])),
        ("shear", "energies"): (_shear_energy(x[plane], y[plane]), energy[plane]),
        ("breathing", "forces"): (_powers(-z[normal], (1, 2, 0)), fz[normal]),
        ("breathing", "energies"): (_powers(z[normal], (2, 3, 1, 0)) * [0.5, 1, 1, 1], energy[normal]),
    }
    rows = []
    for (mode, source), (design, values) in fits.items():
        constant, error = (value / 1000 for value in _first_coefficient(path, design, values))
        frequency = np.sign(constant) * np.sqrt(2 * abs(constant) / mass_amu)
        frequency *= THZ_PER_SQRT_EIGENVALUE * CM1_PER_THZ
        rows.append(
            {
                "mode": mode,
                "source": source,
                "constant_eV_per_A2_per_atom": round(constant, 6),
                "frequency_cm1": round(float(frequency), 3),
                "frequency_se_cm1": round(float(abs(frequency / constant) * error / 2), 3),
            }
        )
    return rows


def _shear_forces(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Design of (Fx, Fy) for k, c, d and one constant (grid noise) per direction."""
    zero, one, r2 = np.zeros_like(x), np.ones_like(x), x**2 + y**2
    along_x = np.stack([-x, 6 * x * y, -4 * r2 * x, one, zero], axis=1)
    along_y = np.stack([-y, 3 * (x**2 - y**2), -4 * r2 * y, zero, one], axis=1)
    return np.concatenate([along_x, along_y])


def _shear_energy(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Design of the energy for k, c, d and a constant."""
    r2 = x**2 + y**2
    return np.stack([r2 / 2, y**3 - 3 * x**2 * y, r2**2, np.ones_like(x)], axis=1)


def _powers(values: np.ndarray, exponents: tuple[int, ...]) -> np.ndarray:
    return np.stack([values**exponent for exponent in exponents], axis=1)


def _read_slips(path: str | os.PathLike[str]) -> list[np.ndarray]:
    if not Path(path).is_file():
        raise InputError(path, "no such file", "give the CSV of the rigid slips")
    with open(path, newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    try:
        return [np.array([float(row[name]) for row in rows]) for name in _SLIP_FIELDS]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            path, f"not a slip table ({error})", f"needs the columns {', '.join(_SLIP_FIELDS)}"
        ) from None


def _first_coefficient(
    path: str | os.PathLike[str], design: np.ndarray, values: np.ndarray
) -> tuple[float, float]:
    """First coefficient of a least-squares fit and its standard error; refuses undetermined fits."""
    freedom = len(values) - design.shape[1]
    if freedom < 1 or np.linalg.matrix_rank(design) < design.shape[1]:
        raise InputError(
            path, f"{len(values)} values do not determine the rigid-layer modes", "add displacements"
        )
    solution = np.linalg.lstsq(design, values, rcond=None)[0]
    variance = np.sum((values - design @ solution) ** 2) / freedom
    return float(solution[0]), float(np.sqrt(variance * np.linalg.inv(design.T @ design)[0, 0]))

"""Relaxation of the reference structure at fixed cell, under the force model that gives the phonons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.optimize import BFGS

from mlepi_core.artefacts import InputError, MlepiError
from mlepi_core.structures import interlayer_distances


@dataclass(frozen=True)
class Relaxation:
    """Relaxed structure and what the relaxation did (keys of `report` carry their units)."""

    atoms: Atoms
    report: dict[str, Any]


class _NetForceRemoved(Calculator):
    """Passes energy and forces of `inner` on, forces without their mean over the atoms.

    Grid-based labels, and any model trained on them, may push the whole cell; the push would
    otherwise be integrated as a drift and keep the force criterion from being met.
    """

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner
        self.implemented_properties = ["energy", "forces"]

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        forces = np.asarray(self.inner.get_forces(self.atoms), dtype=float)
        self.results = {
            "energy": float(self.inner.get_potential_energy(self.atoms)),
            "forces": forces - forces.mean(axis=0),
        }


def relax_structure(
    atoms: Atoms, calculator: Any, *, force_tolerance: float = 1e-4, max_steps: int = 1000
) -> Relaxation:
    """Move the atoms at fixed cell until every force is below `force_tolerance`.

    Parameters
    ----------
    atoms
        Start structure (not changed); an integer array `layer` gives the interlayer distances.
    calculator
        ASE calculator with energy (eV) and forces (eV/Å).
    force_tolerance
        Largest allowed length of a force, the mean force subtracted, eV/Å.
    max_steps
        Steps of the optimiser (BFGS) before giving up.

    Returns
    -------
    Relaxation
        The centre of mass stays where it was. The report holds forces before and after (eV/Å), how
        far atoms moved (Å), the interlayer distances (Å) and the energy gain (eV).

    Raises
    ------
    InputError
        `force_tolerance` is not positive.
    MlepiError
        The forces do not fall below the tolerance within `max_steps`.
    """
    if not force_tolerance > 0:
        raise InputError("force_tolerance", f"is {force_tolerance} eV/Å", "give a positive number")
    moved = atoms.copy()
    moved.calc = _NetForceRemoved(calculator)
    net_force = np.asarray(calculator.get_forces(moved), dtype=float).sum(axis=0)
    force_before = _longest(moved.get_forces())
    energy_before = moved.get_potential_energy()
    # maxstep keeps soft layers from sliding far on the first, badly scaled steps.
    optimizer = BFGS(moved, logfile=None, maxstep=0.1)
    converged = optimizer.run(fmax=force_tolerance, steps=max_steps)
    force_after, energy_after = _longest(moved.get_forces()), moved.get_potential_energy()
    if not converged:
        raise MlepiError(
            f"relaxation: largest force {force_after:.2e} eV/Å after {max_steps} steps, "
            f"tolerance {force_tolerance:.1e}; start nearer to equilibrium or raise force_tolerance"
        )
    moved.calc = None
    shift = moved.positions - atoms.positions
    shift -= np.average(shift, axis=0, weights=atoms.get_masses())
    moved.positions = atoms.positions + shift
    length = np.linalg.norm(shift, axis=1)
    report = {
        "relaxed": True,
        "force_tolerance_eV_per_A": force_tolerance,
        "steps": int(optimizer.get_number_of_steps()),
        "net_force_start_eV_per_A": net_force.tolist(),
        "max_force_start_eV_per_A": force_before,
        "residual_force_eV_per_A": force_after,
        "energy_change_eV": float(energy_after - energy_before),
        "moved_max_A": float(length.max()),
        "moved_rms_A": float(np.sqrt(np.mean(length**2))),
        "interlayer_distance_start_A": _distances(atoms),
        "interlayer_distance_A": _distances(moved),
    }
    return Relaxation(moved, report)


def unrelaxed(atoms: Atoms, calculator: Any) -> Relaxation:
    """Keep `atoms` as they are; the report gives the forces that act on them."""
    forces = np.asarray(calculator.get_forces(atoms), dtype=float)
    report = {
        "relaxed": False,
        "net_force_start_eV_per_A": forces.sum(axis=0).tolist(),
        "residual_force_eV_per_A": _longest(forces - forces.mean(axis=0)),
        "moved_max_A": 0.0,
        "moved_rms_A": 0.0,
        "interlayer_distance_A": _distances(atoms),
    }
    return Relaxation(atoms.copy(), report)


def _distances(atoms: Atoms) -> list[float] | None:
    """Interlayer distances in Å; None if the layers are not known."""
    return interlayer_distances(atoms).tolist() if "layer" in atoms.arrays else None


def _longest(forces: np.ndarray) -> float:
    return float(np.linalg.norm(forces, axis=1).max())

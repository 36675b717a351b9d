"""From a structure and a force model to force constants, with a report of everything on the way."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from mlepi_core.artefacts import InputError
from mlepi_core.phonons.bands import eigensystem
from mlepi_core.phonons.force_constants import (
    finite_differences,
    from_hessian,
    make_phonopy,
)
from mlepi_core.phonons.modes import supercell_modes
from mlepi_core.phonons.reference import commensurate_points
from mlepi_core.phonons.relax import relax_structure, unrelaxed
from mlepi_core.phonons.rigid_layers import rigid_layer_modes
from mlepi_core.phonons.storage import Phonons
from mlepi_core.phonons.sum_rules import impose_sum_rules, sum_rule_violation
from mlepi_core.phonons.units import CM1_PER_THZ

METHODS = ("finite_differences", "hessian")
#: Frequencies below this one (as imaginary numbers) are listed, cm⁻¹: above the rounding of the file.
IMAGINARY_CM1 = 0.1


class ImaginaryModesWarning(UserWarning):
    """The force constants have modes without a restoring force."""


def run_phonons(
    atoms: Atoms,
    calculator: Any,
    supercell: Sequence[int],
    *,
    relax: bool = True,
    displacement: float = 0.02,
    force_tolerance: float = 1e-4,
    method: str = "finite_differences",
    sum_rules: str = "translational",
    hessian: Callable[[Atoms], np.ndarray] | None = None,
) -> Phonons:
    """Relax, compute force constants, impose and report the sum rules.

    Parameters
    ----------
    atoms
        Primitive cell; the array `layer` is needed for what concerns rigid layers.
    calculator
        ASE calculator in float64: energy (eV), forces (eV/Å). An optional method
        ``forces(list of structures)`` computes several structures at once.
    supercell
        Repetitions in which the force constants are computed.
    relax
        Relax at fixed cell first to `force_tolerance` (eV/Å).
    displacement
        Finite displacements, Å.
    method
        ``"finite_differences"`` or ``"hessian"``.
    sum_rules
        ``"none"``, ``"translational"`` or ``"rotational"``, see `impose_sum_rules`.
    hessian
        For ``"hessian"``, see `from_hessian`; default: the calculator's own method ``hessian``.

    Returns
    -------
    Phonons
        Imaginary modes raise an `ImaginaryModesWarning` and are listed in the report.
    """
    if method not in METHODS:
        raise InputError("phonons.method", f"is {method!r}", f"give one of {', '.join(METHODS)}")
    found = (
        relax_structure(atoms, calculator, force_tolerance=force_tolerance)
        if relax
        else unrelaxed(atoms, calculator)
    )
    phonon = make_phonopy(found.atoms, supercell)
    if method == "hessian":
        second = hessian or getattr(calculator, "hessian", None)
        if second is None:
            raise InputError("phonons.method", "this force model has no hessian", "use finite_differences")
        from_hessian(phonon, found.atoms, second)
    else:
        batch = getattr(calculator, "forces", calculator)
        finite_differences(phonon, found.atoms, batch, displacement=displacement)
    report = dict(found.report)
    report["method"] = method
    report["supercell"] = [int(n) for n in supercell]
    report["displacement_A"] = displacement if method == "finite_differences" else None
    report["space_group"] = phonon.symmetry.get_international_table()
    report["sum_rules_before"] = sum_rule_violation(phonon)
    impose_sum_rules(phonon, sum_rules)
    report["sum_rules_imposed"] = sum_rules
    report["sum_rules_after"] = sum_rule_violation(phonon)
    result = Phonons(phonon, found.atoms, report)
    report["imaginary_modes"] = imaginary_modes(result)
    report["rigid_layer_modes"] = rigid_layer_table(result)
    _warn(report["imaginary_modes"])
    return result


def imaginary_modes(phonons: Phonons) -> list[dict[str, Any]]:
    """Imaginary modes at the commensurate q points, translations left out: q and cm⁻¹ (negative)."""
    listed = []
    for q in commensurate_points(phonons.phonon):
        frequencies, _ = eigensystem(phonons.phonon, q, drop_translations=bool(np.allclose(q, 0)))
        listed += [
            {"q": [round(float(x), 6) for x in q], "frequency_cm1": round(float(f) * CM1_PER_THZ, 3)}
            for f in frequencies
            if f * CM1_PER_THZ < -IMAGINARY_CM1
        ]
    return listed


def rigid_layer_table(phonons: Phonons) -> list[dict[str, Any]]:
    """Rigid-layer modes at Γ: kind, frequency in cm⁻¹, weight; empty for fewer than two layers."""
    layers = phonons.reference.arrays.get("layer")
    if layers is None or len(np.unique(layers)) < 2:
        return []
    return [
        {"kind": mode.kind, "frequency_cm1": round(mode.frequency_cm1, 3), "weight": round(mode.weight, 6)}
        for mode in rigid_layer_modes(supercell_modes(phonons.phonon, phonons.reference, (1, 1, 1)))
    ]


def _warn(listed: list[dict[str, Any]]) -> None:
    if listed:
        lowest = ", ".join(
            f"{mode['frequency_cm1']:.1f}" for mode in sorted(listed, key=lambda m: m["frequency_cm1"])[:6]
        )
        warnings.warn(
            f"{len(listed)} imaginary modes at commensurate q points (cm⁻¹): {lowest}; "
            "`mlepi sample` refuses them unless told otherwise",
            ImaginaryModesWarning,
            stacklevel=3,
        )

"""Section `phonons`: force constants, bands and their DFT references."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mlepi_core.config.base import Section, setting

Repeats = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]


class PhononsSection(Section):
    """Harmonic phonons of the reference structure from the phonon network."""

    supercell: Repeats = setting((6, 6, 1), description="cells along each vector, for the force constants")
    method: Literal["finite_differences", "hessian"] = setting(
        "finite_differences",
        description="forces on displaced supercells, or the Hessian of the network",
    )
    displacement: float = setting(0.02, unit="Å", gt=0, le=0.1, description="displacements of both signs")
    relax: bool = setting(True, description="relax at fixed cell under the phonon network first")
    force_tolerance: float = setting(
        1e-4, unit="eV/Å", gt=0, description="largest force that relaxation leaves on an atom"
    )
    sum_rules: Literal["none", "translational", "rotational"] = setting(
        "translational", description="rules imposed on the force constants; their violation is reported"
    )
    reference: str | None = setting(
        None,
        description="phonopy file (yaml, yaml.xz) with DFT force constants, or displacements and forces",
    )
    slip_reference: str | None = setting(
        None, description="CSV of energies and forces under rigid slips (DFT), for the rigid-layer modes"
    )
    band_points: int = setting(101, ge=2, description="points on each segment of Γ–M–K–Γ")

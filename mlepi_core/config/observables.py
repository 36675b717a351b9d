"""Sections `velocity`, `quasiparticles`, `bands`, `derivative`: what is computed from Hamiltonians."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from mlepi_core.config.base import Section, distinct, setting


def _ordered(window: tuple[float, float]) -> tuple[float, float]:
    if window[0] >= window[1]:
        raise ValueError("the first number must be smaller than the second")
    return window


Window = Annotated[
    tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(gt=0, le=0.5)]], AfterValidator(_ordered)
]
Estimator = Literal["naive", "manifold", "bilayer", "operator"]


class VelocitySection(Section):
    """Fermi velocity at the folded K point by several estimators."""

    estimators: list[Estimator] = setting(
        ["naive", "manifold", "bilayer", "operator"], min_length=1, description="estimators to evaluate"
    )
    windows: list[Window] = setting(
        [(0.03, 0.10), (0.03, 0.05), (0.05, 0.10)],
        unit="1/Å",
        min_length=1,
        description="windows of |k − K| of `manifold` and `bilayer`; the first is the one that figures show",
    )
    naive_windows: list[Window] = setting(
        [(0.0, 0.03), (0.0, 0.05), (0.05, 0.10)],
        unit="1/Å",
        min_length=1,
        description="windows of the straight-line slope; from 0 it shows the finite-size artefact",
    )
    directions: int = setting(3, ge=1, le=12, description="directions of k around K, each with ±k")
    k_points: int = setting(4, ge=2, description="points of |k| in a window and direction")
    gauge: Literal["atomic", "cell"] = setting("atomic", description="gauge of the velocity operator")

    @field_validator("estimators")
    @classmethod
    def _distinct(cls, value: list[str]) -> list[str]:
        return distinct(value, "an estimator")


class QuasiparticlesSection(Section):
    """Velocity of the bands of the averaged Green function, from the Hamiltonians that are kept."""

    estimators: list[Literal["spectral", "self_energy"]] = setting(
        [],
        description="`spectral`: maxima of its spectral function; `self_energy`: its poles. Needs "
        "hamiltonians.keep: all or subset; a diagonalisation of each kept snapshot at every k",
    )
    window: Window = setting((0.04, 0.12), unit="1/Å", description="|k − K| in the primitive cell")
    directions: int = setting(3, ge=1, le=12, description="directions of k around K, each with ±k")
    k_points: int = setting(3, ge=2, description="points of |k| in the window and direction")
    eta: float = setting(0.03, unit="eV", gt=0, le=0.5, description="imaginary part of the energy")

    @field_validator("estimators")
    @classmethod
    def _distinct(cls, value: list[str]) -> list[str]:
        return distinct(value, "an estimator")


class BandsSection(Section):
    """Bands of test structures: from the predicted Hamiltonian against those from the DFT one."""

    points: int = setting(40, ge=2, description="points on each segment of Γ–M–K–Γ of the cell")
    window: float = setting(1.0, unit="eV", gt=0, description="states within ± this of E_F are compared")
    overlap_threshold: float = setting(
        5e-4,
        ge=0,
        lt=0.1,
        description="combinations of orbitals whose eigenvalue of S is smaller are left out of predicted "
        "bands: errors of H count there by its inverse; large bases need more (2e-3)",
    )


class DerivativeSection(Section):
    """dH/du at the ideal structure: exact and by central differences, and splittings by frozen phonons."""

    steps: list[Annotated[float, Field(gt=0, le=0.1)]] = setting(
        [1e-3, 1e-2], unit="Å", min_length=1, description="displacements of the central differences"
    )
    reference: str | None = setting(
        None, description="label store of displaced cells with H, for the value from DFT"
    )

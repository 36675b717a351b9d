"""Section `statistics`: schemes of sampling that are compared with each other."""

from __future__ import annotations

from pydantic import field_validator

from mlepi_core.config.base import Section, distinct, setting
from mlepi_core.config.sampling import SOBOL_REPLICATES, Scheme

#: Plain samples, which the others are compared with, are always among them.
PLAIN: Scheme = "plain"


class StatisticsSection(Section):
    """Comparison of schemes (run.target: statistics)."""

    schemes: list[Scheme] = setting(
        ["antithetic", "signs", "gauss_hermite", "sobol"],
        description="schemes to compare with plain samples, and with plain samples that control variates "
        "correct, at every `sampling.temperatures` in the cell `sampling.supercell`",
    )
    evaluations: int = setting(
        192,
        ge=64,
        description=f"Hamiltonians for each scheme and temperature, a multiple of {2 * SOBOL_REPLICATES}",
    )

    @field_validator("schemes")
    @classmethod
    def _distinct(cls, schemes: list[Scheme]) -> list[Scheme]:
        return distinct(schemes, "a scheme")

    @field_validator("evaluations")
    @classmethod
    def _whole_groups(cls, evaluations: int) -> int:
        if evaluations % (2 * SOBOL_REPLICATES):
            raise ValueError(f"must be a multiple of {2 * SOBOL_REPLICATES}")
        return evaluations

    @property
    def compared(self) -> list[Scheme]:
        """All schemes that are sampled, plain samples first."""
        return [PLAIN, *(scheme for scheme in self.schemes if scheme != PLAIN)]

    def units(self, scheme: str) -> int:
        """Units (pairs, or single samples) of a scheme."""
        return self.evaluations // (1 if scheme == PLAIN else 2)

"""Sections `sampling` and `hamiltonians`: thermal displacements and what is kept of their Hamiltonians."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from mlepi_core.config.base import Section, setting
from mlepi_core.config.phonons import Repeats


class SamplingSection(Section):
    """Quantum harmonic displacements in pairs (u, −u), the same random numbers at every temperature."""

    temperatures: list[Annotated[float, Field(ge=0)]] = setting(
        [0.0, 100.0, 200.0, 300.0], unit="K", min_length=1, description="temperatures; 0 is zero-point motion"
    )
    pairs: int = setting(16, ge=2, description="antithetic pairs (u, −u) at each temperature")
    seed: int = setting(1, ge=0, description="seed of the displacements")
    supercell: Repeats = setting(
        (3, 3, 1), description="cells along each vector; multiples of 3 fold K onto Γ"
    )
    block_size: int = setting(
        1000, ge=2, description="samples per job (even: blocks hold whole pairs); does not change any number"
    )
    imaginary: Literal["refuse", "drop", "absolute", "floor"] = setting(
        "refuse", description="what to do with imaginary modes: stop and list them, or one of the policies"
    )
    floor_cm1: float | None = setting(
        None, unit="cm⁻¹", gt=0, description="lowest frequency of a mode (imaginary: floor)"
    )

    @field_validator("temperatures")
    @classmethod
    def _distinct(cls, value: list[float]) -> list[float]:
        names = [f"{temperature:g}" for temperature in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} K stands in the list more than once")
        return value

    @field_validator("supercell")
    @classmethod
    def _flat(cls, value: Repeats) -> Repeats:
        if value[2] != 1:
            raise ValueError("layers are not repeated: the third number must be 1")
        return value

    @field_validator("block_size")
    @classmethod
    def _whole_pairs(cls, value: int) -> int:
        if value % 2:
            raise ValueError("must be even, so that a block holds whole pairs")
        return value

    @model_validator(mode="after")
    def _floor_given(self) -> SamplingSection:
        if (self.imaginary == "floor") != (self.floor_cm1 is not None):
            raise ValueError("floor_cm1 is needed with imaginary: floor, and only then")
        return self

    @property
    def pairs_per_block(self) -> int:
        """Number of pairs in a full block."""
        return self.block_size // 2

    @property
    def n_blocks(self) -> int:
        """Number of blocks (jobs) at each temperature."""
        return -(-self.pairs // self.pairs_per_block)

    def block_pairs(self, block: int) -> tuple[int, int]:
        """First pair of a block and the number of its pairs."""
        first = block * self.pairs_per_block
        return first, min(self.pairs_per_block, self.pairs - first)


class HamiltoniansSection(Section):
    """Predicted Hamiltonians of the samples: observables are always kept, matrices by choice."""

    keep: Literal["all", "subset", "none"] = setting(
        "subset", description="which predicted H and S are written to hamiltonians/"
    )
    subset: int = setting(1, ge=1, description="pairs kept at each temperature (keep: subset)")
    batch_size: int = setting(4, ge=1, description="samples in one forward pass")

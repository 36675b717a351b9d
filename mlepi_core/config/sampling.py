"""Sections `sampling` and `hamiltonians`: thermal displacements and what is kept of their Hamiltonians."""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from mlepi_core.config.base import Section, setting
from mlepi_core.config.phonons import Repeats

Scheme = Literal["antithetic", "plain", "signs", "gauss_hermite", "sobol"]
#: Pairs that a run with a target starts from at least: fewer do not know their own error well enough.
LEAST_FIRST_STAGE = 32
#: Independent scramblings of the scheme sobol, as `mlepi_core.sampling.schemes` makes them.
SOBOL_REPLICATES = 8


class TargetError(Section):
    """Half width of the 95 % confidence interval that an observable is to reach."""

    relative: float | None = setting(None, gt=0, lt=1, description="of the value")
    absolute: float | None = setting(None, gt=0, description="in the unit of the observable (velocity: m/s)")

    @model_validator(mode="after")
    def _one_of_them(self) -> TargetError:
        if (self.relative is None) == (self.absolute is None):
            raise ValueError("give either relative or absolute")
        return self


class SamplingSection(Section):
    """Quantum harmonic displacements in pairs (u, −u), the same random numbers at every temperature."""

    temperatures: list[Annotated[float, Field(ge=0)]] = setting(
        [0.0, 100.0, 200.0, 300.0], unit="K", min_length=1, description="temperatures; 0 is zero-point motion"
    )
    scheme: Scheme = setting(
        "antithetic",
        description="how displacements are drawn: pairs (u, −u) of `antithetic` normal numbers, of `signs` "
        "(thermal lines), of `gauss_hermite` points or of a scrambled `sobol` sequence; `plain`: no pairs",
    )
    pairs: int = setting(
        16,
        ge=2,
        description="pairs (u, −u) at each temperature (scheme plain: single samples); with target_error "
        "those to start with",
    )
    target_error: dict[str, TargetError] = setting(
        {},
        description="precision to reach, `{velocity_manifold: {relative: 0.002}}` (or `absolute`, in m/s): "
        "half width of the 95 % confidence interval of the first window. Pairs are doubled at every "
        "temperature until it is reached or there are max_pairs",
    )
    max_pairs: int | None = setting(
        None, ge=2, description="pairs at which a temperature stops even without the precision (target_error)"
    )
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

    @model_validator(mode="after")
    def _whole_scramblings(self) -> SamplingSection:
        if self.scheme == "sobol" and (
            self.pairs % SOBOL_REPLICATES or (self.max_pairs or 0) % SOBOL_REPLICATES
        ):
            raise ValueError(
                f"with scheme: sobol pairs must be multiples of {SOBOL_REPLICATES}, its scramblings"
            )
        return self

    @model_validator(mode="after")
    def _maximum_given(self) -> SamplingSection:
        if bool(self.target_error) != (self.max_pairs is not None):
            raise ValueError("max_pairs is needed with target_error, and only then")
        if self.max_pairs is not None and not LEAST_FIRST_STAGE <= self.pairs <= self.max_pairs:
            raise ValueError(
                f"with target_error, pairs must be {LEAST_FIRST_STAGE} at least and max_pairs at most"
            )
        return self

    @property
    def members(self) -> int:
        """Samples of a pair: one without its negative, else two."""
        return 1 if self.scheme == "plain" else 2

    @property
    def pairs_per_block(self) -> int:
        """Number of pairs in a full block."""
        return self.block_size // self.members

    @property
    def stage_pairs(self) -> list[int]:
        """Pairs at a temperature after each stage of a run with a target: twice as many every time.

        A check after each pair would stop at lucky moments; doubling keeps the confidence near its nominal
        value. Without a target there is one stage.
        """
        stages, largest = [self.pairs], self.max_pairs or self.pairs
        while stages[-1] < largest:
            stages.append(min(2 * stages[-1], largest))
        return stages

    @cached_property
    def _blocks(self) -> list[tuple[int, int]]:
        """First pair and number of pairs of all blocks; none reaches over the end of a stage."""
        edges = [0, *self.stage_pairs]
        return [
            (first, min(self.pairs_per_block, end - first))
            for start, end in pairwise(edges)
            for first in range(start, end, self.pairs_per_block)
        ]

    def n_blocks(self, stage: int = 0) -> int:
        """Number of blocks (jobs) at a temperature after a stage."""
        return sum(first < self.stage_pairs[stage] for first, _ in self._blocks)

    def block_pairs(self, block: int) -> tuple[int, int]:
        """First pair of a block and the number of its pairs."""
        return self._blocks[block]


class HamiltoniansSection(Section):
    """Predicted Hamiltonians of the samples: observables are always kept, matrices by choice."""

    keep: Literal["all", "subset", "none"] = setting(
        "subset", description="which predicted H and S are written to hamiltonians/"
    )
    subset: int = setting(1, ge=1, description="pairs kept at each temperature (keep: subset)")
    batch_size: int = setting(4, ge=1, description="samples in one forward pass")

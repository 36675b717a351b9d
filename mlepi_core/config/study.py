"""Section `study`: networks trained in several variants and compared, for ablations and learning curves."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from mlepi_core.config.base import Section, distinct, setting

NAME = r"^[A-Za-z0-9][A-Za-z0-9.-]*$"
Name = Annotated[str, Field(pattern=NAME)]
Seed = Annotated[int, Field(ge=0)]


class StudyVariant(Section):
    """A network with some of its settings replaced."""

    name: Name = setting(description="name in tables and files: letters, digits, dot and dash")
    network: Literal["phonon", "electron"] = setting(description="which network")
    comparisons: list[Name] = setting(
        min_length=1,
        description="variants of one network that name the same one are compared with each other",
    )
    label: str = setting("", description="words for tables and figures; by default the name")
    settings: dict[str, Any] = setting(
        {}, description="keys of `training.NETWORK` with the values that they have in this variant"
    )

    @field_validator("comparisons")
    @classmethod
    def _distinct_comparisons(cls, value: list[str]) -> list[str]:
        return distinct(value, "a comparison")

    @field_validator("settings")
    @classmethod
    def _no_seed(cls, value: dict[str, Any]) -> dict[str, Any]:
        if "seed" in value:
            raise ValueError("seed is no setting of a variant; give study.seeds")
        return value

    @property
    def title(self) -> str:
        """What tables and figures call it."""
        return self.label or self.name


class StudySection(Section):
    """Variants, each trained with every seed; the first of a comparison is what its others refer to.

    A variant of several comparisons is trained once.
    """

    seeds: list[Seed] = setting([1, 2], min_length=1, description="every variant is trained with each")
    variants: list[StudyVariant] = setting([], description="what is trained and compared")

    @field_validator("seeds")
    @classmethod
    def _distinct_seeds(cls, value: list[int]) -> list[int]:
        return distinct(value, "a seed")

    @field_validator("variants")
    @classmethod
    def _distinct_names(cls, value: list[StudyVariant]) -> list[StudyVariant]:
        names = [(variant.network, variant.name) for variant in value]
        for network, name in names:
            if names.count((network, name)) > 1:
                raise ValueError(f"two variants of the {network} network have the name {name}")
        return value

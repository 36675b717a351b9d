"""The whole configuration as one tree; `config/*.yaml` files are instances of it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationError, model_validator

from mlepi_core.config import messages
from mlepi_core.config.base import Section, setting
from mlepi_core.config.checks import ChecksSection
from mlepi_core.config.figures import FiguresSection
from mlepi_core.config.labels import LabelsSection
from mlepi_core.config.models import ModelsSection
from mlepi_core.config.observables import (
    BandsSection,
    DerivativeSection,
    QuasiparticlesSection,
    VelocitySection,
)
from mlepi_core.config.phonons import PhononsSection
from mlepi_core.config.sampling import HamiltoniansSection, SamplingSection
from mlepi_core.config.statistics import StatisticsSection
from mlepi_core.config.structure import StructureSection
from mlepi_core.config.study import StudySection, StudyVariant
from mlepi_core.config.training import TrainingSections

Device = Literal["auto", "cpu", "cuda"]


class RunSection(Section):
    """Names of the run."""

    name: str = setting(
        "quick",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="results go to results/NAME; letters, digits, dot, dash and underscore",
    )
    target: Literal["all", "networks", "study", "statistics"] = setting(
        "all",
        description="what snakemake makes when it is not told: everything, the networks alone with their "
        "errors, tables and figures, the comparison of networks that `study` describes, or that of sampling "
        "schemes that `statistics` describes",
    )


class Settings(Section):
    """Configuration of a run: everything that changes its results, and how they are drawn."""

    run: RunSection = Field(RunSection(), description="the run itself")
    device: Device = setting("auto", description="where networks run; `auto` takes CUDA if there is a device")
    committee: int = setting(
        1,
        ge=1,
        description="models per network, with seeds `seed`, `seed` + 1, …; predictions are their mean, from "
        "two on with their spread",
    )
    structure: StructureSection = Field(StructureSection(), description="the reference structure")
    labels: LabelsSection = Field(LabelsSection(), description="the DFT labels")
    training: TrainingSections = Field(TrainingSections(), description="the two networks")
    models: ModelsSection = Field(ModelsSection(), description="trained networks that are taken instead")
    study: StudySection = Field(StudySection(), description="comparison of variants of the networks")
    phonons: PhononsSection = Field(PhononsSection(), description="force constants and bands")
    sampling: SamplingSection = Field(SamplingSection(), description="thermal displacements")
    hamiltonians: HamiltoniansSection = Field(HamiltoniansSection(), description="predicted Hamiltonians")
    statistics: StatisticsSection = Field(StatisticsSection(), description="comparison of sampling schemes")
    velocity: VelocitySection = Field(VelocitySection(), description="Fermi velocity")
    quasiparticles: QuasiparticlesSection = Field(
        QuasiparticlesSection(), description="bands of the averaged Green function"
    )
    bands: BandsSection = Field(BandsSection(), description="bands of the test structures")
    derivative: DerivativeSection = Field(DerivativeSection(), description="derivative of the Hamiltonian")
    checks: ChecksSection = Field(ChecksSection(), description="comparisons with known answers")
    figures: FiguresSection = Field(FiguresSection(), description="figures")

    @property
    def networks_only(self) -> bool:
        """Whether the run ends with the networks: said so, or only one of them is trained."""
        return self.run.target == "networks" or len(self.training.networks) == 1

    @property
    def trained_networks(self) -> list[str]:
        """Networks that the run trains itself; its others come from `models`."""
        return [kind for kind in self.training.networks if getattr(self.models, kind) is None]

    @property
    def taken_networks(self) -> list[str]:
        """Networks that the run takes from `models`."""
        return [kind for kind in self.training.networks if kind not in self.trained_networks]

    @property
    def compares_train_cells(self) -> bool:
        """Whether variants that are compared with each other differ in their number of training cells."""
        numbers: dict[tuple[str, str], set[int | None]] = {}
        for variant in self.study.variants:
            section = getattr(self.trained_as(variant, 0).training, variant.network)
            for comparison in variant.comparisons:
                numbers.setdefault((variant.network, comparison), set()).add(section.train_cells)
        return any(len(different) > 1 for different in numbers.values())

    def trained_as(self, variant: StudyVariant, seed: int) -> Settings:
        """Settings with the section of a variant's network as the variant has it, and `seed`.

        Raises
        ------
        ValidationError
            If the variant's settings do not fit the section.
        """
        section = getattr(self.training, variant.network)
        values = section.model_dump() | variant.settings | {"seed": seed}
        replaced = {variant.network: type(section).model_validate(values)}
        return self.model_copy(update={"training": self.training.model_copy(update=replaced)})

    @model_validator(mode="after")
    def _taken_networks_are_used(self) -> Settings:
        for kind in type(self.models).model_fields:
            if getattr(self.models, kind) is not None and kind not in self.training.networks:
                raise ValueError(f"models.{kind} is given, but training.networks leaves this network out")
        return self

    @model_validator(mode="after")
    def _targets_are_observed(self) -> Settings:
        observed = [f"velocity_{estimator}" for estimator in self.velocity.estimators]
        for name in self.sampling.target_error:
            if name not in observed:
                known = ", ".join(observed)
                raise ValueError(f"sampling.target_error: {name} is no observable of this run: {known}")
        return self

    @model_validator(mode="after")
    def _green_functions_have_hamiltonians(self) -> Settings:
        if self.quasiparticles.estimators and self.hamiltonians.keep == "none":
            raise ValueError("quasiparticles.estimators need hamiltonians.keep: all or subset")
        return self

    @model_validator(mode="after")
    def _statistics_have_both_networks(self) -> Settings:
        if self.run.target == "statistics" and len(self.training.networks) < 2:
            raise ValueError("run.target: statistics needs both networks in training.networks")
        return self

    @model_validator(mode="after")
    def _complete_study(self) -> Settings:
        if self.run.target == "study" and not self.study.variants:
            raise ValueError("run.target: study needs study.variants")
        for variant in self.study.variants:
            try:
                self.trained_as(variant, self.study.seeds[0])
            except ValidationError as error:
                section = type(getattr(self.training, variant.network))
                mistake = messages.places(error, section, variant.settings)[0]
                place = f"study.variants, {variant.network} {variant.name}"
                raise ValueError(f"{place}: settings: {mistake}") from None
        return self

"""The whole configuration as one tree; `config/*.yaml` files are instances of it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mlepi_core.config.base import Section, setting
from mlepi_core.config.checks import ChecksSection
from mlepi_core.config.figures import FiguresSection
from mlepi_core.config.labels import LabelsSection
from mlepi_core.config.observables import BandsSection, DerivativeSection, VelocitySection
from mlepi_core.config.phonons import PhononsSection
from mlepi_core.config.sampling import HamiltoniansSection, SamplingSection
from mlepi_core.config.structure import StructureSection
from mlepi_core.config.training import TrainingSections

Device = Literal["auto", "cpu", "cuda"]


class RunSection(Section):
    """Names of the run."""

    name: str = setting(
        "quick",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="results go to results/NAME; letters, digits, dot, dash and underscore",
    )
    target: Literal["all", "networks"] = setting(
        "all",
        description="what snakemake makes when it is not told: everything, or the networks alone with their "
        "errors, tables and figures",
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
    phonons: PhononsSection = Field(PhononsSection(), description="force constants and bands")
    sampling: SamplingSection = Field(SamplingSection(), description="thermal displacements")
    hamiltonians: HamiltoniansSection = Field(HamiltoniansSection(), description="predicted Hamiltonians")
    velocity: VelocitySection = Field(VelocitySection(), description="Fermi velocity")
    bands: BandsSection = Field(BandsSection(), description="bands of the test structures")
    derivative: DerivativeSection = Field(DerivativeSection(), description="derivative of the Hamiltonian")
    checks: ChecksSection = Field(ChecksSection(), description="comparisons with known answers")
    figures: FiguresSection = Field(FiguresSection(), description="figures")

    @property
    def networks_only(self) -> bool:
        """Whether the run ends with the networks: said so, or only one of them is trained."""
        return self.run.target == "networks" or len(self.training.networks) == 1

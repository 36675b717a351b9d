"""Section `figures`: how results are drawn; never changes a number."""

from __future__ import annotations

from pydantic import Field

from mlepi_core.config.base import Section, setting


class PhononFigure(Section):
    """Figure of the phonon bands."""

    max_frequency: float = setting(1700.0, unit="cm⁻¹", gt=0, description="upper end of the frequency axis")


class BandsFigure(Section):
    """Figure of the electron bands."""

    window: float = setting(3.0, unit="eV", gt=0, description="energy axis: ± this around the Fermi level")


class VelocityFigure(Section):
    """Figure of the Fermi velocity against temperature."""

    show_naive: bool = setting(True, description="draw the straight-line slope next to the other estimators")


class FiguresSection(Section):
    """Settings of the figures; a change reruns the figures that it concerns."""

    dpi: int = setting(150, ge=50, le=600, description="resolution of the PNG files")
    width: float = setting(16.0, unit="cm", ge=6, le=40, description="width of a figure")
    phonons: PhononFigure = Field(PhononFigure(), description="figure of the phonon bands")
    bands: BandsFigure = Field(BandsFigure(), description="figure of the electron bands")
    velocity: VelocityFigure = Field(VelocityFigure(), description="figure of the Fermi velocity")

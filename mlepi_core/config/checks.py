"""Section `checks`: comparisons of the run with known answers that feed into no result."""

from __future__ import annotations

from mlepi_core.config.base import Section, setting
from mlepi_core.config.labels import PathList


class ChecksSection(Section):
    """What is compared with DFT beside the splits of the labels."""

    references: PathList = setting(
        [],
        description="undisplaced cells with H and S from DFT, label stores of one entry or OpenMX `.scfout` "
        "files (also `.xz`, `.gz`): velocities from their H and from the predicted H are compared",
    )

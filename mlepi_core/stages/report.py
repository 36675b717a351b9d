"""Stage `report`: the self-contained page of a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlepi_core.config import Settings


def report(results_dir: str | os.PathLike[str], out: str | os.PathLike[str], settings: Settings) -> None:
    """Write one HTML page with the results, errors, caveats, settings and provenance of a run.

    Parameters
    ----------
    results_dir
        ``results/<run>`` with tables, figures, ``tables/velocity.json`` and ``phonons/relaxation.json``;
        the label files of ``labels/verified/*.json`` are listed.
    out
        HTML file. It refers to nothing outside itself.
    settings
        The validated configuration of the run.

    Raises
    ------
    InputError
        If a table, figure or file is missing or lacks a column.
    """
    from mlepi_core.analysis import write_report

    write_report(Path(results_dir), Path(out), settings)

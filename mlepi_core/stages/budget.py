"""Verb `budget`: errors of the velocity ratio of a run, judged by other runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

Path = str | os.PathLike[str]


def budget(
    run: Path,
    out: Path,
    *,
    sizes: Sequence[Path] = (),
    anharmonic: Path | None = None,
    networks: Sequence[Path] = (),
) -> pd.DataFrame:
    """Write the error budget of a finished run, and its velocities against the size of the sampling cell.

    Parameters
    ----------
    run
        ``results/<run>`` whose velocities are judged.
    out
        Folder for ``budget.csv`` and the figure ``error_budget``; with `sizes` also ``sizes.csv`` and the
        figure ``size_series``.
    sizes
        Runs with other sampling cells.
    anharmonic
        Run with anharmonic force constants.
    networks
        Runs with other networks.

    Returns
    -------
    DataFrame
        Columns of `mlepi_core.analysis.error_budget.BUDGET_COLUMNS`.

    Raises
    ------
    InputError
        If a folder has no velocity.csv, or a run does not differ in the way that its role says.
    """
    from pathlib import Path as FilePath

    import pandas as pd

    from mlepi_core.analysis import draw
    from mlepi_core.analysis.data import write_table
    from mlepi_core.analysis.error_budget import error_budget, read_velocity
    from mlepi_core.config.figures import FiguresSection

    main, series = read_velocity(run), [read_velocity(path) for path in sizes]
    table = error_budget(
        main,
        sizes=series,
        anharmonic=None if anharmonic is None else read_velocity(anharmonic),
        networks=[read_velocity(path) for path in networks],
    )
    folder, settings = FilePath(out), FiguresSection()
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / "budget.csv", table)
    draw("error_budget", {"budget": folder / "budget.csv"}, folder / "error_budget", settings)
    if series:
        write_table(
            folder / "sizes.csv", pd.concat([main, *series]).sort_values("supercell_n", kind="stable")
        )
        draw("size_series", {"sizes": folder / "sizes.csv"}, folder / "size_series", settings)
    return table

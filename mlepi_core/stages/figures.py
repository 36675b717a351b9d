"""Stage `figures`: one figure of a run from its tables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def figure(
    name: str,
    inputs: Mapping[str, str | os.PathLike[str]],
    stem: str | os.PathLike[str],
    settings: Any = None,
) -> None:
    """Write ``stem.png``, ``stem.svg`` and ``stem.csv``, the numbers that are drawn.

    Parameters
    ----------
    name
        A key of `mlepi_core.analysis.FIGURES`.
    inputs
        Tables by the names that the figure gives them (`FigureKind.inputs`).
    stem
        Path without ending.
    settings
        Section `figures` of the configuration, or a mapping of dotted names such as ``figures.dpi``:
        missing ones have their defaults, None takes all defaults.

    Raises
    ------
    InputError
        Unknown figure, or a table that is missing or lacks a column.
    """
    from mlepi_core.analysis import draw

    draw(name, {key: Path(path) for key, path in inputs.items()}, Path(stem), _section(settings))


def _section(settings: Any) -> Any:
    from mlepi_core.config.figures import FiguresSection

    if settings is None:
        return FiguresSection()
    if isinstance(settings, Mapping):
        fields = {
            key.removeprefix("figures."): value
            for key, value in settings.items()
            if key.startswith("figures.")
        }
        return FiguresSection(**fields)
    return settings

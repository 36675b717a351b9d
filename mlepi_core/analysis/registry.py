"""All figures by name: what they draw is a table of its own, written beside the picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from mlepi_core.analysis.data import reread, write_table
from mlepi_core.analysis.figures_bands import draw_bands, prepare_bands
from mlepi_core.analysis.figures_budget import (
    draw_error_budget,
    draw_size_series,
    prepare_error_budget,
    prepare_size_series,
)
from mlepi_core.analysis.figures_calibration import draw_calibration, prepare_calibration
from mlepi_core.analysis.figures_parity import (
    draw_parity_electron,
    draw_parity_phonon,
    prepare_parity_electron,
    prepare_parity_phonon,
)
from mlepi_core.analysis.figures_phonons import (
    draw_displacements,
    draw_phonon_bands,
    prepare_displacements,
    prepare_phonon_bands,
)
from mlepi_core.analysis.figures_spectral import draw_spectral, prepare_spectral
from mlepi_core.analysis.figures_study import (
    draw_ablation,
    draw_learning_curve_cells,
    draw_learning_curve_time,
    prepare_ablation,
    prepare_learning_curve_cells,
    prepare_learning_curve_time,
)
from mlepi_core.analysis.figures_timing import draw_timing, prepare_timing
from mlepi_core.analysis.figures_training import draw_learning_curves, prepare_learning_curves
from mlepi_core.analysis.figures_velocity import (
    draw_convergence,
    draw_velocity,
    prepare_convergence,
    prepare_velocity,
)
from mlepi_core.analysis.style import styled
from mlepi_core.artefacts import InputError, atomic_path
from mlepi_core.config.figures import FiguresSection


@dataclass(frozen=True)
class FigureKind:
    """How one figure is made.

    Attributes
    ----------
    inputs
        Names of the tables that `prepare` wants.
    any_of
        Whether one of them is enough.
    prepare
        From paths of tables to the table of what is drawn.
    draw
        From that table alone to the figure.
    """

    inputs: tuple[str, ...]
    prepare: Callable[[Mapping[str, Path]], pd.DataFrame]
    draw: Callable[[pd.DataFrame, FiguresSection], Figure]
    any_of: bool = False


FIGURES = {
    "learning_curves": FigureKind(
        ("phonon", "electron"), prepare_learning_curves, draw_learning_curves, any_of=True
    ),
    "parity_phonon": FigureKind(("parity", "errors"), prepare_parity_phonon, draw_parity_phonon),
    "parity_electron": FigureKind(("parity", "errors"), prepare_parity_electron, draw_parity_electron),
    "calibration": FigureKind(("points", "calibration"), prepare_calibration, draw_calibration),
    "phonon_bands": FigureKind(("bands", "errors"), prepare_phonon_bands, draw_phonon_bands),
    "displacements": FigureKind(("displacements",), prepare_displacements, draw_displacements),
    "bands": FigureKind(("bands", "errors"), prepare_bands, draw_bands),
    "velocity": FigureKind(("velocity",), prepare_velocity, draw_velocity),
    "convergence": FigureKind(("convergence",), prepare_convergence, draw_convergence),
    "timing": FigureKind(("timing",), prepare_timing, draw_timing),
    "ablation": FigureKind(("study",), prepare_ablation, draw_ablation),
    "learning_curve_cells": FigureKind(("study",), prepare_learning_curve_cells, draw_learning_curve_cells),
    "learning_curve_time": FigureKind(("history",), prepare_learning_curve_time, draw_learning_curve_time),
    "size_series": FigureKind(("sizes",), prepare_size_series, draw_size_series),
    "spectral": FigureKind(("spectral", "bare"), prepare_spectral, draw_spectral, any_of=True),
    "error_budget": FigureKind(("budget",), prepare_error_budget, draw_error_budget),
}


def draw(name: str, inputs: Mapping[str, Path], stem: Path, settings: FiguresSection) -> pd.DataFrame:
    """Write ``stem.csv``, ``stem.png`` and ``stem.svg`` of one figure; returns the table drawn.

    Pictures hold neither dates nor random identifiers, so equal tables give equal files.

    Raises
    ------
    InputError
        Unknown figure, or a table that is missing or lacks a column.
    """
    if name not in FIGURES:
        raise InputError("figure", f"{name!r} is unknown", f"use one of {', '.join(FIGURES)}")
    kind = FIGURES[name]
    missing = [table for table in kind.inputs if table not in inputs]
    if missing and not (kind.any_of and len(missing) < len(kind.inputs)):
        raise InputError(f"figure {name}", f"no table {missing[0]!r} is given", "give its path")
    data = kind.prepare(inputs)
    if data.empty:
        raise InputError(f"figure {name}", "its tables hold nothing to draw", "check the run's settings")
    write_table(stem.with_suffix(".csv"), data)
    with styled():
        figure = kind.draw(reread(data), settings)
        save(figure, stem, settings.dpi)
    return data


def save(figure: Figure, stem: Path, dpi: int) -> None:
    """Write a figure as PNG and SVG, each atomically."""
    metadata = {"png": {"Software": None}, "svg": {"Date": None, "Creator": "mlepi"}}
    for kind in ("png", "svg"):
        with atomic_path(stem.with_suffix(f".{kind}")) as temporary:
            figure.savefig(temporary, format=kind, dpi=dpi, metadata=metadata[kind])

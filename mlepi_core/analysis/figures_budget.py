"""Figures `size_series` and `error_budget`: velocity ratios against the sampling cell, and their errors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlepi_core.analysis.data import read_table
from mlepi_core.analysis.figures_velocity import by_window, window_label
from mlepi_core.analysis.style import (
    ESTIMATORS,
    GREY,
    VERMILION,
    label_panels,
    legend_below,
    look,
    new_figure,
)
from mlepi_core.config.figures import FiguresSection

_WINDOW = ["window_lo_per_A", "window_hi_per_A"]
_SERIES = ["supercell_n", "temperature_K", *_WINDOW, "ratio", "ratio_se", "n_pairs"]
_BUDGET = ["temperature_K", *_WINDOW, "error", "uncertainty", "n_pairs"]
_NAIVE = "naive"
_LINES = ("-", "--", ":", "-.")


def prepare_size_series(inputs: Mapping[str, Path]) -> pd.DataFrame:
    """Velocity ratios of runs with several sampling cells, lowest and highest temperature."""
    table = read_table(inputs["sizes"], ["estimator", *_SERIES], numeric=_SERIES)
    ends = {table["temperature_K"].min(), table["temperature_K"].max()}
    table = table[table["temperature_K"].isin(ends)][["estimator", *_SERIES]]
    return table.astype({"supercell_n": int, "n_pairs": int}).reset_index(drop=True)


def draw_size_series(data: pd.DataFrame, settings: FiguresSection) -> Figure:
    """A row per temperature; left the estimators without artefact, right the naive slope, all windows."""
    temperatures = sorted(data["temperature_K"].unique())
    with_naive = settings.velocity.show_naive and (data["estimator"] == _NAIVE).any()
    figure = new_figure(settings.width, 0.46 * settings.width * len(temperatures) + 1.2)
    grid = figure.subplots(len(temperatures), 1 + with_naive, squeeze=False, sharex=True)
    for row, temperature in zip(grid, temperatures, strict=True):
        at = data[data["temperature_K"] == temperature]
        _series_panel(row[0], at[at["estimator"] != _NAIVE])
        row[0].set_title(f"{temperature:g} K")
        row[0].set_ylabel(r"$v_\mathrm{F}(T)\,/\,v_\mathrm{F}(\mathrm{static})$")
        if with_naive:
            _series_panel(row[1], at[at["estimator"] == _NAIVE])
            row[1].set_title(f"{temperature:g} K, naive: artefact", color=VERMILION)
    for axes in grid[-1]:
        axes.set_xlabel("n of the n×n sampling cell")
        axes.set_xticks(sorted(data["supercell_n"].unique()))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=7.5)
    label_panels(list(grid.ravel()))
    return figure


def _series_panel(axes: Axes, data: pd.DataFrame) -> None:
    """Ratio against n; windows of an estimator by the style of their line."""
    names = list(dict.fromkeys(data["estimator"]))
    for number, name in enumerate(names):
        colour, mark = look(ESTIMATORS, name)
        for (window, part), line in zip(by_window(data[data["estimator"] == name]), _LINES, strict=False):
            part = part.sort_values("supercell_n")
            x = part["supercell_n"] + 0.06 * (number - (len(names) - 1) / 2)
            label = f"{name}{window_label(window)}"
            axes.errorbar(
                x, part["ratio"], part["ratio_se"].fillna(0), fmt=mark, ls=line, color=colour, label=label
            )
    axes.axhline(1, color=GREY, lw=0.9, zorder=0)


def prepare_error_budget(inputs: Mapping[str, Path]) -> pd.DataFrame:
    """Errors of every source, estimator and temperature; the naive slope, which is no result, left out."""
    table = read_table(inputs["budget"], ["source", "estimator", *_BUDGET, "basis"], numeric=_BUDGET)
    table = table[table["estimator"] != _NAIVE]
    return table[["source", "estimator", *_BUDGET, "basis"]].astype({"n_pairs": int}).reset_index(drop=True)


def draw_error_budget(data: pd.DataFrame, settings: FiguresSection) -> Figure:
    """Size of each error at the lowest and the highest temperature, per cent of the static velocity."""
    temperatures = sorted({data["temperature_K"].min(), data["temperature_K"].max()})
    sources, names = (list(dict.fromkeys(data[key])) for key in ("source", "estimator"))
    figure = new_figure(settings.width, 0.5 * settings.width)
    panels = list(figure.subplots(1, len(temperatures), squeeze=False, sharey=True)[0])
    for axes, temperature in zip(panels, temperatures, strict=True):
        at = data[data["temperature_K"] == temperature]
        for number, name in enumerate(names):
            part = at[at["estimator"] == name].set_index("source").reindex(sources)
            step = min(0.22, 0.8 / len(names))
            places = np.arange(len(sources)) + step * (number - (len(names) - 1) / 2)
            colour, mark = look(ESTIMATORS, name)
            size, bars = 100 * part["error"].abs(), 100 * part["uncertainty"].fillna(0)
            axes.errorbar(size, places, xerr=bars, fmt=mark, color=colour, label=name)
        axes.set_yticks(range(len(sources)), sources)
        axes.set_ylim(len(sources) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.set_xlabel("error of the ratio (%)")
        axes.set_title(f"{temperature:g} K")
    legend_below(figure, panels[0], len(names))
    label_panels(panels)
    return figure

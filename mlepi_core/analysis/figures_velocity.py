"""Figures `velocity` and `convergence`: Fermi velocity against temperature, and how its mean settles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from mlepi_core.analysis.data import read_table
from mlepi_core.analysis.style import (
    ESTIMATORS,
    GREY,
    VERMILION,
    label_panels,
    legend_below,
    look,
    new_figure,
    shades,
)
from mlepi_core.config.figures import FiguresSection

_WINDOW = ["window_lo_per_A", "window_hi_per_A"]
_VELOCITY = [
    "estimator",
    "supercell_n",
    "temperature_K",
    *_WINDOW,
    "v_m_per_s",
    "v_se_m_per_s",
    "v_static_m_per_s",
    "ratio",
    "ratio_se",
    "n_pairs",
]
_CONVERGENCE = ["estimator", "temperature_K", *_WINDOW, "n_pairs", "ratio", "ratio_se"]
_NAIVE = "naive"
#: Standard error of a ratio that is marked, per cent.
_MARK_PERCENT = 1.0


def prepare_velocity(inputs: Mapping[str, Path]) -> pd.DataFrame:
    """Rows of velocity.csv; `first_window` marks the window that stands for its estimator."""
    numbers = [name for name in _VELOCITY if name != "estimator"]
    table = read_table(inputs["velocity"], _VELOCITY, numeric=numbers)[_VELOCITY]
    table["first_window"] = _is_first_window(table)
    return table.astype({"n_pairs": int, "supercell_n": int})


def draw_velocity(data: pd.DataFrame, settings: FiguresSection) -> Figure:
    """Left: ratio to the static lattice of the estimators without artefact; right: the naive slope, apart."""
    sound, naive = data[data["estimator"] != _NAIVE], data[data["estimator"] == _NAIVE]
    panels = [(sound, _sound_panel)] if len(sound) else []
    if len(naive) and (settings.velocity.show_naive or not panels):
        panels.append((naive, _naive_panel))
    figure = new_figure(settings.width, 0.56 * settings.width)
    axes = figure.subplots(1, len(panels), squeeze=False, width_ratios=[1.25, 1][: len(panels)])[0]
    for place, (part, draw) in zip(axes, panels, strict=True):
        draw(place, part)
        place.set_xlabel("temperature (K)")
        _legend(place)
    axes[0].set_ylabel(r"$v_\mathrm{F}(T)\,/\,v_\mathrm{F}(\mathrm{static\ lattice})$")
    label_panels(list(axes))
    return figure


def _sound_panel(axes: Axes, data: pd.DataFrame) -> None:
    names = list(dict.fromkeys(data["estimator"]))
    step = _smallest_step(data["temperature_K"])
    for number, name in enumerate(names):
        colour, mark = look(ESTIMATORS, name)
        # side by side, so that error bars of equal values do not hide each other
        shift = 0.07 * step * (number - (len(names) - 1) / 2)
        for window, part in by_window(data[data["estimator"] == name]):
            x = part["temperature_K"] + shift
            if bool(part["first_window"].iloc[0]):
                label = f"{name}{window_label(window)}; {_static(part)}"
                axes.errorbar(
                    x, part["ratio"], part["ratio_se"].fillna(0), fmt=f"{mark}-", color=colour, label=label
                )
            else:
                axes.plot(x, part["ratio"], ":", color=colour, lw=1)
    if (~data["first_window"].astype(bool)).any():
        axes.plot([], [], ":", color=GREY, lw=1, label="other windows, same colours")
    axes.axhline(1, color=GREY, lw=0.9, zorder=0)
    n = ", ".join(f"{size}×{size}" for size in sorted(set(data["supercell_n"])))
    axes.set_title(f"{n} sampling cell,\n{int(data['n_pairs'].max())} pairs per temperature")
    _temperature_axis(axes, data["temperature_K"])


def _naive_panel(axes: Axes, data: pd.DataFrame) -> None:
    colour, _ = look(ESTIMATORS, _NAIVE)
    windows = list(by_window(data))
    styles = zip(windows, ("^", "v", "<", ">", "d", "p"), ("-", "--", "-.", ":", "-", "--"), strict=False)
    for (window, part), mark, line in styles:
        label = f"{window_label(window).lstrip(', ')}; {_static(part)}"
        axes.errorbar(
            part["temperature_K"],
            part["ratio"],
            part["ratio_se"].fillna(0),
            fmt=mark,
            ls=line,
            color=colour,
            label=label,
        )
    axes.axhline(1, color=GREY, lw=0.9, zorder=0)
    axes.set_title("naive straight-line slope:\nfinite-size artefact", color=VERMILION)
    top = max(1.0, float(data["ratio"].max()))
    bottom = min(float(data["ratio"].min()), 0.9)
    axes.set_ylim(bottom - 0.1 * (top - bottom), top + 0.12 * (top - bottom))
    _temperature_axis(axes, data["temperature_K"])


def _legend(axes: Axes) -> None:
    """Under the panel, where it covers nothing; lines without marks last."""
    found = sorted(
        zip(*axes.get_legend_handles_labels(), strict=True), key=lambda item: item[1].startswith("other")
    )
    handles, labels = zip(*found, strict=True)
    axes.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, -0.17), fontsize=7.5)


def prepare_convergence(inputs: Mapping[str, Path]) -> pd.DataFrame:
    """Running means over pairs, of the first window of every estimator."""
    numbers = [name for name in _CONVERGENCE if name != "estimator"]
    table = read_table(inputs["convergence"], _CONVERGENCE, numeric=numbers)[_CONVERGENCE]
    table = table[_is_first_window(table)]
    return table.astype({"n_pairs": int}).reset_index(drop=True)


def draw_convergence(data: pd.DataFrame, settings: FiguresSection) -> Figure:
    """Upper row: running mean ± standard error; lower row: the standard error against the number of pairs."""
    names = sorted(dict.fromkeys(data["estimator"]), key=lambda name: name == _NAIVE)
    temperatures = sorted(set(data["temperature_K"]))
    colours = dict(zip(temperatures, shades(len(temperatures)), strict=True))
    figure = new_figure(settings.width, 0.66 * settings.width)
    axes = figure.subplots(2, len(names), sharex=True, squeeze=False, height_ratios=(1.2, 1))
    _share_scales(axes, names)
    for column, name in enumerate(names):
        for temperature, colour in colours.items():
            part = data[(data["estimator"] == name) & (data["temperature_K"] == temperature)]
            _running(axes[0, column], axes[1, column], part, colour, f"{temperature:g} K")
        axes[1, column].axhline(_MARK_PERCENT, color=GREY, ls="--", lw=0.9)
        axes[1, column].set_xlim(0, 1.03 * data["n_pairs"].max())
        title = f"{name}: finite-\nsize artefact" if name == _NAIVE else name
        axes[0, column].set_title(title, color=VERMILION if name == _NAIVE else "black")
        axes[1, column].set_xlabel("pairs")
        axes[1, column].xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes[0, 0].set_ylabel(r"$v_\mathrm{F}(T)\,/\,v_\mathrm{F}(\mathrm{static})$")
    axes[1, 0].set_ylabel("standard error (%)")
    _frame_means(axes[0], data, names)
    axes[0, 0].plot([], [], color=GREY, ls="--", lw=0.9, label=f"{_MARK_PERCENT:g} % error")
    legend_below(figure, axes[0, 0], min(6, len(temperatures) + 1))
    label_panels(list(axes[0]))
    return figure


def _running(mean: Axes, error: Axes, data: pd.DataFrame, colour: tuple[float, ...], label: str) -> None:
    pairs, ratio, spread = data["n_pairs"], data["ratio"], data["ratio_se"]
    mean.plot(pairs, ratio, color=colour, label=label)
    mean.fill_between(pairs, ratio - spread, ratio + spread, color=colour, alpha=0.18, lw=0)
    # one or two pairs give no usable error of the error
    known = spread.notna() & (spread > 0) & (pairs >= 3)
    error.plot(pairs[known], 100 * spread[known], color=colour)
    error.set_yscale("log")
    error.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    error.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    error.yaxis.set_minor_locator(NullLocator())


def _frame_means(axes: np.ndarray, data: pd.DataFrame, names: list[str]) -> None:
    """Scales from the later part of the curves: the error of the first few pairs is itself unknown."""
    settled = data[data["n_pairs"] >= min(4, data["n_pairs"].max())]
    for place, name in zip(axes, names, strict=True):
        part = settled[(settled["estimator"] == _NAIVE) == (name == _NAIVE)]
        spread = part["ratio_se"].fillna(0)
        low, high = (part["ratio"] - spread).min(), (part["ratio"] + spread).max()
        pad = 0.08 * max(high - low, 1e-3)
        place.set_ylim(low - pad, high + pad)


def _share_scales(axes: np.ndarray, names: list[str]) -> None:
    """Equal scales in a row, but for the mean of the naive slope, which lies far from the others."""
    for column, name in enumerate(names):
        for row in (0, 1):
            if column and not (row == 0 and name == _NAIVE):
                axes[row, column].sharey(axes[row, 0])
                axes[row, column].tick_params(labelleft=False)


def _is_first_window(table: pd.DataFrame) -> pd.Series:
    """Whether a row has the window that its estimator has first in the table; windowless ones always."""
    first = table.groupby("estimator", sort=False)[_WINDOW].transform("first")
    # NaN (no window) equals nothing: compare what is there
    return (table[_WINDOW].fillna(-1) == first.fillna(-1)).all(axis=1)


def by_window(data: pd.DataFrame) -> list[tuple[tuple[float, float], pd.DataFrame]]:
    groups = data.groupby([data[name].fillna(-1) for name in _WINDOW], sort=False)
    return [(window, part.sort_values("temperature_K")) for window, part in groups]


def _static(part: pd.DataFrame) -> str:
    """Words for the static value; an estimator that found no Dirac cone has none."""
    values = part["v_static_m_per_s"].dropna()
    return f"static {values.iloc[0] / 1e6:.3f}×10⁶ m/s" if len(values) else "no value"


def window_label(window: tuple[float, float]) -> str:
    low, high = window
    return "" if high < 0 else f", {low:.3g}–{_as_fine(high, low)} 1/Å"


def _as_fine(value: float, other: float) -> str:
    """`value` with as many decimals as `other` needs: 0.10 beside 0.03."""
    decimals = max(len(f"{number:.3g}".partition(".")[2]) for number in (value, other))
    return f"{value:.{decimals}f}"


def _smallest_step(temperatures: pd.Series) -> float:
    distinct = np.unique(temperatures)
    return float(np.diff(distinct).min()) if len(distinct) > 1 else 100.0


def _temperature_axis(axes: Axes, temperatures: pd.Series) -> None:
    distinct = np.unique(temperatures)
    pad = 0.08 * max(np.ptp(distinct), 50.0)
    axes.set_xlim(distinct[0] - pad, distinct[-1] + pad)
    if len(distinct) <= 6:
        axes.set_xticks(distinct)

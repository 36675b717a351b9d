"""Figures of a study: `ablation`, `learning_curve_cells` and `learning_curve_time`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, StrMethodFormatter

from mlepi_core.analysis.data import read_table
from mlepi_core.analysis.numbers import significant, with_error
from mlepi_core.analysis.study_statistics import (
    COLUMNS,
    DECIDING,
    NETWORKS,
    NUMBERS,
    SPLITS,
    check_study,
    comparisons,
    differs_in_cells,
    fit_power_law,
)
from mlepi_core.analysis.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    label_panels,
    look,
    new_figure,
)
from mlepi_core.analysis.style import SPLITS as SPLIT_LOOKS
from mlepi_core.config.figures import FiguresSection

_AXIS = {"phonon": "forces, MAE (meV/Å)", "electron": "H, MAE (meV)"}
_COMPARISONS = [BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK]
_CURVES = list(product(("-", "--", ":"), (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, BLACK)))
_LABEL_WIDTH = 26
_HISTORY = ["network", "variant", "label", "seed", "step", "wall_s", "quantity", "value", "unit"]


def prepare_ablation(inputs: Mapping[str, Path]) -> pd.DataFrame:
    """One row per network, comparison, variant, split and seed; input `study`. ``mean``: of the seeds."""
    table = _deciding_errors(inputs["study"])
    group = ["network", "comparison", "variant", "split"]
    table["mean"] = table.groupby(group, sort=False)["value"].transform("mean")
    first = table.groupby(["network", "comparison"], sort=False)["variant"].transform("first")
    table["is_first"] = table["variant"] == first
    return table[[*group, "label", "seed", "quantity", "unit", "value", "mean", "is_first"]]


def draw_ablation(data: pd.DataFrame, settings: FiguresSection) -> Figure:
    """A row of panels per network, a column per kind of structures; below each other the variants.

    Open marks: seeds; bars: their mean; dotted: mean of the variant that the others are compared with.
    """
    networks = [name for name in NETWORKS if (data["network"] == name).any()]
    splits = [name for name in SPLITS if (data["split"] == name).any()]
    places = {name: _places(data[data["network"] == name]) for name in networks}
    names = dict.fromkeys(data["comparison"].astype(str))
    colours = {name: _COMPARISONS[k % len(_COMPARISONS)] for k, name in enumerate(names)}
    heights = [max(place.values()) + 2.5 for place in places.values()]
    figure = new_figure(settings.width, 1.2 + 0.82 * sum(heights))
    grid = figure.subplots(len(networks), len(splits), squeeze=False, height_ratios=heights)
    for row, network in enumerate(networks):
        for column, split in enumerate(splits):
            part = data[(data["network"] == network) & (data["split"] == split)]
            _ablation_panel(grid[row, column], part, places[network], colours)
            grid[row, column].set_title(split)
        _name_variants(grid[row], data[data["network"] == network], places[network])
        grid[row, len(splits) // 2].set_xlabel(_AXIS[network])
    _comparison_legend(figure, colours)
    label_panels(list(grid.ravel()))
    return figure


def prepare_learning_curve_cells(inputs: Mapping[str, Path]) -> pd.DataFrame:
    """One row per curve, variant and seed, with the power law of the curve; input `study`.

    Only comparisons whose variants differ in the number of training cells. ``halving_cells``: cells that the
    fit says halve the error of the largest number; empty where the error is not seen to fall.
    """
    curves = []
    for _, _, part in comparisons(_deciding_errors(inputs["study"])):
        if differs_in_cells(part):
            curves += [_fitted(curve) for _, curve in part.groupby("split", sort=False)]
    names = ["network", "comparison", "split", "variant", "seed", "train_cells", "quantity", "unit", "value"]
    names += ["prefactor", "exponent", "exponent_se", "halving_cells"]
    return pd.concat(curves)[names] if curves else pd.DataFrame(columns=names)


def draw_learning_curve_cells(data: pd.DataFrame, settings: FiguresSection) -> Figure:
    """A panel per network and comparison: seeds as marks, fitted power laws as lines."""
    panels = list(data.groupby(["network", "comparison"], sort=False))
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    width = settings.width if columns > 1 else 0.65 * settings.width
    figure = new_figure(width, 0.62 * settings.width * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    several = data.groupby("network")["comparison"].nunique().max() > 1
    for axes, ((network, comparison), part) in zip(grid, panels, strict=False):
        for split, curve in part.groupby("split", sort=False):
            _curve(axes, str(split), curve)
        _cells_axis(axes, part)
        title = NETWORKS[network].lower()
        axes.set_title(f"{title}, {comparison}" if several else title)
        axes.set_ylabel(_AXIS[network])
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    label_panels(list(grid[: len(panels)]))
    return figure


def prepare_learning_curve_time(inputs: Mapping[str, Path]) -> pd.DataFrame:
    """Validation errors of every training once, against step and time; input `history`."""
    table = read_table(inputs["history"], _HISTORY, numeric=["seed", "step", "wall_s", "value"])
    deciding = table["network"].map({name: quantity for name, (quantity, _) in DECIDING.items()})
    table = table[table["quantity"] == deciding].astype({"seed": int, "step": int})
    return table.drop_duplicates(["network", "variant", "seed", "step"])[_HISTORY]


def draw_learning_curve_time(data: pd.DataFrame, settings: FiguresSection) -> Figure:
    """A panel per network: validation error against time, a line per training, a colour per variant."""
    networks = [name for name in NETWORKS if (data["network"] == name).any()]
    figure = new_figure(settings.width, 0.45 * settings.width * len(networks))
    grid = figure.subplots(len(networks), 1, squeeze=False)[:, 0]
    for axes, network in zip(grid, networks, strict=True):
        variants = data[data["network"] == network].groupby("variant", sort=False)
        for number, (_, variant) in enumerate(variants):
            style, colour = _CURVES[number % len(_CURVES)]
            for order, (_, curve) in enumerate(variant.groupby("seed")):
                label = "" if order else _lines(str(curve["label"].iloc[0]))
                axes.plot(curve["wall_s"] / 60, curve["value"], style, color=colour, lw=1.1, label=label)
        axes.set_xscale("log")
        axes.set_yscale("log")
        _plain_ticks(axes.xaxis)
        _plain_ticks(axes.yaxis)
        axes.set_title(NETWORKS[network].lower())
        axes.set_ylabel(f"validation: {_AXIS[network]}")
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), labelspacing=0.7)
    grid[-1].set_xlabel("wall time of the training (min)")
    label_panels(list(grid))
    return figure


def _deciding_errors(path: Path) -> pd.DataFrame:
    """Rows of the errors that variants are compared by, on the splits that are compared."""
    table = read_table(path, COLUMNS, numeric=NUMBERS)
    check_study(table, str(path))
    deciding = table["network"].map({name: quantity for name, (quantity, _) in DECIDING.items()})
    table = table[(table["quantity"] == deciding) & table["split"].isin(SPLITS)]
    return table.astype({"seed": int, "train_cells": int}).reset_index(drop=True)


def _places(data: pd.DataFrame) -> dict[tuple[str, str], float]:
    """(comparison, variant) → height in the panels of a network; comparisons stand a little apart."""
    places: dict[tuple[str, str], float] = {}
    height = 0.0
    for number, (comparison, part) in enumerate(data.groupby("comparison", sort=False)):
        height += 0.6 if number else 0.0
        for variant in dict.fromkeys(part["variant"]):
            places[str(comparison), str(variant)] = height
            height += 1.0
    return places


def _ablation_panel(
    axes: Axes, data: pd.DataFrame, places: Mapping[tuple[str, str], float], colours: Mapping[str, str]
) -> None:
    for (comparison, variant), part in data.groupby(["comparison", "variant"], sort=False):
        place, mean = places[str(comparison), str(variant)], part["mean"].iloc[0]
        colour = colours[str(comparison)]
        axes.plot(part["value"], [place] * len(part), "o", mfc="none", mec=colour, ms=5)
        axes.plot([mean, mean], [place - 0.32, place + 0.32], "-", color=colour, lw=2.2)
        if part["is_first"].iloc[0]:
            ends = [height for (name, _), height in places.items() if name == str(comparison)]
            reach = [min(ends) - 0.4, max(ends) + 0.4]
            axes.plot([mean, mean], reach, ":", color=colour, lw=1.0, zorder=1)
    axes.set_ylim(max(places.values()) + 0.6, -0.6)
    axes.set_yticks(list(places.values()), [])
    axes.grid(False, axis="y")
    axes.margins(x=0.12)


def _name_variants(
    panels: Sequence[Axes], data: pd.DataFrame, places: Mapping[tuple[str, str], float]
) -> None:
    """Labels of the variants left of the first panel of a row."""
    labels = data.drop_duplicates("variant").set_index("variant")["label"].astype(str)
    labels.index = labels.index.astype(str)
    words = [_lines(labels[variant]) for _, variant in places]
    panels[0].set_yticks(list(places.values()), words, fontsize=7)


def _lines(label: str) -> str:
    """A label in several lines that end at its commas where they can."""
    parts = label.split(", ")
    kept = [part.replace(" ", "\N{NO-BREAK SPACE}") if len(part) < _LABEL_WIDTH else part for part in parts]
    return fill(", ".join(kept), _LABEL_WIDTH)


def _comparison_legend(figure: Figure, colours: Mapping[str, str]) -> None:
    """Colours of the comparisons; marks of seeds and means."""
    handles = [Line2D([], [], color=colour, lw=4, label=name) for name, colour in colours.items()]
    handles += [
        Line2D([], [], ls="", marker="o", mfc="none", mec=GREY, ms=5, label="seeds"),
        Line2D([], [], ls="", marker="|", mec=GREY, mew=2.2, ms=10, label="mean"),
        Line2D([], [], ls=":", color=GREY, lw=1.0, label="mean of the first variant"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(5, len(handles)))


def _fitted(curve: pd.DataFrame) -> pd.DataFrame:
    """Errors of one curve with the power law through them."""
    law = fit_power_law(curve["train_cells"].to_numpy(float), curve["value"].to_numpy())
    return curve.assign(
        prefactor=law.prefactor,
        exponent=law.exponent,
        exponent_se=law.exponent_se,
        halving_cells=law.halving_factor * curve["train_cells"].max(),
    )


def _curve(axes: Axes, split: str, curve: pd.DataFrame) -> None:
    colour, mark = look(SPLIT_LOOKS, split)
    first = curve.iloc[0]
    exponent = with_error(first["exponent"], first["exponent_se"], 2)
    halving = first["halving_cells"]
    need = f"; half at ≈ {significant(halving, 2)} cells" if np.isfinite(halving) else "; no fall seen"
    label = f"{split}: p = {exponent}{need}"
    axes.plot(curve["train_cells"], curve["value"], mark, color=colour, mfc="none", label=label)
    cells = np.geomspace(curve["train_cells"].min(), curve["train_cells"].max(), 20)
    axes.plot(cells, first["prefactor"] * cells ** -first["exponent"], "-", color=colour, lw=1.0)


def _cells_axis(axes: Axes, data: pd.DataFrame) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    numbers = sorted(set(data["train_cells"]))
    axes.set_xticks(numbers, [str(number) for number in numbers])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("large training cells")
    _plain_ticks(axes.yaxis)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.1))


def _plain_ticks(axis: Axis) -> None:
    """1, 2, 5, 10 … on a logarithmic axis, without powers."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())

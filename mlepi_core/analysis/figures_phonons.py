"""Figures `phonon_bands` and `displacements`: phonons against DFT, samples against their distribution."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlepi_core.analysis.data import read_table
from mlepi_core.analysis.style import (
    BLUE,
    DFT,
    GREEN,
    GREY,
    LIGHT,
    MODEL,
    VERMILION,
    label_panels,
    legend_below,
    new_figure,
)
from mlepi_core.config.figures import FiguresSection

_BANDS = ["source", "label", "commensurate", "distance_per_A", "branch", "frequency_cm1"]
_ERRORS = ["table", "group", "source", "rms_cm1", "frequency_cm1", "frequency_se_cm1"]
_GROUPS = ("all", "ZA", "ZO", "TA/LA", "TO/LO")
_LINES = {
    "dft": ("DFT, interpolated", {"color": LIGHT, "lw": 2.6, "zorder": 1}),
    "model": ("phonon network", {"color": MODEL, "lw": 1.1, "zorder": 3}),
}
_POINTS = {"color": DFT, "ls": "", "marker": "o", "ms": 4.2, "mfc": "white", "mew": 1.1, "zorder": 4}
_RIGID = {
    "model": ("phonon network", {"color": MODEL, "marker": "o", "ms": 6}),
    "dft slips, forces": ("DFT slips, forces", {"color": VERMILION, "marker": "D", "mfc": "white"}),
    "dft slips, energies": ("DFT slips, energies", {"color": GREEN, "marker": "s", "mfc": "white"}),
}
#: Frequencies below this (cm⁻¹) are imaginary enough to show the negative half of the axis.
_SHOW_IMAGINARY = -5.0


def prepare_phonon_bands(inputs: Mapping[str, Path]) -> pd.DataFrame:
    """Rows of panel `bands` (along the path) and `rigid_layer`; rms differences of the bands as columns."""
    bands = read_table(
        inputs["bands"], _BANDS, numeric=["commensurate", "distance_per_A", "branch", "frequency_cm1"]
    )
    errors = read_table(inputs["errors"], _ERRORS, numeric=["rms_cm1", "frequency_cm1", "frequency_se_cm1"])
    bands = bands[bands["source"].isin(_LINES)][_BANDS].copy()
    differences = errors[errors["table"] == "commensurate"]
    for group, rms in zip(differences["group"], differences["rms_cm1"], strict=True):
        if group in _GROUPS:
            bands[f"rms_{group}_cm1"] = rms
    rigid = errors[errors["table"] == "rigid_layer"]
    rigid = rigid[["source", "group", "frequency_cm1", "frequency_se_cm1"]].rename(columns={"group": "label"})
    return pd.concat([bands.assign(panel="bands"), rigid.assign(panel="rigid_layer")], ignore_index=True)


def draw_phonon_bands(data: pd.DataFrame, settings: FiguresSection) -> Figure:
    """Bands along Γ–M–K–Γ, imaginary frequencies below zero; beside them the rigid-layer modes at Γ."""
    figure = new_figure(settings.width, 0.66 * settings.width)
    rigid = data[data["panel"] == "rigid_layer"]
    if rigid.empty:
        panels = [figure.subplots()]
    else:
        panels = list(figure.subplots(1, 2, width_ratios=(3.1, 1)))
        _rigid_layer_modes(panels[1], rigid)
    _bands(panels[0], data[data["panel"] == "bands"], settings.phonons.max_frequency)
    for axes in panels:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=3 if axes is panels[0] else 1)
    label_panels(panels)
    return figure


def _bands(axes: Axes, data: pd.DataFrame, top: float) -> None:
    for source, (label, style) in _LINES.items():
        part = data[data["source"] == source]
        for _, branch in part.groupby("branch"):
            line = branch.sort_values("distance_per_A", kind="stable")
            axes.plot(line["distance_per_A"], line["frequency_cm1"], **style)
        if len(part):
            axes.plot([], [], label=label, **style)
    exact = data[(data["source"] == "dft") & (data["commensurate"] == 1)]
    if len(exact):
        axes.plot(
            exact["distance_per_A"], exact["frequency_cm1"], clip_on=False, label="DFT, exact q", **_POINTS
        )
    marks = data[data["label"].fillna("") != ""].drop_duplicates("distance_per_A")
    axes.set_xticks(marks["distance_per_A"], marks["label"])
    axes.grid(True, axis="x", color=GREY, lw=0.7)
    axes.set_xlim(data["distance_per_A"].min(), data["distance_per_A"].max())
    lowest = data["frequency_cm1"].min()
    bottom = min(1.2 * lowest, -0.07 * top) if lowest < _SHOW_IMAGINARY else 0.0
    axes.set_ylim(bottom, top)
    if bottom < 0:
        axes.axhline(0, color=DFT, lw=0.8)
        axes.text(0.99, 0.015, "imaginary", color=VERMILION, ha="right", transform=axes.transAxes, fontsize=8)
    axes.set_ylabel("frequency (cm⁻¹)")
    axes.set_title(_title(data))


def _rigid_layer_modes(axes: Axes, data: pd.DataFrame) -> None:
    names = list(dict.fromkeys(data["label"]))
    sources = list(dict.fromkeys(data["source"]))
    for number, source in enumerate(sources):
        label, style = _RIGID.get(source, (source, {"color": GREY, "marker": "v"}))
        part = data[data["source"] == source]
        x = part["label"].map(names.index) + 0.16 * (number - (len(sources) - 1) / 2)
        spread = part["frequency_se_cm1"].fillna(0)
        axes.errorbar(x, part["frequency_cm1"], spread, ls="", label=label, **style)
    axes.axhline(0, color=DFT, lw=0.8)
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.grid(False, axis="x")
    lowest, highest = data["frequency_cm1"].min(), data["frequency_cm1"].max()
    axes.set_ylim(min(0.0, 1.25 * lowest), 1.15 * max(highest, 1.0))
    axes.set_title("rigid layers, Γ")


def _title(data: pd.DataFrame) -> str:
    values = {group: data.get(f"rms_{group}_cm1", pd.Series([np.nan])).iloc[0] for group in _GROUPS}
    if not np.isfinite(values["all"]):
        return "no DFT reference"
    return f"rms difference from DFT: {values['all']:.3g} cm⁻¹"


_DISPLACEMENTS = ["temperature_K", "direction", "rms_A", "rms_se_A", "exact_rms_A"]
_DIRECTIONS = {"in_plane": ("in the plane", BLUE, "o"), "out_of_plane": ("out of the plane", VERMILION, "s")}


def prepare_displacements(inputs: Mapping[str, Path]) -> pd.DataFrame:
    """Rms displacement per Cartesian component of the samples and of the exact distribution."""
    numbers = [name for name in _DISPLACEMENTS if name != "direction"]
    table = read_table(inputs["displacements"], _DISPLACEMENTS, numeric=numbers)[_DISPLACEMENTS]
    table["ratio"] = table["rms_A"] / table["exact_rms_A"]
    table["ratio_se"] = table["rms_se_A"] / table["exact_rms_A"]
    return table


def draw_displacements(data: pd.DataFrame, settings: FiguresSection) -> Figure:
    """Left: rms displacements; right: their ratio to the exact values."""
    figure = new_figure(settings.width, 0.5 * settings.width)
    left, right = figure.subplots(1, 2)
    for number, name in enumerate(dict.fromkeys(data["direction"])):
        words, colour, mark = _DIRECTIONS.get(name, (name, GREY, "D"))
        part = data[data["direction"] == name].sort_values("temperature_K")
        x = part["temperature_K"]
        left.plot(x, part["exact_rms_A"], "-", color=colour, label=f"{words}, exact")
        spread = {"fmt": mark, "color": colour, "mfc": "white", "mew": 1.2}
        left.errorbar(x, part["rms_A"], part["rms_se_A"].fillna(0), label=f"{words}, samples", **spread)
        shift = (number - 0.5) * 0.02 * max(float(np.ptp(x)), 50.0)
        right.errorbar(x + shift, part["ratio"], part["ratio_se"].fillna(0), **spread)
    right.axhline(1, color=GREY, lw=0.9, zorder=0)
    left.set_ylim(0, 1.1 * data[["rms_A", "exact_rms_A"]].max(axis=None))
    left.set_ylabel("rms displacement (Å)")
    right.set_ylabel("samples / exact")
    for axes, title in ((left, "per Cartesian component"), (right, "ratio to the harmonic distribution")):
        axes.set_xlabel("temperature (K)")
        axes.set_title(title)
    legend_below(figure, left, 2)
    label_panels([left, right])
    return figure

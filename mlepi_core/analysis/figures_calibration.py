"""Figure `calibration`: spread of a committee against the true error of its mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlepi_core.analysis.data import read_table
from mlepi_core.analysis.style import BLUE, GREEN, GREY, VERMILION, label_panels, new_figure
from mlepi_core.config.figures import FiguresSection
from mlepi_core.randomness import stream

_POINTS = ["model", "quantity", "split", "structure", "unit", "spread", "error"]
_BINS = ["model", "quantity", "split", "unit", "bin", "spread_mean", "error_rms", "n", "spearman", "scale"]
_PANELS = {
    "phonon": {"force": ("forces", BLUE, "o")},
    "electron": {
        "hamiltonian_onsite": ("on-site", BLUE, "o"),
        "hamiltonian_intra": ("within a layer", GREEN, "s"),
        "hamiltonian_inter": ("between layers", VERMILION, "^"),
    },
}
_TITLES = {"phonon": "force vectors", "electron": "blocks of H"}
_COLUMNS = ["model", "quantity", "split", "unit", "kind", "spread", "error", "n", "spearman", "scale"]
# Points that are drawn of each quantity; bins are of all.
_SHOWN = 1500


def prepare_calibration(inputs: Mapping[str, Path]) -> pd.DataFrame:
    """Points (a random choice) and bins of the split that judges: test, else reference, else validation."""
    points = read_table(inputs["points"], _POINTS, numeric=["spread", "error"])
    bins = read_table(
        inputs["calibration"], _BINS, numeric=["spread_mean", "error_rms", "n", "spearman", "scale"]
    )
    shown = [quantity for panel in _PANELS.values() for quantity in panel]
    rows = []
    for quantity in shown:
        part = points[points["quantity"] == quantity]
        for split in ("test", "reference", "validation"):
            if (part["split"] == split).any():
                rows += [_chosen(part[part["split"] == split]), *_binned(bins, quantity, split)]
                break
    return pd.concat(rows, ignore_index=True)[_COLUMNS] if rows else pd.DataFrame(columns=_COLUMNS)


def _chosen(points: pd.DataFrame) -> pd.DataFrame:
    places = stream(0, "calibration", 0).permutation(len(points))[:_SHOWN]
    part = points.iloc[np.sort(places)]
    return part.assign(kind="point", n=1, spearman=np.nan, scale=np.nan)


def _binned(bins: pd.DataFrame, quantity: str, split: str) -> list[pd.DataFrame]:
    part = bins[(bins["quantity"] == quantity) & (bins["split"] == split)]
    kinds = np.where(part["bin"] == "all", "all", "bin")
    return [part.assign(kind=kinds).rename(columns={"spread_mean": "spread", "error_rms": "error"})]


def draw_calibration(data: pd.DataFrame, settings: FiguresSection) -> Figure:
    """A panel per network on logarithmic axes of equal scale."""
    shown = [model for model in _PANELS if (data["model"] == model).any()]
    figure = new_figure(settings.width, 0.56 * settings.width if len(shown) > 1 else 0.8 * settings.width)
    axes = figure.subplots(1, len(shown), squeeze=False)[0]
    for place, model in zip(axes, shown, strict=True):
        _panel(place, data[data["model"] == model], model)
    label_panels(list(axes))
    return figure


def _panel(axes: Axes, data: pd.DataFrame, model: str) -> None:
    positive = data[(data["spread"] > 0) & (data["error"] > 0)]
    limits = _limits(positive)
    axes.plot(limits, limits, color=GREY, lw=1.0, zorder=1)
    for quantity, (words, colour, mark) in _PANELS[model].items():
        part = positive[positive["quantity"] == quantity]
        if part.empty:
            continue
        points, bins = part[part["kind"] == "point"], part[part["kind"] == "bin"]
        few = len(points) < 500
        dots = {"color": colour, "ms": 5 if few else 2, "mew": 0, "alpha": 0.3, "rasterized": not few}
        axes.plot(points["spread"], points["error"], ".", **dots)
        summary = data[(data["quantity"] == quantity) & (data["kind"] == "all")].iloc[0]
        label = f"{words}: ρ = {summary['spearman']:.2f}"
        if np.isfinite(summary["scale"]):
            label += f", × {summary['scale']:.2g}"
            axes.plot(limits, [summary["scale"] * x for x in limits], ":", color=colour, lw=1.0, zorder=1)
        style = {"mec": "black", "mew": 0.6, "ms": 5, "ls": "-", "lw": 1.2, "zorder": 4}
        axes.plot(bins["spread"], bins["error"], mark, color=colour, label=label, **style)
    unit = data["unit"].iloc[0]
    axes.set(xscale="log", yscale="log", xlim=limits, ylim=limits, aspect="equal")
    axes.set_xlabel(f"spread of the members ({unit})")
    axes.set_ylabel(f"true error ({unit})")
    axes.set_title(f"{_TITLES[model]}, {data['split'].iloc[0]} split")
    legend = {"frameon": True, "framealpha": 0.9, "edgecolor": "white", "fontsize": 7.5}
    axes.legend(loc="lower right", handletextpad=0.4, borderaxespad=0.3, **legend)


def _limits(data: pd.DataFrame) -> list[float]:
    """Common limits of both axes: the range of nearly all points, and of the bins."""
    values = data[["spread", "error"]].to_numpy().ravel()
    bins = data.loc[data["kind"] == "bin", ["spread", "error"]].to_numpy().ravel()
    low, high = np.quantile(values, [0.01, 0.999])
    return [0.7 * min(low, bins.min(initial=low)), 1.6 * max(high, bins.max(initial=high))]

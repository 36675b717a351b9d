"""Figure `bands`: electron bands from predicted against those from DFT Hamiltonians."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlepi_core.analysis.data import read_table
from mlepi_core.analysis.style import DFT, GREY, LIGHT, MODEL, label_panels, legend_below, new_figure
from mlepi_core.config.figures import FiguresSection

_BANDS = [
    "structure",
    "split",
    "ik",
    "distance_per_A",
    "label",
    "band",
    "energy_dft_eV",
    "energy_predicted_eV",
]
_ERRORS = ["structure", "split", "window_eV", "n_states", "rms_meV", "shift_meV"]
#: Structures drawn; the test split comes first.
_MOST = 3


def prepare_bands(inputs: Mapping[str, Path]) -> pd.DataFrame:
    """Bands of at most three structures with the rms difference in the window of band_errors.csv."""
    numbers = ["ik", "distance_per_A", "band", "energy_dft_eV", "energy_predicted_eV"]
    table = read_table(inputs["bands"], _BANDS, numeric=numbers)[_BANDS]
    errors = read_table(inputs["errors"], _ERRORS, numeric=["window_eV", "n_states", "rms_meV"])
    order = sorted(dict.fromkeys(zip(table["split"], table["structure"], strict=True)), key=_rank)
    chosen = [name for _, name in order[:_MOST]]
    table = table[table["structure"].isin(chosen)]
    table = table.assign(place=table["structure"].map(chosen.index)).sort_values(
        ["place", "band", "ik"], kind="stable"
    )
    errors = errors.drop_duplicates("structure").set_index("structure")
    for column in ("rms_meV", "window_eV"):
        table[column] = table["structure"].map(errors[column])
    return table.drop(columns="place").astype({"ik": int, "band": int}).reset_index(drop=True)


def draw_bands(data: pd.DataFrame, settings: FiguresSection) -> Figure:
    """One panel per structure, energies relative to the DFT Fermi level."""
    names = list(dict.fromkeys(data["structure"]))
    figure = new_figure(settings.width, 0.72 * settings.width)
    axes = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for place, name in zip(axes, names, strict=True):
        _panel(place, data[data["structure"] == name], settings.bands.window)
    axes[0].set_ylabel("energy − DFT Fermi level (eV)")
    axes[0].set_ylim(-settings.bands.window, settings.bands.window)
    limit = data["window_eV"].iloc[0]
    if np.isfinite(limit):
        axes[0].plot([], [], " ", label=f"rms: states within ±{limit:g} eV")
    legend_below(figure, axes[0], 3)
    label_panels(list(axes))
    return figure


def _panel(axes: Axes, data: pd.DataFrame, window: float) -> None:
    x = np.sort(data["distance_per_A"].unique())
    for column, style in (
        ("energy_dft_eV", {"color": LIGHT, "lw": 2.4, "label": "DFT"}),
        ("energy_predicted_eV", {"color": MODEL, "lw": 0.9, "ls": "--", "label": "predicted"}),
    ):
        table = data.pivot_table(index="distance_per_A", columns="band", values=column, sort=True)
        near = table.columns[(table.min() < 1.2 * window) & (table.max() > -1.2 * window)]
        label = style.pop("label")
        axes.plot(table.index, table[near], **style)
        axes.plot([], [], label=label, **style)
    marks = data[data["label"].fillna("") != ""].drop_duplicates("ik").sort_values("distance_per_A")
    axes.set_xticks(marks["distance_per_A"], marks["label"])
    axes.grid(False, axis="y")
    axes.grid(True, axis="x", color=GREY, lw=0.7)
    axes.axhline(0, color=DFT, lw=0.7, ls=":")
    axes.set_xlim(x[0], x[-1])
    title, rms = f"{data['structure'].iloc[0]}\n{data['split'].iloc[0]}", data["rms_meV"].iloc[0]
    axes.set_title(f"{title}, rms {rms:.3g} meV" if np.isfinite(rms) else title)


def _rank(item: tuple[str, str]) -> tuple[int, str]:
    order = ["test", "reference", "validation", "train"]
    split, name = item
    return (order.index(split) if split in order else len(order), name)

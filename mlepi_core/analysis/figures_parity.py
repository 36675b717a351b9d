"""Figures `parity_phonon` and `parity_electron`: predictions against DFT on structures that were held out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mlepi_core.analysis.data import read_table
from mlepi_core.analysis.style import (
    BASELINE,
    GREY,
    MODEL,
    SPLITS,
    label_panels,
    legend_below,
    look,
    new_figure,
)
from mlepi_core.config.figures import FiguresSection

_PHONON = ["quantity", "split", "structure", "label", "predicted", "unit"]
_ELECTRON = ["kind", "split", "structure", "label_eV", "predicted_eV", "baseline_eV"]
_ERRORS = ["model", "split", "quantity", "unit", "value"]
_QUANTITIES = {"energy": ("energy per atom", "energy_mae"), "force": ("force component", "force_mae")}
_KINDS = {
    "onsite": ("on-site", "mae_onsite"),
    "intra": ("within a layer", "mae_intra"),
    "inter": ("between layers", "mae_inter"),
}
#: Errors below this (meV) count into the first bin of the histograms.
_SMALLEST_MEV = 1e-3


def prepare_parity_phonon(inputs: Mapping[str, Path]) -> pd.DataFrame:
    """Labels, predictions and their difference; MAE of the split (errors.csv) as a column."""
    table = read_table(inputs["parity"], _PHONON, numeric=["label", "predicted"])
    errors = read_table(inputs["errors"], _ERRORS, numeric=["value"])
    table = table[table["quantity"].isin(_QUANTITIES)][_PHONON].copy()
    table["error_milli"] = 1e3 * (table["predicted"] - table["label"])
    found = _lookup(errors, "phonon")
    table["mae_milli_of_split"] = [
        found.get((split, _QUANTITIES[quantity][1]), np.nan)
        for split, quantity in zip(table["split"], table["quantity"], strict=True)
    ]
    return table.reset_index(drop=True)


def draw_parity_phonon(data: pd.DataFrame, settings: FiguresSection) -> Figure:
    """Energies and forces: parity above, difference below."""
    shown = [quantity for quantity in _QUANTITIES if (data["quantity"] == quantity).any()]
    figure = new_figure(settings.width, 0.66 * settings.width)
    axes = figure.subplots(2, len(shown), sharex="col", height_ratios=(2.1, 1), squeeze=False)
    for column, quantity in enumerate(shown):
        part = data[data["quantity"] == quantity]
        _phonon_panel(axes[0, column], axes[1, column], part, quantity)
    figure.align_ylabels(axes)
    label_panels(list(axes[0]))
    return figure


def _phonon_panel(parity: Axes, residual: Axes, data: pd.DataFrame, quantity: str) -> None:
    name, unit = _QUANTITIES[quantity][0], data["unit"].iloc[0]
    few = len(data) < 100
    for split in _ordered_splits(data):
        part = data[data["split"] == split]
        colour, mark = look(SPLITS, split)
        style = {"color": colour, "marker": mark, "ls": "", "ms": 6 if few else 2.2, "mew": 0}
        style |= {"alpha": 0.9 if few else 0.5, "rasterized": not few}
        label = _with_mae(split, part["mae_milli_of_split"].iloc[0], f"m{unit}")
        parity.plot(part["label"], part["predicted"], label=label, **style)
        residual.plot(part["label"], part["error_milli"], **style)
    _diagonal(parity, data["label"], data["predicted"])
    residual.axhline(0, color=GREY, lw=0.8, zorder=0)
    _symmetric(residual, data["error_milli"])
    bottom, top = parity.get_ylim()
    parity.set_ylim(bottom, top + 0.2 * (top - bottom))  # room for the legend
    parity.set_title(name)
    parity.set_ylabel(f"predicted ({unit})")
    residual.set_ylabel(f"difference\n(m{unit})")
    residual.set_xlabel(f"DFT ({unit})")
    residual.xaxis.set_major_locator(MaxNLocator(5))
    _plain_legend(parity, markerscale=1.0 if few else 3.0)


def prepare_parity_electron(inputs: Mapping[str, Path]) -> pd.DataFrame:
    """Matrix elements of H, predictions, baseline and errors; test split only if there is one."""
    table = read_table(inputs["parity"], _ELECTRON, numeric=["label_eV", "predicted_eV", "baseline_eV"])
    errors = read_table(inputs["errors"], _ERRORS, numeric=["value"])
    table = table[table["kind"].isin(_KINDS)][_ELECTRON].copy()
    if (table["split"] == "test").any():
        table = table[table["split"] == "test"]
    table["error_meV"] = 1e3 * (table["predicted_eV"] - table["label_eV"])
    table["baseline_error_meV"] = 1e3 * (table["baseline_eV"] - table["label_eV"])
    for column, model in (("mae_meV_of_split", "electron"), ("baseline_mae_meV_of_split", "two_centre")):
        found = _lookup(errors, model)
        table[column] = [
            found.get((split, f"hamiltonian_{_KINDS[kind][1]}"), np.nan)
            for split, kind in zip(table["split"], table["kind"], strict=True)
        ]
    return table.reset_index(drop=True)


def draw_parity_electron(data: pd.DataFrame, settings: FiguresSection) -> Figure:
    """Kinds of blocks side by side: parity above, distribution of the absolute errors below."""
    shown = [kind for kind in _KINDS if (data["kind"] == kind).any()]
    figure = new_figure(settings.width, 0.68 * settings.width)
    axes = figure.subplots(2, len(shown), height_ratios=(1.35, 1), squeeze=False)
    for column, kind in enumerate(shown):
        part = data[data["kind"] == kind]
        _electron_parity(axes[0, column], part, _KINDS[kind][0])
        _electron_errors(axes[1, column], part)
    axes[0, 0].set_ylabel("predicted H (eV)")
    axes[1, 0].set_ylabel("share of\nelements (%)")
    figure.align_ylabels(axes[:, 0])
    legend_below(figure, axes[0, 0], 3)
    label_panels(list(axes[0]))
    return figure


def _electron_parity(axes: Axes, data: pd.DataFrame, title: str) -> None:
    style = {"ls": "", "mew": 0, "alpha": 0.5, "rasterized": True}
    if data["baseline_eV"].notna().any():
        axes.plot(data["label_eV"], data["baseline_eV"], "s", color=BASELINE, ms=2.4, **style)
        axes.plot([], [], "s", color=BASELINE, ms=6, mew=0, label="two-centre baseline")
    axes.plot(data["label_eV"], data["predicted_eV"], "o", color=MODEL, ms=2.0, **style)
    axes.plot([], [], "o", color=MODEL, ms=6, mew=0, label="electron network")
    _diagonal(axes, data["label_eV"], data["predicted_eV"])
    axes.set_title(title)
    axes.set_xlabel("DFT H (eV)")
    axes.xaxis.set_major_locator(MaxNLocator(5))


def _electron_errors(axes: Axes, data: pd.DataFrame) -> None:
    columns = (
        ("baseline_error_meV", "baseline_mae_meV_of_split", BASELINE),
        ("error_meV", "mae_meV_of_split", MODEL),
    )
    largest = np.nanmax(np.abs(data[["error_meV", "baseline_error_meV"]].to_numpy()))
    edges = np.logspace(np.log10(_SMALLEST_MEV), np.log10(max(largest, 1.0)) + 0.05, 46)
    lines, top = [], 0.0
    for error, mae, colour in columns:
        values = data[error].abs().clip(lower=_SMALLEST_MEV).dropna()
        if values.empty:
            continue
        share = np.full(len(values), 100 / len(values))
        heights, *_ = axes.hist(values, edges, weights=share, color=colour, histtype="stepfilled", alpha=0.35)
        axes.hist(values, edges, weights=share, color=colour, histtype="step", lw=1.2)
        top = max(top, heights.max())
        if np.isfinite(data[mae].iloc[0]):
            axes.axvline(data[mae].iloc[0], color=colour, ls="--", lw=1.2)
            lines.append((f"MAE {data[mae].iloc[0]:.3g} meV", colour))
    axes.set_xscale("log")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, 1.4 * top)
    axes.set_xlabel("absolute error (meV)")
    for row, (text, colour) in enumerate(lines):
        axes.text(
            0.03, 0.95 - 0.12 * row, text, color=_dark(colour), transform=axes.transAxes, va="top", fontsize=8
        )


def _dark(colour: str) -> str:
    """A shade of `colour` that can be read as text on white."""
    return {BASELINE: "#9A6A00"}.get(colour, colour)


def _lookup(errors: pd.DataFrame, model: str) -> dict[tuple[str, str], float]:
    rows = errors[errors["model"] == model]
    return {
        (split, quantity): value
        for split, quantity, value in zip(rows["split"], rows["quantity"], rows["value"], strict=True)
    }


def _ordered_splits(data: pd.DataFrame) -> list[str]:
    """Splits in the order in which they are drawn: the test split last, on top."""
    present = list(dict.fromkeys(data["split"]))
    return sorted(present, key=lambda split: (split == "test", present.index(split)))


def _with_mae(split: str, mae: float, unit: str) -> str:
    return f"{split}: MAE {mae:.3g} {unit}" if np.isfinite(mae) else split


def _diagonal(axes: Axes, label: pd.Series, predicted: pd.Series) -> None:
    low = min(label.min(), predicted.min())
    high = max(label.max(), predicted.max())
    pad = 0.05 * (high - low or 1.0)
    axes.plot([low - pad, high + pad], [low - pad, high + pad], color=GREY, lw=0.8, zorder=0)
    axes.set_xlim(low - pad, high + pad)
    axes.set_ylim(low - pad, high + pad)


def _symmetric(axes: Axes, values: pd.Series) -> None:
    largest = 1.15 * float(values.abs().max()) or 1.0
    axes.set_ylim(-largest, largest)


def _plain_legend(axes: Axes, markerscale: float) -> None:
    axes.legend(loc="upper left", handletextpad=0.3, borderaxespad=0.3, markerscale=markerscale)

"""Figure `learning_curves`: validation errors and training loss of both networks over the steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlepi_core.analysis.data import read_table
from mlepi_core.analysis.style import BLUE, GREY, ORANGE, label_panels, new_figure
from mlepi_core.config.figures import FiguresSection

# Metrics in the histories: unit, words, and whether the best model is chosen by it.
_METRICS = {
    "phonon": {
        "force_mae_meV_per_A": ("meV/Å", "forces, MAE (meV/Å)", True),
        "energy_mae_meV_per_atom": ("meV/atom", "energy, MAE (meV/atom)", False),
    },
    "electron": {
        "mae_meV": ("meV", "H, MAE (meV)", True),
        "rmse_meV": ("meV", "H, rms (meV)", False),
    },
}
_TITLES = {"phonon": "phonon network", "electron": "electron network"}
_COLUMNS = ["network", "metric", "unit", "step", "value", "is_best"]


def prepare_learning_curves(inputs: Mapping[str, Path]) -> pd.DataFrame:
    """One row per network, metric and validation; inputs `phonon` and `electron` are training histories."""
    rows = []
    for network, metrics in _METRICS.items():
        names = ["step", "train_loss", *metrics]
        history = read_table(inputs[network], names, numeric=names)
        for metric, (unit, _, decides) in metrics.items():
            best = history[metric].idxmin()
            rows += [
                (network, metric, unit, step, value, decides and index == best)
                for index, step, value in zip(history.index, history["step"], history[metric], strict=True)
            ]
        rows += [
            (network, "train_loss", "1", step, value, False)
            for step, value in zip(history["step"], history["train_loss"], strict=True)
        ]
    table = pd.DataFrame(rows, columns=_COLUMNS)
    return table.astype({"step": int})


def draw_learning_curves(data: pd.DataFrame, settings: FiguresSection) -> Figure:
    """Upper row: validation errors with the kept model marked; lower row: mean training loss."""
    figure = new_figure(settings.width, 0.62 * settings.width)
    axes = figure.subplots(2, 2, sharex="col", height_ratios=(1.5, 1))
    for column, network in enumerate(_METRICS):
        _errors(axes[0, column], data[data["network"] == network], network)
        _loss(axes[1, column], data[(data["network"] == network) & (data["metric"] == "train_loss")])
    axes[0, 0].set_ylabel("validation error")
    axes[1, 0].set_ylabel("training loss")
    label_panels([axes[0, 0], axes[0, 1]])
    return figure


def _errors(axes: Axes, data: pd.DataFrame, network: str) -> None:
    for (metric, (unit, words, decides)), colour in zip(
        _METRICS[network].items(), (BLUE, ORANGE), strict=True
    ):
        curve = data[data["metric"] == metric]
        axes.plot(curve["step"], curve["value"], "-" if decides else "--", color=colour, label=words)
        best = curve[curve["is_best"].astype(str) == "True"]
        if len(best):
            step, value = best.iloc[0][["step", "value"]]
            label = f"kept: {value:.3g} {unit}, step {step}"
            axes.plot(step, value, "o", color=colour, mfc="white", mew=1.6, ms=7, zorder=5, label=label)
    axes.set_yscale("log")
    axes.set_title(_TITLES[network])
    _pad_log(axes, data.loc[data["metric"].isin(_METRICS[network]), "value"].to_numpy())
    axes.legend(loc="upper right")


def _loss(axes: Axes, data: pd.DataFrame) -> None:
    axes.plot(data["step"], data["value"], "-", color=GREY)
    axes.set_yscale("log")
    axes.set_xlabel("optimiser step")
    axes.set_xlim(left=0)


def _pad_log(axes: Axes, values: np.ndarray) -> None:
    """Room for the legend above the curves of a logarithmic axis."""
    positive = values[np.isfinite(values) & (values > 0)]
    if len(positive):
        span = max(np.log10(positive.max() / positive.min()), 0.5)
        axes.set_ylim(positive.min() / 10 ** (0.12 * span), positive.max() * 10 ** (0.42 * span))

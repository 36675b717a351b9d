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
_COLUMNS = ["network", "member", "metric", "unit", "step", "value", "is_best"]


def prepare_learning_curves(inputs: Mapping[str, Path]) -> pd.DataFrame:
    """One row per network, member, metric and validation; inputs `phonon`, `electron` or both: histories."""
    rows = []
    for network in inputs:
        metrics = _METRICS[network]
        names = ["member", "step", "train_loss", *metrics]
        table = read_table(inputs[network], names, numeric=names)
        for member, history in table.groupby("member"):
            for metric, (unit, _, decides) in metrics.items():
                best = history[metric].idxmin()
                rows += [
                    (network, member, metric, unit, step, value, decides and index == best)
                    for index, step, value in zip(
                        history.index, history["step"], history[metric], strict=True
                    )
                ]
            rows += [
                (network, member, "train_loss", "1", step, value, False)
                for step, value in zip(history["step"], history["train_loss"], strict=True)
            ]
    return pd.DataFrame(rows, columns=_COLUMNS).astype({"step": int, "member": int})


def draw_learning_curves(data: pd.DataFrame, settings: FiguresSection) -> Figure:
    """Upper row: validation errors with the kept model marked; lower row: mean training loss."""
    figure = new_figure(settings.width, 0.62 * settings.width)
    shown = [network for network in _METRICS if (data["network"] == network).any()]
    axes = figure.subplots(2, len(shown), sharex="col", height_ratios=(1.5, 1), squeeze=False)
    for column, network in enumerate(shown):
        _errors(axes[0, column], data[data["network"] == network], network)
        _loss(axes[1, column], data[(data["network"] == network) & (data["metric"] == "train_loss")])
    axes[0, 0].set_ylabel("validation error")
    axes[1, 0].set_ylabel("training loss")
    label_panels(list(axes[0]))
    return figure


def _errors(axes: Axes, data: pd.DataFrame, network: str) -> None:
    for (metric, (unit, words, decides)), colour in zip(
        _METRICS[network].items(), (BLUE, ORANGE), strict=True
    ):
        members = list(data[data["metric"] == metric].groupby("member"))
        for number, (_, curve) in enumerate(members):
            axes.plot(
                curve["step"],
                curve["value"],
                "-" if decides else "--",
                color=colour,
                alpha=1 if len(members) == 1 else 0.6,
                label="" if number else words,
            )
            best = curve[curve["is_best"].astype(str) == "True"]
            if len(best):
                step, value = best.iloc[0][["step", "value"]]
                label = f"kept: {value:.3g} {unit}, step {step}" if len(members) == 1 else "kept"
                style = {"color": colour, "mfc": "white", "mew": 1.6, "ms": 7, "zorder": 5}
                axes.plot(step, value, "o", label="" if number else label, **style)
    axes.set_yscale("log")
    axes.set_title(_TITLES[network])
    _pad_log(axes, data.loc[data["metric"].isin(_METRICS[network]), "value"].to_numpy())
    axes.legend(loc="upper right")


def _loss(axes: Axes, data: pd.DataFrame) -> None:
    for _, curve in data.groupby("member"):
        axes.plot(curve["step"], curve["value"], "-", color=GREY)
    axes.set_yscale("log")
    axes.set_xlabel("optimiser step")
    axes.set_xlim(left=0)


def _pad_log(axes: Axes, values: np.ndarray) -> None:
    """Room for the legend above the curves of a logarithmic axis."""
    positive = values[np.isfinite(values) & (values > 0)]
    if len(positive):
        span = max(np.log10(positive.max() / positive.min()), 0.5)
        axes.set_ylim(positive.min() / 10 ** (0.12 * span), positive.max() * 10 ** (0.42 * span))

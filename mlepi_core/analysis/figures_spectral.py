"""Figure `spectral`: the spectral function A(k, E) of displaced cells, with the bare bands over it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlepi_core.analysis.data import read_table
from mlepi_core.analysis.style import GREY, VERMILION, legend_below, new_figure
from mlepi_core.config.figures import FiguresSection

_PLACE = ["ik", "distance_per_A", "label", "energy_eV"]
_SPECTRAL, _BARE = "spectral_per_eV", "band"
# Peaks of flat bands would leave all others pale: the colour scale ends at this quantile.
_BRIGHTEST = 0.995


def prepare_spectral(inputs: Mapping[str, Path]) -> pd.DataFrame:
    """Rows of A(k, E), and those of the bare bands, which have a band and no A."""
    numbers = ["ik", "distance_per_A", "energy_eV"]
    tables = [read_table(inputs["spectral"], [*_PLACE, _SPECTRAL], numeric=[*numbers, _SPECTRAL])]
    if "bare" in inputs:
        tables.append(read_table(inputs["bare"], [*_PLACE, _BARE], numeric=[*numbers, _BARE]))
    return pd.concat(tables, ignore_index=True).reindex(columns=[*_PLACE, _SPECTRAL, _BARE])


def draw_spectral(data: pd.DataFrame, settings: FiguresSection) -> Figure:
    """A(k, E) in colour along the path, bare bands as thin lines."""
    spectral, bare = data[data[_SPECTRAL].notna()], data[data[_SPECTRAL].isna()]
    figure = new_figure(settings.width, 0.62 * settings.width)
    axes = figure.subplots()
    # by index: two points of a path may stand at one distance
    table = spectral.pivot_table(index="energy_eV", columns="ik", values=_SPECTRAL)
    x = spectral.drop_duplicates("ik").sort_values("ik")["distance_per_A"].to_numpy()
    brightest = float(np.quantile(table.to_numpy(), _BRIGHTEST))
    image = axes.pcolormesh(
        _edges(x), _edges(table.index.to_numpy()), table.to_numpy(), cmap="Greys", vmin=0, vmax=brightest,
        rasterized=True,
    )  # fmt: skip
    figure.colorbar(image, ax=axes, extend="max", label="A(k, E) (1/eV)")
    if len(bare):
        _bare_bands(axes, bare)
        legend_below(figure, axes, 1)
    marks = spectral[spectral["label"].fillna("") != ""].drop_duplicates("ik").sort_values("ik")
    if len(marks):
        axes.set_xticks(marks["distance_per_A"], marks["label"])
    else:
        axes.set_xlabel("way along the k (1/Å)")
    axes.grid(False, axis="y")
    axes.grid(True, axis="x", color=GREY, lw=0.7)
    axes.axhline(0, color=GREY, lw=0.7, ls=":")
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(table.index.min(), table.index.max())
    axes.set_ylabel("energy − Fermi level (eV)")
    return figure


def _bare_bands(axes: Axes, bare: pd.DataFrame) -> None:
    bands = bare.pivot_table(index="ik", columns=_BARE, values="energy_eV")
    x = bare.drop_duplicates("ik").sort_values("ik")["distance_per_A"]
    axes.plot(x, bands, color=VERMILION, lw=0.6)
    axes.plot([], [], color=VERMILION, lw=0.6, label="undisplaced lattice")


def _edges(centres: np.ndarray) -> np.ndarray:
    """Borders (n + 1,) of cells around their centres (n,); one cell has the width 1."""
    if len(centres) == 1:
        return centres[0] + np.array([-0.5, 0.5])
    middle = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])

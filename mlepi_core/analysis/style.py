"""One look for all figures; colours and marks stay apart for colour-blind readers and in grey.

Colours: Okabe and Ito, "Color Universal Design" (2008).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib

matplotlib.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY, LIGHT = "#7F7F7F", "#BFBFBF"

MODEL, DFT, BASELINE = BLUE, "#4D4D4D", ORANGE
ESTIMATORS = {
    "manifold": (BLUE, "o"),
    "bilayer": (VERMILION, "s"),
    "operator": (GREEN, "D"),
    "naive": (PURPLE, "^"),
    "spectral": (ORANGE, "P"),
    "self_energy": (SKY, "X"),
}
SPLITS = {
    "train": (LIGHT, "."),
    "validation": (ORANGE, "v"),
    "test": (BLUE, "o"),
    "reference": (VERMILION, "^"),
}
_SPARE = [(BLACK, "P"), (ORANGE, "X"), (SKY, "*"), (GREY, "v")]

RC = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.titlelocation": "left",
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "errorbar.capsize": 2.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "axes.formatter.useoffset": False,
    "axes.unicode_minus": True,
    "mathtext.fontset": "dejavusans",
    "svg.fonttype": "path",
    "svg.hashsalt": "mlepi",
    "path.simplify_threshold": 0.2,
}

_CM_PER_INCH = 2.54


@contextmanager
def styled() -> Iterator[None]:
    """Draw and save in the style of the figures; the caller's settings come back afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(RC)
        yield


def new_figure(width_cm: float, height_cm: float) -> Figure:
    """Empty figure whose parts make room for each other."""
    figure = Figure(figsize=(width_cm / _CM_PER_INCH, height_cm / _CM_PER_INCH), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06, wspace=0.04, hspace=0.05)
    return figure


def look(table: dict[str, tuple[str, str]], name: str) -> tuple[str, str]:
    """Colour and mark of an estimator or split; names that are not known get spare ones."""
    return table.get(name) or _SPARE[sum(map(ord, name)) % len(_SPARE)]


def shades(count: int) -> list[tuple[float, float, float, float]]:
    """`count` colours from dark blue to yellow green that also order in grey, for temperatures."""
    colours = matplotlib.colormaps["viridis"]
    return [colours(0.85 * index / max(1, count - 1)) for index in range(count)]


def legend_below(figure: Figure, axes: Axes, columns: int) -> None:
    """Legend of one panel under the whole figure, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def label_panels(panels: list[Axes]) -> None:
    """(a), (b) … before the titles, so that text can point at a panel."""
    if len(panels) > 1:
        for letter, axes in zip("abcdefghijklmnopqrstuvwxyz", panels, strict=False):
            axes.set_title(f"({letter}) {axes.get_title(loc='left')}".rstrip(), loc="left")

"""Figure `timing`: wall time and peak memory of the stages of the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from mlepi_core.analysis.data import read_table
from mlepi_core.analysis.style import BLUE, LIGHT, SKY, label_panels, new_figure
from mlepi_core.config.figures import FiguresSection

_NUMBERS = ["n_jobs", "wall_s", "longest_s", "cpu_s", "max_rss_mb"]
#: Stages shown one by one; the rest is one bar.
_SHOWN = 14


def prepare_timing(inputs: Mapping[str, Path]) -> pd.DataFrame:
    """The longest stages, and all others together in one row."""
    table = read_table(inputs["timing"], ["stage", *_NUMBERS], numeric=_NUMBERS)
    table = table.sort_values("wall_s", ascending=False, kind="stable")[["stage", *_NUMBERS]]
    rest = table.iloc[_SHOWN:]
    if len(rest) > 1:
        row = {
            "stage": f"{len(rest)} others",
            "n_jobs": rest["n_jobs"].sum(),
            "wall_s": rest["wall_s"].sum(),
            "longest_s": rest["longest_s"].max(),
            "cpu_s": rest["cpu_s"].sum(),
            "max_rss_mb": rest["max_rss_mb"].max(),
        }
        table = pd.concat([table.iloc[:_SHOWN], pd.DataFrame([row])])
    return table.astype({"n_jobs": int}).reset_index(drop=True)


def draw_timing(data: pd.DataFrame, settings: FiguresSection) -> Figure:
    """Left: wall time, all jobs of a stage added up, and its longest job; right: largest memory of a job."""
    figure = new_figure(settings.width, 2.6 + 0.56 * len(data))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.9, 1))
    places = range(len(data))
    left.barh(places, data["wall_s"], color=SKY, height=0.68, label="all jobs of the stage")
    several = data["n_jobs"] > 1
    left.barh(
        [p for p, wanted in zip(places, several, strict=True) if wanted],
        data.loc[several, "longest_s"],
        color=BLUE,
        height=0.26,
        label="longest job",
    )
    for place, wall, jobs in zip(places, data["wall_s"], data["n_jobs"], strict=True):
        text = f" {_duration(wall)}" + (f", {jobs} jobs" if jobs > 1 else "")
        left.text(wall, place, text, va="center", fontsize=8)
    left.set_yticks(list(places), [stage.replace("_", " ") for stage in data["stage"]])
    left.set_ylim(len(data) - 0.4, -0.6)
    left.set_xlim(0, 1.38 * max(data["wall_s"].max(), 1e-3))
    left.set_xlabel("seconds")
    left.set_title("wall time")
    if several.any():
        left.legend(loc="lower right")
    right.barh(places, data["max_rss_mb"] / 1024, color=LIGHT, height=0.68)
    right.set_xlabel("largest job (GiB)")
    right.set_title("peak memory")
    for axes in (left, right):
        axes.grid(False, axis="y")
    label_panels([left, right])
    return figure


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"

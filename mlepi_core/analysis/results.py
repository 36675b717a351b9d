"""Everything that the report shows, read from the folder of a run."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mlepi_core.analysis.data import read_table
from mlepi_core.artefacts import InputError

#: Columns that the report needs of each table, and which of them are numbers.
TABLES = {
    "velocity": (
        ("estimator",),
        (
            "supercell_n",
            "temperature_K",
            "window_lo_per_A",
            "window_hi_per_A",
            "v_m_per_s",
            "v_se_m_per_s",
            "v_static_m_per_s",
            "ratio",
            "ratio_se",
            "n_pairs",
        ),
    ),
    "errors": (("model", "split", "quantity", "unit"), ("value", "n_structures")),
    "phonon_errors": (
        ("table", "group", "source"),
        ("n_modes", "rms_cm1", "mean_cm1", "max_abs_cm1", "frequency_cm1", "frequency_se_cm1"),
    ),
    "displacements": (("direction",), ("temperature_K", "rms_A", "rms_se_A", "exact_rms_A")),
    "band_errors": (("structure", "split"), ("window_eV", "n_states", "rms_meV", "shift_meV")),
    "derivative": (("quantity", "source", "unit"), ("step_A", "value")),
    "frozen_phonon": (
        ("structure", "states", "pattern"),
        (
            "splitting_true_eV_per_A",
            "splitting_predicted_eV_per_A",
            "relative_difference",
            "coupling_true_eV2_per_A2",
            "coupling_predicted_eV2_per_A2",
            "coupling_published_eV2_per_A2",
        ),
    ),
    "static_velocity": (
        ("structure", "estimator"),
        (
            "layers",
            "window_lo_per_A",
            "window_hi_per_A",
            "v_true_m_per_s",
            "v_predicted_m_per_s",
            "relative_difference",
        ),
    ),
    "estimators": (
        ("scheme", "observable"),
        ("temperature_K", "supercell_n", "cost_ratio_to_plain", "ratio_lo", "ratio_hi", "n_evaluations"),
    ),
    "timing": (("stage",), ("n_jobs", "wall_s", "longest_s", "cpu_s", "max_rss_mb")),
}
#: Tables without rows where the configuration names nothing to compare with or makes no antithetic pairs.
MAY_BE_EMPTY = ("static_velocity", "frozen_phonon", "estimators")
#: Tables of a committee: a single model has none.
CALIBRATION = {
    "calibration": (
        ("model", "quantity", "split", "unit", "bin"),
        ("spread_mean", "error_rms", "n", "spearman", "scale", "within_1", "within_2"),
    ),
}
#: Table of a run with a target.
PRECISION = {
    "precision": (
        ("observable", "met"),
        ("temperature_K", "value", "half_width", "wanted", "n_pairs", "max_pairs", "stages"),
    ),
}
#: An SVG larger than this is replaced by the PNG of the figure.
LARGEST_SVG_BYTES = 2_000_000
_TYPES = {"svg": "image/svg+xml", "png": "image/png"}


@dataclass(frozen=True)
class Results:
    """Tables and facts of a finished run.

    Attributes
    ----------
    folder
        ``results/<run>``.
    tables
        By name, see `TABLES`.
    velocity_details
        velocity.json: imaginary-mode policy, modes touched, notes.
    relaxation
        relaxation.json of the phonon folder.
    labels
        Path → SHA-256 of the label files; empty if the run has no list.
    origins
        By network, for those that the run has not trained: see `mlepi_core.stages.models.origin`.
    """

    folder: Path
    tables: dict[str, pd.DataFrame]
    velocity_details: dict[str, Any]
    relaxation: dict[str, Any]
    labels: dict[str, str]
    origins: dict[str, dict[str, Any]]

    def figure(self, name: str) -> str:
        """Figure as a data URI for an img element."""
        for kind in ("svg", "png"):
            path = self.folder / "figures" / f"{name}.{kind}"
            if not path.is_file():
                raise InputError(path, "no such file", "draw the figures first")
            if kind == "png" or path.stat().st_size <= LARGEST_SVG_BYTES:
                break
        text = base64.b64encode(path.read_bytes()).decode("ascii")
        return f"data:{_TYPES[kind]};base64,{text}"


def read_results(
    folder: Path, *, committee: bool = False, target: bool = False, taken: Sequence[str] = ()
) -> Results:
    """Read what a report needs.

    Parameters
    ----------
    folder
        ``results/<run>``.
    committee
        Whether the run has committees, and so the tables of `CALIBRATION`.
    target
        Whether the run has a target precision, and so the table of `PRECISION`.
    taken
        Networks that the run has not trained.

    Raises
    ------
    InputError
        If a table or file is missing or lacks a column.
    """
    wanted = TABLES | (CALIBRATION if committee else {}) | (PRECISION if target else {})
    tables = {
        name: read_table(
            folder / "tables" / f"{name}.csv",
            [*words, *numbers],
            numeric=numbers,
            may_be_empty=name in MAY_BE_EMPTY,
        )
        for name, (words, numbers) in wanted.items()
    }
    sums: dict[str, str] = {}
    for path in sorted((folder / "labels" / "verified").rglob("*.json")):
        sums |= _read_json(path)
    return Results(
        folder,
        tables,
        _read_json(folder / "tables" / "velocity.json"),
        _read_json(folder / "phonons" / "relaxation.json"),
        sums,
        {kind: _read_json(folder / "models" / f"{kind}.origin.json") for kind in taken},
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(path, "no such file", "run the workflow to its end first") from None
    except ValueError as error:
        raise InputError(path, f"is not JSON ({error})", "make it again") from None

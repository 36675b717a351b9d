"""Stage `study`: common tables of networks that were trained in several variants with several seeds."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlepi_core.artefacts import InputError, write_csv, write_text

if TYPE_CHECKING:
    from mlepi_core.config import Settings
    from mlepi_core.config.study import StudyVariant

NAMES = ("comparison", "network", "variant", "label", "seed")
COSTS = ("parameters", "flops_forward", "flops_step", "step_ms", "memory_step_MiB")
TRAINING = ("steps", "train_cells", "train_wall_s", "best_step")
ERROR = ("split", "quantity", "unit", "value", "n_structures")
COLUMNS = (*NAMES, *COSTS, *TRAINING, *ERROR)
HISTORY_COLUMNS = (*NAMES, "step", "wall_s", "quantity", "value", "unit")
# Columns of the histories that decide which weights are kept.
_DECIDING = {"phonon": "force_mae_meV_per_A", "electron": "mae_meV"}

Row = dict[str, Any]


def gather(
    settings: Settings,
    folder: str | os.PathLike[str],
    stores: Sequence[str | os.PathLike[str]],
    out_csv: str | os.PathLike[str],
    out_history: str | os.PathLike[str],
    out_markdown: str | os.PathLike[str],
) -> None:
    """Write the errors, the histories and a readable summary of all trainings of a study.

    Parameters
    ----------
    settings
        Configuration with `study`, `training` and `labels`.
    folder
        Its files ``NETWORK/VARIANT/cost.json`` and ``NETWORK/VARIANT/seed<seed>/{errors.json,history.csv}``.
    stores
        Label stores that the networks were trained on.
    out_csv
        Columns `COLUMNS`: one row per comparison and error of a trained network, of all splits and of single
        held-out structures. ``train_cells`` counts the large training structures that the network saw;
        time and ``best_step``, whose weights were kept, are of its history.
    out_history
        Columns `HISTORY_COLUMNS`: validation errors of every training against step and time.
    out_markdown
        See `mlepi_core.analysis.tables_study.study_markdown`.

    Raises
    ------
    InputError
        If a file of the study is missing or is not what it should be.
    """
    import pandas as pd

    from mlepi_core.analysis.tables_study import study_markdown

    errors: list[Row] = []
    histories: list[Row] = []
    large = {
        kind: _large_cells(kind, stores, settings.labels.hold_out_rms_force)
        for kind in dict.fromkeys(variant.network for variant in settings.study.variants)
    }
    for comparison, variant in _compared(settings):
        part = Path(folder) / variant.network / variant.name
        costs = _costs(part / "cost.json")
        for seed in settings.study.seeds:
            names = (comparison, variant.network, variant.name, variant.title, seed)
            row = dict(zip(NAMES, names, strict=True))
            history = _history(part / f"seed{seed}/history.csv", variant.network)
            training = _training(settings, variant, history, large[variant.network])
            errors += _error_rows(row | costs | training, part / f"seed{seed}/errors.json")
            histories += _history_rows(row, history)
    write_csv(out_csv, errors, COLUMNS)
    write_csv(out_history, histories, HISTORY_COLUMNS)
    write_text(out_markdown, study_markdown(pd.read_csv(out_csv)))


def _compared(settings: Settings) -> list[tuple[str, StudyVariant]]:
    """Comparisons and their variants, in the order of the configuration."""
    variants = settings.study.variants
    keys = dict.fromkeys((v.network, comparison) for v in variants for comparison in v.comparisons)
    return [
        (comparison, variant)
        for network, comparison in keys
        for variant in variants
        if variant.network == network and comparison in variant.comparisons
    ]


def _large_cells(kind: str, stores: Sequence[str | os.PathLike[str]], hold_out: float | None) -> int:
    """Number of large training structures that there are for a network."""
    from mlepi_core.stages.train import read_split
    from mlepi_core.training.batches import large_and_small

    entries = read_split(stores, "train", blocks=kind == "electron", hold_out=hold_out)
    return len(large_and_small([len(entry.atoms) for entry in entries])[0])


def _training(
    settings: Settings, variant: StudyVariant, history: Sequence[dict[str, float]], large: int
) -> Row:
    """How a network was trained: as it was told, and as its history says."""
    section = getattr(settings.trained_as(variant, settings.study.seeds[0]).training, variant.network)
    best = min(history, key=lambda row: row[_DECIDING[variant.network]])
    values = (section.steps, section.train_cells or large, history[-1]["wall_s"], int(best["step"]))
    return dict(zip(TRAINING, values, strict=True))


def _costs(path: Path) -> Row:
    values = _json(path)
    if not isinstance(values, dict) or not set(COSTS) <= set(values):
        raise InputError(path, f"lacks one of {', '.join(COSTS)}", "delete it and run the study again")
    return {key: values[key] for key in COSTS}


def _error_rows(values: Row, path: Path) -> Iterator[Row]:
    """Rows of the network itself: its baselines are the same in every variant."""
    for row in _json(path):
        if row["model"] == values["network"]:
            yield values | {key: row[key] for key in ERROR}


def _history_rows(names: Row, history: Sequence[dict[str, float]]) -> Iterator[Row]:
    from mlepi_core.stages.evaluate import named_quantity

    for row in history:
        place = {"step": int(row["step"]), "wall_s": row["wall_s"]}
        for key, value in row.items():
            named = named_quantity(key)
            if named is not None:
                yield names | place | {"quantity": named[0], "value": value, "unit": named[1]}


def _history(path: Path, network: str) -> list[dict[str, float]]:
    wanted = {"step", "wall_s", _DECIDING[network]}
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            rows = [
                {key: float(text) for key, text in row.items() if text != ""}
                for row in csv.DictReader(handle)
            ]
    except (OSError, ValueError, TypeError) as error:
        raise InputError(path, f"is no training history ({error})", "run the study again") from error
    if not rows or not wanted <= set(rows[0]):
        raise InputError(path, "holds no validation", "delete it and run the study again")
    return rows


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(path, f"cannot be read ({error})", "run the study again") from error

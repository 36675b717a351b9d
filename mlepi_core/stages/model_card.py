"""Stage `model_card`: the card of a model from its file and the tables of its evaluation."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlepi_core.artefacts import InputError, sha256_file, write_text

if TYPE_CHECKING:
    import pandas as pd

    from mlepi_core.nn.model_file import ModelFile


def model_card(
    model: str | os.PathLike[str],
    errors: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    phonon_errors: str | os.PathLike[str] | None = None,
    bands: str | os.PathLike[str] | None = None,
    stores: Sequence[str | os.PathLike[str]] = (),
    hold_out: float | None = None,
) -> None:
    """Write a model card as Markdown.

    Parameters
    ----------
    model
        Model file of either network.
    errors
        JSON of its evaluation, see `mlepi_core.stages.evaluate.tabulate`.
    phonon_errors, bands
        Tables phonon_errors.csv and band_errors.csv of a run with this model.
    stores
        Label stores; the range of validity is computed from those that the model was trained on.
    hold_out
        Structures with a larger rms force (eV/Å) were not trained on: `labels.hold_out_rms_force`.

    Raises
    ------
    InputError
        If a file is missing or damaged, or the errors are those of the other network.
    """
    from mlepi_core.analysis.model_card import CardFacts
    from mlepi_core.analysis.model_card import model_card as text_of
    from mlepi_core.nn.model_file import load_members

    members = load_members(model)
    entries = _training_entries(members[0], stores, hold_out)
    ranges = _coverage(entries)
    facts = CardFacts(
        Path(model).name,
        sha256_file(model),
        Path(model).stat().st_size,
        members,
        _errors(errors, members[0].kind),
        _table("phonon_errors", phonon_errors),
        _table("band_errors", bands),
        ranges,
        len(entries),
        list(dict.fromkeys(_method(entry.attrs) for entry in entries)),
    )
    write_text(out, text_of(facts))


def _errors(path: str | os.PathLike[str], kind: str) -> pd.DataFrame:
    import pandas as pd

    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(path, "cannot be read as JSON", "give the JSON of the evaluation") from None
    known = isinstance(rows, list) and all(isinstance(row, dict) and "model" in row for row in rows)
    if not known or not any(row["model"] == kind for row in rows):
        raise InputError(path, f"holds no errors of the {kind} network", "give the JSON of its evaluation")
    return pd.DataFrame(rows)


def _table(name: str, path: str | os.PathLike[str] | None) -> pd.DataFrame | None:
    """A table of a run; None without a path or rows."""
    from mlepi_core.analysis.data import read_table
    from mlepi_core.analysis.results import TABLES

    if path is None:
        return None
    words, numbers = TABLES[name]
    table = read_table(path, [*words, *numbers], numeric=numbers, may_be_empty=True)
    return None if table.empty else table


def _training_entries(model: ModelFile, stores: Sequence[Any], hold_out: float | None) -> list[Any]:
    """Training structures of those stores that the model names, or of all if it names none."""
    from mlepi_core.stages.train import read_split

    known = {source["sha256"] for source in model.sources}
    used = [path for path in stores if not known or sha256_file(path) in known]
    return read_split(used, "train", blocks=False, hold_out=hold_out) if used else []


def _coverage(entries: list[Any]) -> Any:
    from mlepi_core.analysis.coverage import coverage

    return coverage(entries) if entries else None


def _method(attrs: dict[str, Any]) -> str:
    """Program and functional of a label."""
    words = [attrs.get("engine"), attrs.get("engine_version"), attrs.get("xc")]
    return " ".join(str(word) for word in words if word) or "of unknown origin"

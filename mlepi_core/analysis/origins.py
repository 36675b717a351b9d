"""Networks that a run did not train: what the report says about where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlepi_core.analysis.numbers import counted, joined
from mlepi_core.analysis.tables import Table
from mlepi_core.config.settings import Settings

_DIGITS = 16  # of a SHA-256 that are shown


def steps_of(settings: Settings, origins: Mapping[str, Mapping[str, Any]], kind: str) -> str:
    """How long a network was trained, and whether in this run."""
    if kind not in origins:
        return f"{getattr(settings.training, kind).steps} training steps"
    steps = joined(str(number) for number in dict.fromkeys(origins[kind]["steps"]))
    return f"{steps} training steps before this run"


def origin_texts(settings: Settings, origins: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence on what was not trained in this run; nothing if all networks were."""
    if not origins:
        return []
    taken = joined(f"the {kind} network" for kind in origins)
    words = "were not trained in this run but taken from files"
    if len(origins) == 1:
        words = "was not trained in this run but taken from a file"
    text = f"{taken[0].upper()}{taken[1:]} {words}, see the table"
    names = [f"the {kind} network" for kind in settings.trained_networks]
    text += f"; {joined(names)} was trained in it." if names else "."
    return [f"{text} The labels of this run are what their errors are evaluated on."]


def origin_tables(origins: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """Files of the networks that were taken, and the data that they were trained on."""
    if not origins:
        return []
    rows = []
    for kind, origin in origins.items():
        steps = joined(str(number) for number in dict.fromkeys(origin["steps"]))
        words = f"{counted(len(origin['steps']), 'model')}, {steps} steps, mlepi {origin['mlepi']}"
        rows.append([f"{kind} network", origin["file"], origin["sha256"][:_DIGITS], words])
        for source in origin["sources"]:
            splits = ", ".join(f"{count} {split}" for split, count in source["splits"].items())
            rows.append(["– trained on", Path(source["file"]).name, source["sha256"][:_DIGITS], splits])
    unknown = [kind for kind, origin in origins.items() if not origin["sources"]]
    note = f"First {_DIGITS} digits of the SHA-256."
    if unknown:
        note += f" The file of {joined(f'the {kind} network' for kind in unknown)} does not name its data."
    return [Table("Networks taken from files", ["", "file", "SHA-256", "what"], rows, 4, note)]

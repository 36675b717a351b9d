"""Model card: what a network is, what it was trained on, how good it is and where it must not be used."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from ase.data import chemical_symbols

from mlepi_core.analysis.coverage import Coverage
from mlepi_core.analysis.numbers import counted, duration, joined, significant
from mlepi_core.analysis.tables import Table, band_table, error_table, phonon_tables, split_table
from mlepi_core.nn.model_file import ModelFile

_TASKS = {
    "phonon": "energies (eV) and forces (eV/Å) of layered structures",
    "electron": "Hamiltonians H (eV) and overlaps S of layered structures in a basis of atomic orbitals",
}
_NAMES = {"phonon": "HedgeNet-Phonon", "electron": "HedgeNet-Electron"}
_OWN_LIMITS = {
    "phonon": "dynamics far from the training structures without DFT checks of some snapshots",
    "electron": "levels relative to the vacuum: H has a free constant μS, only differences count",
}
_HELD_OUT = ("test", "reference")
_CURVE_ROWS = 12
_LENGTHS = {
    "cutoff_intra": "edges within a layer up to",
    "cutoff_inter": "edges between layers up to",
    "support": "pairs of orbitals up to",
    "message_cutoff": "messages between atoms up to",
}
_UNITS = {"_meV_per_A": "meV/Å", "_meV_per_atom": "meV/atom", "_meV": "meV"}
_CITATION = (
    "Cite this software (`CITATION.cff`) and the paper of the method: Wang, Duan and Lin, *Machine learning "
    "for electron-phonon interactions from finite difference*, arXiv:2602.23084 (2026)."
)


@dataclass(frozen=True)
class CardFacts:
    """What a card is written from.

    Attributes
    ----------
    file, sha256, n_bytes
        Of the model file.
    members
        Its models, one or those of a committee.
    errors
        Rows of the evaluation, columns of errors.csv.
    phonon_errors, band_errors
        Tables of a run of these names, or None.
    coverage, n_covered
        Range of the training structures and their number; None if the stores were not given.
    methods
        How the labels were computed, from their stores.
    """

    file: str
    sha256: str
    n_bytes: int
    members: Sequence[ModelFile]
    errors: pd.DataFrame
    phonon_errors: pd.DataFrame | None = None
    band_errors: pd.DataFrame | None = None
    coverage: Coverage | None = None
    n_covered: int = 0
    methods: Sequence[str] = ()


def model_card(facts: CardFacts) -> str:
    """The card as Markdown."""
    model = facts.members[0]
    parts = [
        f"# Model card: {_NAMES[model.kind]}, {joined(_elements(model))}",
        f"Predicts {_TASKS[model.kind]}. Written by `mlepi card` from the model file and its evaluation.",
        _pairs("Model", _identity(facts)),
        *_data(facts),
        _pairs("Architecture", _flat(model.architecture)),
        _pairs("Training", _training(facts.members)),
        "## Errors",
        *map(markdown, _error_tables(facts)),
        *_curves(facts.members),
        *_validity(facts),
        *_exclusions(facts),
        "## Licence and citation",
        f"MIT, as the repository (`LICENSE`). {_CITATION}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown(table: Table) -> str:
    """A table as Markdown, its caption above and its note below."""
    rule = [":--" if column < table.n_words else "--:" for column in range(len(table.header))]
    lines = [f"| {' | '.join(_escaped(cells))} |" for cells in (table.header, rule, *table.rows)]
    text = "\n".join(lines)
    return "\n\n".join(part for part in (f"**{table.caption}**", text, table.note) if part)


def _escaped(cells: Sequence[str]) -> list[str]:
    return [cell.replace("|", "\\|") for cell in cells]


def _pairs(title: str, pairs: Mapping[str, str]) -> str:
    rows = [f"| {name} | {value} |" for name, value in pairs.items()]
    return "\n".join([f"## {title}", "", "| | |", "|:--|:--|", *rows])


def _elements(model: ModelFile) -> list[str]:
    return [chemical_symbols[number] for number in model.species]


def _identity(facts: CardFacts) -> dict[str, str]:
    model = facts.members[0]
    weights = [value for member in facts.members for value in member.state_dict.values()]
    types = {str(value.dtype).removeprefix("torch.") for value in weights}
    found = {
        "file": f"`{facts.file}`, {facts.n_bytes / 1e6:.2f} MB",
        "SHA-256": f"`{facts.sha256}`",
        "network": f"{_NAMES[model.kind]}, {counted(len(facts.members), 'model')}",
        "elements": joined(_elements(model)),
        "weights": f"{sum(value.numel() for value in weights)} in {joined(sorted(types))}: exponential mean "
        "over the steps, of the best validation",
        "written by": f"mlepi {model.code_version}",
    }
    if model.basis:
        found["basis (l of the shells)"] = "; ".join(
            f"{element}: {', '.join(map(str, shells))}" for element, shells in json.loads(model.basis).items()
        )
    return found


def _data(facts: CardFacts) -> list[str]:
    model, splits = facts.members[0], ("train", "validation")
    parts = ["## Data"]
    if model.sources:
        rows = [
            [
                f"`{source['file']}`",
                *(str(source["splits"].get(split, 0)) for split in splits),
                source["sha256"],
            ]
            for source in model.sources
        ]
        header = ["label store", *splits, "SHA-256"]
        parts.append(markdown(Table("Structures that the training used", header, rows, 1)))
    else:
        parts.append(f"The model file does not name its label stores (digest {model.data_digest}).")
    if facts.methods:
        parts.append(f"Labels: {joined(facts.methods)}.")
    if model.start_sha256:
        parts.append(f"The training started from the model with SHA-256 `{model.start_sha256}`.")
    return parts


def _training(members: Sequence[ModelFile]) -> dict[str, str]:
    first, seeds = members[0], joined(str(member.config.get("seed", "unknown")) for member in members)
    settings = {name: value for name, value in first.config.items() if name != "seed"}
    found = {"seed" if len(members) == 1 else "seeds": seeds, **_flat(settings)}
    for name, key, words in (("steps made", "step", str), ("wall time", "wall_s", duration)):
        values = [member.history[-1][key] for member in members if member.history]
        if values:
            found[name] = joined(dict.fromkeys(map(words, values)))
    best = [_best(member)["step"] for member in members if member.history]
    if best:
        found["step of the weights (best validation)"] = joined(map(str, best))
    return found


def _flat(values: Mapping[str, Any]) -> dict[str, str]:
    return {name.replace("_", " "): _shown(value) for name, value in values.items()}


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_shown(part)}" for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_shown, value))
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _error_tables(facts: CardFacts) -> list[Table]:
    found = [split_table(facts.errors)]
    present = set(facts.errors["split"])
    found += [error_table(facts.errors, split) for split in _HELD_OUT if split in present]
    if facts.phonon_errors is not None:
        found += phonon_tables(facts.phonon_errors)
    if facts.band_errors is not None:
        found.append(band_table(facts.band_errors))
    return found


def _metric(member: ModelFile) -> str:
    """Column of the history that chose the weights."""
    return {"phonon": "force_mae_meV_per_A", "electron": "mae_meV"}[member.kind]


def _best(member: ModelFile) -> dict[str, Any]:
    return min(member.history, key=lambda row: row[_metric(member)])


def _curves(members: Sequence[ModelFile]) -> list[str]:
    """History of each member at about equal ratios of the steps."""
    parts = ["## Training curve"]
    for number, member in enumerate(members, start=1):
        if not member.history:
            continue
        rows = [member.history[k] for k in _spread_out(len(member.history))]
        columns = [name for name in rows[0] if name not in ("lr", "wall_s")]
        table = [[_cell(name, row[name]) for name in columns] for row in rows]
        title = "Validation errors" + (f" of member {number}" if len(members) > 1 else "")
        parts.append(markdown(Table(title, [_heading(name) for name in columns], table, 0)))
    return parts if len(parts) > 1 else []


def _cell(name: str, value: float) -> str:
    return str(value) if name == "step" else significant(value)


def _heading(column: str) -> str:
    """``force mae (meV/Å)`` of ``force_mae_meV_per_A``."""
    for ending, unit in _UNITS.items():
        if column.endswith(ending):
            return f"{column.removesuffix(ending).replace('_', ' ')} ({unit})"
    return column.replace("_", " ")


def _spread_out(count: int) -> list[int]:
    """At most `_CURVE_ROWS` places of a list, denser at its start, with its first and last."""
    return sorted({round(place) - 1 for place in np.geomspace(1, count, min(count, _CURVE_ROWS))})


def _validity(facts: CardFacts) -> list[str]:
    lengths = {name: value for name, value in facts.members[0].architecture.items() if name in _LENGTHS}
    reach = joined(f"{_LENGTHS[name]} {value:.2f} Å" for name, value in lengths.items())
    parts = ["## Range of validity", f"Interpolation within what the training covers; {reach}."]
    if not facts.coverage:
        return [*parts, "The ranges were not computed: the label stores of the training were not at hand."]
    rows = [
        [name, unit, *(f"{value:.4g}" for value in span)] for (name, unit), span in facts.coverage.items()
    ]
    title = f"Training structures ({facts.n_covered})"
    return [*parts, markdown(Table(title, ["quantity", "unit", "smallest", "largest"], rows, 2))]


def _exclusions(facts: CardFacts) -> list[str]:
    model = facts.members[0]
    spin = model.architecture.get("spin", "none")
    magnetism = "spin-polarised or magnetic systems, spin-orbit coupling"
    items = [
        f"elements other than {joined(_elements(model))}",
        "numbers of layers that the training does not cover, bulk",
        f"charged systems, electric fields, {'magnetic systems' if spin == 'soc' else magnetism}",
        "results of DFT settings other than the labels': functional, dispersion, basis, pseudopotentials",
        "chemistry far from equilibrium: broken or new bonds, defects, edges, adsorbates, melting",
        "strain, corrugation, layer distances or forces outside the ranges above",
        _OWN_LIMITS[model.kind],
    ]
    return ["## Not to be used for", "\n".join(f"- {item}" for item in items)]

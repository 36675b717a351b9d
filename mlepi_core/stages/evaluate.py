"""Verb `evaluate`, and the tables of errors of a run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlepi_core.artefacts import InputError, located, write_csv, write_json

if TYPE_CHECKING:
    from mlepi_core.formats.store import LabelEntry

ERROR_COLUMNS = ("model", "split", "quantity", "unit", "value", "n_structures")
PARITY_PHONON = ("quantity", "split", "structure", "label", "predicted", "unit")
PARITY_ELECTRON = ("kind", "split", "structure", "label_eV", "predicted_eV", "baseline_eV")
GAUGE = (
    "structure",
    "split",
    "fermi_level_eV",
    "mu_onsite_eV",
    "mu_all_eV",
    "error_mu_onsite_meV",
    "error_mu_all_meV",
    "mae_meV",
    "mae_aligned_meV",
)
SPLITS = ("train", "validation", "test", "reference", "extrapolation")
# Drawn in parity plots.
HELD_OUT = ("test", "reference")
# Also evaluated structure by structure.
STRUCTURE_WISE = (*HELD_OUT, "extrapolation")
# Matrix elements in the parity table, per structure and kind of block.
PARITY_SAMPLES = 1500

_UNITS = ("meV_per_atom", "meV_per_A", "meV")


def evaluate(
    model: str | os.PathLike[str],
    stores: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    split: str | None = None,
    *,
    device: str = "auto",
) -> dict[str, float]:
    """Errors of a model on labelled structures, as a flat dictionary.

    Parameters
    ----------
    model
        Model file of either network.
    stores
        One label store or several; converged entries that carry what the model predicts.
    split
        Only entries of this split.

    Returns
    -------
    dict
        The keys of `evaluate_phonon` or `evaluate_electron` without those per structure and of baselines; of
        a committee, whose mean is evaluated, also the rms spread of its members,
        ``force_spread_meV_per_A`` or ``spread_meV``, to be compared with the rms error.

    Raises
    ------
    InputError
        If no entry is left, or one has a species that the model does not know.
    """
    paths = [stores] if isinstance(stores, (str, os.PathLike)) else list(stores)
    kind, species, errors_of = _evaluator(model, device)
    entries = entries_for(paths, split, kind, species)
    if not entries:
        wanted = "H and S" if kind == "electron" else "forces"
        of_split = "" if split is None else f" of split {split!r}"
        raise InputError(
            paths[0], f"holds no converged entry{of_split} with {wanted}", "choose another store or split"
        )
    with located(", ".join(map(str, paths))):
        result = errors_of(entries)
    return {key: value for key, value in result.items() if key not in ("structures", "baselines")}


def tabulate(
    model: str | os.PathLike[str],
    stores: Sequence[str | os.PathLike[str]],
    out_json: str | os.PathLike[str],
    out_parity: str | os.PathLike[str],
    out_gauge: str | os.PathLike[str] | None = None,
    *,
    hold_out: float | None = None,
    device: str = "auto",
    progress: Callable[..., None] | None = None,
) -> None:
    """Errors per split, and per structure of what is held out; and a table of pairs for parity plots.

    Parameters
    ----------
    out_json
        Rows with the columns of errors.csv; baselines are models of their own.
    out_parity
        CSV with `PARITY_PHONON` or `PARITY_ELECTRON` columns of the splits test and reference.
    out_gauge
        CSV with `GAUGE` columns of all structures (electron): see `gauge_row`.
    hold_out
        `labels.hold_out_rms_force` of the training, eV/Å: what it left out is the split ``extrapolation``.
    """
    rows: list[dict[str, Any]] = []
    gauge: list[dict[str, Any]] = []
    held_out: list[LabelEntry] = []
    for kind, split, entries, result in _errors_by_split(model, stores, hold_out, device, progress):
        rows += _split_rows(kind, split, result)
        if out_gauge is not None:
            gauge += _gauge(split, result)
        if split in HELD_OUT:
            held_out += entries
    write_json(out_json, rows)
    parity, columns = _parity(model, kind, held_out, device)
    write_csv(out_parity, parity, columns)
    if out_gauge is not None:
        write_csv(out_gauge, gauge, GAUGE)


def write_errors(
    model: str | os.PathLike[str],
    stores: Sequence[str | os.PathLike[str]],
    out_json: str | os.PathLike[str],
    *,
    hold_out: float | None = None,
    device: str = "auto",
    progress: Callable[..., None] | None = None,
) -> None:
    """The rows of errors that `tabulate` writes, alone."""
    parts = _errors_by_split(model, stores, hold_out, device, progress)
    write_json(
        out_json, [row for kind, split, _, result in parts for row in _split_rows(kind, split, result)]
    )


def gather(files: Sequence[str | os.PathLike[str]], out_csv: str | os.PathLike[str]) -> None:
    """One table errors.csv of the files of `tabulate`."""
    rows = [row for path in files for row in json.loads(Path(path).read_text(encoding="utf-8"))]
    write_csv(out_csv, rows, ERROR_COLUMNS)


Evaluator = Callable[[Sequence["LabelEntry"]], dict[str, Any]]


def _evaluator(model: str | os.PathLike[str], device: str) -> tuple[str, list[int], Evaluator]:
    """Kind of a model, the species that it knows, and its errors on given entries."""
    from mlepi_core.nn.model_file import load_members

    members = load_members(model)
    kind, species = members[0].kind, members[0].species
    evaluator = _phonon_evaluator if kind == "phonon" else _electron_evaluator
    return kind, species, evaluator(model, device, committee=len(members) > 1)


def _phonon_evaluator(model: str | os.PathLike[str], device: str, *, committee: bool) -> Evaluator:
    from mlepi_core.inference.phonon_spread import force_spreads
    from mlepi_core.nn.model_file import load_phonon_net
    from mlepi_core.training.phonon_metrics import evaluate_phonon

    net = load_phonon_net(model, device=device)
    if not committee:
        return lambda entries: evaluate_phonon(net, entries)
    return lambda entries: _with_spread(
        evaluate_phonon(net, entries), "force_spread_meV_per_A", force_spreads(net, entries)
    )


def _electron_evaluator(model: str | os.PathLike[str], device: str, *, committee: bool) -> Evaluator:
    from mlepi_core.inference.electron_spread import element_spreads
    from mlepi_core.nn.hamiltonian import load_hamiltonian_model
    from mlepi_core.training.electron_metrics import evaluate_electron

    loaded = load_hamiltonian_model(model, device=device)
    if not committee:
        return lambda entries: evaluate_electron(loaded, entries)
    return lambda entries: _with_spread(
        evaluate_electron(loaded, entries), "spread_meV", element_spreads(loaded, entries)
    )


def _with_spread(errors: dict[str, Any], key: str, spreads: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Errors with the rms spread under `key`, overall and per structure.

    `spreads` are the rms spread (eV/Å or eV) of each structure and its weight.
    """
    squares, weights = zip(*((spread**2, weight) for spread, weight in spreads), strict=True)
    mean_square = sum(s * w for s, w in zip(squares, weights, strict=True)) / sum(weights)
    structures = [
        row | {key: 1e3 * square**0.5} for row, square in zip(errors["structures"], squares, strict=True)
    ]
    return errors | {key: 1e3 * mean_square**0.5, "structures": structures}


def entries_for(
    paths: Sequence[str | os.PathLike[str]],
    split: str | None,
    kind: str,
    species: Sequence[int],
    hold_out: float | None = None,
) -> list[LabelEntry]:
    """Entries of a split (None: all) with what a model of `kind` predicts, all of `species`.

    `hold_out`: as of `mlepi_core.stages.train.read_split`.

    Raises
    ------
    InputError
        If one has an element that is not among `species` (atomic numbers).
    """
    from mlepi_core.nn.model_file import check_species
    from mlepi_core.stages.train import read_split

    entries = read_split(paths, split, blocks=kind == "electron", hold_out=hold_out)
    where = ", ".join(map(str, paths))
    for entry in entries:
        check_species(species, entry.atoms.numbers, f"{where}: entry {entry.name}")
    return entries


def _errors_by_split(
    model: str | os.PathLike[str],
    stores: Sequence[str | os.PathLike[str]],
    hold_out: float | None,
    device: str,
    progress: Callable[..., None] | None,
) -> Iterator[tuple[str, str, list[LabelEntry], dict[str, Any]]]:
    """Kind of the model, split, its entries and their errors, for every split that has entries."""
    kind, species, errors_of = _evaluator(model, device)
    found = False
    for done, split in enumerate(SPLITS):
        entries = entries_for(stores, split, kind, species, hold_out)
        if entries:
            found = True
            yield kind, split, entries, errors_of(entries)
        if entries and progress is not None:
            progress(done + 1, len(SPLITS), split)
    if not found:
        raise InputError(str(stores[0]), "holds nothing to evaluate on", "check labels.path")


def _split_rows(kind: str, split: str, result: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of errors.csv of a model and its baselines; of held-out splits also those of each structure."""
    rows: list[dict[str, Any]] = []
    for name, values in ((kind, result), *result["baselines"].items()):
        rows += _rows(name, split, values)
        if split in STRUCTURE_WISE:
            for structure in values.get("structures", ()):
                rows += _rows(name, f"{split}:{structure['name']}", structure | {"n_structures": 1})
    return rows


def _rows(model: str, split: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of errors.csv from keys that end in their unit."""
    rows = []
    for key, value in values.items():
        named = named_quantity(key)
        if named is None or not isinstance(value, (int, float)):
            continue
        quantity, unit = named
        rows.append(
            {
                "model": model,
                "split": split,
                "quantity": quantity,
                "unit": unit,
                "value": float(value),
                "n_structures": int(values["n_structures"]),
            }
        )
    return rows


def named_quantity(key: str) -> tuple[str, str] | None:
    """Quantity and unit in tables of a key such as ``force_mae_meV_per_A``; None if it ends in no unit."""
    unit = next((unit for unit in _UNITS if key.endswith(f"_{unit}")), None)
    if unit is None:
        return None
    quantity = key.removesuffix(f"_{unit}")
    if "force" not in key and "energy" not in key:
        quantity = f"hamiltonian_{quantity}"
    return quantity, unit.replace("_per_A", "/Å").replace("_per_atom", "/atom")


def _gauge(split: str, result: dict[str, Any]) -> list[dict[str, Any]]:
    from mlepi_core.training.electron_metrics import gauge_row

    return [{"split": split} | gauge_row(structure) for structure in result["structures"]]


def _parity(
    model: str | os.PathLike[str], kind: str, entries: Sequence[LabelEntry], device: str
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    if kind == "phonon":
        return _phonon_parity(model, entries, device), PARITY_PHONON
    return _electron_parity(model, entries, device), PARITY_ELECTRON


def _phonon_parity(
    model: str | os.PathLike[str], entries: Sequence[LabelEntry], device: str
) -> list[dict[str, Any]]:
    """All force components, and the energy per atom less the model's atomic energies."""
    from mlepi_core.nn.model_file import load_phonon_net
    from mlepi_core.training.phonon_metrics import labelled_graph, predict_graphs

    net = load_phonon_net(model, device=device)
    e0 = net.e0.double().cpu().numpy()
    graphs = [labelled_graph(entry, net.species, net.cutoffs) for entry in entries]
    rows = []
    for entry, graph, (energy, forces) in zip(entries, graphs, predict_graphs(net, graphs), strict=True):
        common = {"split": entry.split, "structure": entry.name}
        n_atoms = len(graph.species)
        if entry.energy is not None:
            label = (graph.energy - e0[graph.species].sum()) / n_atoms
            predicted = energy / n_atoms
            rows.append(
                common | {"quantity": "energy", "label": label, "predicted": predicted, "unit": "eV/atom"}
            )
        rows += [
            common | {"quantity": "force", "label": float(a), "predicted": float(b), "unit": "eV/Å"}
            for a, b in zip(graph.forces.ravel(), forces.ravel(), strict=True)
        ]
    return rows


def _electron_parity(
    model: str | os.PathLike[str], entries: Sequence[LabelEntry], device: str
) -> list[dict[str, Any]]:
    """A seeded choice of matrix elements of every kind of block; complex ones as two numbers."""
    import numpy as np

    from mlepi_core.graph import relation_masks
    from mlepi_core.nn.hamiltonian import load_hamiltonian_model
    from mlepi_core.randomness import stream
    from mlepi_core.training.electron_metrics import baseline_hamiltonian, real_parts

    hamiltonian = load_hamiltonian_model(model, device=device)
    rows = []
    for number, entry in enumerate(entries):
        matrix, arrays = entry.blocks, entry.atoms.arrays
        predicted = real_parts(hamiltonian.hamiltonians([entry.atoms], [matrix])[0].hamiltonian)
        baseline = real_parts(baseline_hamiltonian(hamiltonian, entry))
        label = real_parts(matrix.hamiltonian)
        pairs = matrix.pairs
        onsite = (pairs[:, 0] == pairs[:, 1]) & (pairs[:, 2:] == 0).all(axis=1)
        intra, inter = relation_masks(
            pairs[:, 0], pairs[:, 1], pairs[:, 2:], arrays["layer"], arrays.get("winding")
        )
        generator = stream(0, "parity", number)
        for kind, mask in (("onsite", onsite), ("intra", intra & ~onsite), ("inter", inter)):
            elements = np.repeat(mask, np.diff(matrix.offsets))
            places = np.flatnonzero(np.tile(elements, len(label) // len(elements)))
            chosen = generator.choice(places, size=min(PARITY_SAMPLES, len(places)), replace=False)
            rows += [
                {
                    "kind": kind,
                    "split": entry.split,
                    "structure": entry.name,
                    "label_eV": float(label[k]),
                    "predicted_eV": float(predicted[k]),
                    "baseline_eV": float(baseline[k]),
                }
                for k in np.sort(chosen)
            ]
    return rows

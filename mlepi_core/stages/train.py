"""Verb `train`: one of the two networks, from label stores to a model file; test of its learning rate."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlepi_core.artefacts import InputError, sha256_file
from mlepi_core.progress import Progress, silent

if TYPE_CHECKING:
    from mlepi_core.basis.two_centre import TwoCentreTables
    from mlepi_core.formats.store import LabelEntry
    from mlepi_core.training.fit import Prepared

KINDS = ("phonon", "electron")


def train(
    kind: str,
    section: Any,
    stores: Sequence[str | os.PathLike[str]],
    out_model: str | os.PathLike[str],
    *,
    restart_dir: str | os.PathLike[str] | None = None,
    history_csv: str | os.PathLike[str] | None = None,
    tables: str | os.PathLike[str] | None = None,
    overlap_smoothing: float = 0.0,
    hold_out: float | None = None,
    start_from: str | os.PathLike[str] | None = None,
    tensorboard: str | os.PathLike[str] | None = None,
    member: int = 1,
    device: str = "auto",
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train HedgeNet-Phonon or HedgeNet-Electron; under torchrun, by several processes together.

    Parameters
    ----------
    kind
        ``phonon`` or ``electron``.
    section
        `training.phonon` or `training.electron` of the configuration.
    stores
        Label stores; entries of split ``train`` and ``validation`` are used, others are not read.
    out_model
        Model file.
    restart_dir
        Folder of the restart file; a training that was interrupted goes on from it. It must lie outside what
        a workflow deletes when a job fails.
    history_csv
        History of the training, rewritten at every validation.
    tables
        Two-centre tables of S for the electron net; without them they are fitted to the stores.
    overlap_smoothing
        Of that fit: `labels.overlap_smoothing` of the configuration.
    hold_out
        Structures with a larger rms force (eV/Å) are used neither for training nor for validation:
        `labels.hold_out_rms_force` of the configuration.
    start_from
        Model file to start from instead of random weights.
    tensorboard
        Folder for event files, in a subfolder named as the model.
    member
        Member of a committee: its seed is `section.seed` + `member` − 1.
    device
        ``auto``, ``cpu`` or ``cuda``.
    progress
        Called with the steps done, their number and the last validation, see `mlepi_core.progress`.

    Returns
    -------
    dict
        ``best_step``, ``best_value`` (validation MAE: meV/Å or meV), ``n_train``, ``n_validation``,
        ``steps`` (fewer than the section's after early stopping), ``first`` (False in the further processes
        of a parallel training, which write nothing).

    Raises
    ------
    InputError
        If there is nothing to train on or to validate with, or the stores do not fit together.
    """
    from mlepi_core.training import parallel
    from mlepi_core.training.fit import fit
    from mlepi_core.training.loop import TrainingPaths
    from mlepi_core.training.scalars import require_tensorboard

    name = Path(out_model).stem
    if tensorboard is not None:
        require_tensorboard()
        tensorboard = Path(tensorboard) / name
    restart = None if restart_dir is None else Path(restart_dir) / f"{name}.restart.pt"
    with parallel.joined(device) as processes:
        prepared, counts = _prepared(
            kind, section, stores, (tables, overlap_smoothing), hold_out, start_from, device, member
        )
        paths = TrainingPaths(restart, history_csv, tensorboard)
        result = fit(prepared, out_model, paths, progress)
    return counts | {
        "best_step": result.best_step,
        "best_value": result.best_value,
        "steps": result.steps,
        "first": processes.first,
    }


def learning_rate_range(
    kind: str,
    section: Any,
    stores: Sequence[str | os.PathLike[str]],
    out_csv: str | os.PathLike[str],
    low: float,
    high: float,
    *,
    steps: int = 100,
    tables: str | os.PathLike[str] | None = None,
    overlap_smoothing: float = 0.0,
    hold_out: float | None = None,
    start_from: str | os.PathLike[str] | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> float | None:
    """Train for a few steps with a rising learning rate and write the loss at each; no model is kept.

    Parameters
    ----------
    out_csv
        Table ``step, lr, loss, smoothed_loss``.
    low, high
        Rates of the first and of the last of `steps` steps.

    Others as of `train`.

    Returns
    -------
    float or None
        Rate at which the loss falls fastest; None if it never falls.

    Raises
    ------
    InputError
        As of `train`, and for an empty range or several processes.
    """
    from dataclasses import asdict, fields

    from mlepi_core.artefacts import write_csv
    from mlepi_core.training.parallel import launched
    from mlepi_core.training.rate_range import RangePoint, rate_range, suggested_rate

    if launched():
        raise InputError("--lr-range", "runs in one process only", "start it without torchrun")
    overlap = (tables, overlap_smoothing)
    prepared, _ = _prepared(kind, section, stores, overlap, hold_out, start_from, device)
    points = rate_range(prepared.task, prepared.settings, low, high, steps, progress)
    write_csv(out_csv, map(asdict, points), [column.name for column in fields(RangePoint)])
    return suggested_rate(points)


def _prepared(
    kind: str,
    section: Any,
    stores: Sequence[str | os.PathLike[str]],
    overlap: tuple[str | os.PathLike[str] | None, float],
    hold_out: float | None,
    start_from: str | os.PathLike[str] | None,
    device: str,
    member: int = 1,
) -> tuple[Prepared, dict[str, int]]:
    """The training before its first step, and its numbers of structures; `overlap`: see `overlap_tables`."""
    from mlepi_core.labels import Dataset
    from mlepi_core.nn.model_file import load_model
    from mlepi_core.training.selection import some_cells

    if kind not in KINDS:
        raise InputError("kind", f"{kind!r} is unknown", f"use one of {', '.join(KINDS)}")
    Dataset(stores).refuse_unconverged()
    options = {"blocks": kind == "electron", "hold_out": hold_out}
    parts = {split: read_split(stores, split, **options) for split in ("train", "validation")}
    for split, entries in parts.items():
        if not entries:
            wanted = "H and S" if kind == "electron" else "forces"
            if hold_out is not None:
                wanted += f" and an rms force of at most {hold_out:g} eV/Å"
            raise InputError(
                ", ".join(map(str, stores)),
                f"no structures for {split}: no entry of split {split!r} with {wanted}",
                "set `split` of the entries, e.g. with `mlepi convert --split`",
            )
    parts["train"] = some_cells(parts["train"], section.train_cells)
    if start_from is not None:
        load_model(start_from, kind)  # a single model of this kind, no committee
    arguments = {"device": device, "initial": start_from, "seed": section.seed + member - 1}
    counts = {"n_train": len(parts["train"]), "n_validation": len(parts["validation"])}
    if kind == "phonon":
        from mlepi_core.training.phonon import prepare_phonon

        prepared = prepare_phonon(*parts.values(), section, **arguments)
    else:
        from mlepi_core.training.electron import prepare_electron

        known = None if start_from is None else _tables_of(start_from)
        fitted = overlap_tables(stores, *overlap, hold_out=hold_out, known=known)
        prepared = prepare_electron(*parts.values(), section, fitted, **arguments)
    content = replace(prepared.content, sources=_sources(stores, parts))
    return replace(prepared, content=content), counts


def _tables_of(model: str | os.PathLike[str]) -> TwoCentreTables:
    from mlepi_core.nn.hamiltonian import load_hamiltonian_model

    return load_hamiltonian_model(model, device="cpu").overlap


def _sources(
    stores: Sequence[str | os.PathLike[str]], parts: dict[str, list[LabelEntry]]
) -> list[dict[str, Any]]:
    """Of every store that was used: file name, SHA-256 and number of structures used by split."""
    from mlepi_core.labels import Dataset

    paths = {item.name: item.path for item in Dataset(stores).items}
    used: dict[Path, dict[str, int]] = {}
    for split, entries in parts.items():
        for entry in entries:
            splits = used.setdefault(paths[entry.name], dict.fromkeys(parts, 0))
            splits[split] += 1
    return [
        {"file": path.name, "sha256": sha256_file(path), "splits": splits} for path, splits in used.items()
    ]


def read_split(
    stores: Sequence[str | os.PathLike[str]],
    split: str | None,
    *,
    blocks: bool,
    hold_out: float | None = None,
) -> list[LabelEntry]:
    """Converged entries of a split (None: all) that have what is needed, from several stores.

    Parameters
    ----------
    blocks
        True: entries with Hamiltonians, H and S read; False: entries with forces, which may lack energies.
    hold_out
        See `mlepi_core.labels.selection.select`, which also explains the split ``extrapolation``.
    """
    from mlepi_core.labels import Dataset
    from mlepi_core.labels.selection import select

    data = Dataset(stores)
    return [
        entry
        for entry in data.read(select(data, split, hold_out), blocks=blocks)
        if (entry.blocks if blocks else entry.forces) is not None
    ]


def overlap_tables(
    stores: Sequence[str | os.PathLike[str]],
    tables: str | os.PathLike[str] | None,
    smoothing: float = 0.0,
    hold_out: float | None = None,
    known: TwoCentreTables | None = None,
) -> TwoCentreTables:
    """Two-centre tables of S from their file, or fitted to the training entries of the stores.

    Parameters
    ----------
    smoothing
        Of the fit, see `mlepi_core.basis.two_centre_fit.fit_overlap`.
    hold_out
        As of `read_split`.
    known
        Tables that the fit extends: see `mlepi_core.basis.two_centre_fit.fit_overlap`.

    Raises
    ------
    InputError
        If the tables are of another basis than the stores.
    """
    from mlepi_core.basis.two_centre import TwoCentreTables
    from mlepi_core.formats.store import LabelStore
    from mlepi_core.labels.dataset import merge_bases
    from mlepi_core.training.electron_data import common_basis

    bases = []
    for path in stores:
        with LabelStore(path) as store:
            bases.append((str(path), store.basis))
    basis = common_basis(bases)
    if known is not None:
        basis = merge_bases(known.basis, basis, "the model to start from and the label stores")
    if tables is None:
        from mlepi_core.basis.two_centre_fit import fit_overlap
        from mlepi_core.training.electron_data import baseline_sample

        entries = read_split(stores, "train", blocks=True, hold_out=hold_out)
        samples = [baseline_sample(entry) for entry in entries]
        source = ", ".join(Path(path).name for path in stores)
        return fit_overlap(samples, basis, smoothing=smoothing, source=source, known=known)
    loaded = TwoCentreTables.load(tables)
    if loaded.basis != basis:
        raise InputError(
            tables, f"basis {loaded.basis.to_json()} is not that of the stores, {basis.to_json()}"
        )
    return loaded

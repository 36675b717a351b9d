"""Verb `train`: one of the two networks, from label stores to a model file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlepi_core.artefacts import InputError
from mlepi_core.progress import Progress, silent

if TYPE_CHECKING:
    from mlepi_core.basis.two_centre import TwoCentreTables
    from mlepi_core.formats.store import LabelEntry

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
    start_from: str | os.PathLike[str] | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train HedgeNet-Phonon or HedgeNet-Electron for a fixed number of steps.

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
    start_from
        Model file to start from instead of random weights.
    device
        ``auto``, ``cpu`` or ``cuda``.
    progress
        Called with the steps done, their number and the last validation, see `mlepi_core.progress`.

    Returns
    -------
    dict
        ``best_step``, ``best_value`` (validation MAE: meV/Å or meV), ``n_train``, ``n_validation``.

    Raises
    ------
    InputError
        If there is nothing to train on or to validate with, or the stores do not fit together.
    """
    from mlepi_core.labels import Dataset

    if kind not in KINDS:
        raise InputError("kind", f"{kind!r} is unknown", f"use one of {', '.join(KINDS)}")
    Dataset(stores).refuse_unconverged()
    parts = {split: read_split(stores, split, blocks=kind == "electron") for split in ("train", "validation")}
    for split, entries in parts.items():
        if not entries:
            wanted = "H and S" if kind == "electron" else "energy and forces"
            raise InputError(
                ", ".join(map(str, stores)),
                f"no structures for {split}: no entry of split {split!r} with {wanted}",
                "set `split` of the entries, e.g. with `mlepi convert --split`",
            )
    restart = None if restart_dir is None else Path(restart_dir) / f"{Path(out_model).stem}.restart.pt"
    common = {
        "restart": restart,
        "history_csv": history_csv,
        "device": device,
        "progress": progress,
        "initial": start_from,
    }
    if kind == "phonon":
        from mlepi_core.training.phonon import train_phonon

        result = train_phonon(parts["train"], parts["validation"], section, out_model, **common)
    else:
        from mlepi_core.training.electron import train_electron

        overlap = overlap_tables(stores, tables)
        result = train_electron(parts["train"], parts["validation"], section, overlap, out_model, **common)
    return {
        "best_step": result.best_step,
        "best_value": result.best_value,
        "n_train": len(parts["train"]),
        "n_validation": len(parts["validation"]),
    }


def read_split(
    stores: Sequence[str | os.PathLike[str]], split: str | None, *, blocks: bool
) -> list[LabelEntry]:
    """Converged entries of a split (None: all) that have what is needed, from several stores.

    Parameters
    ----------
    blocks
        True: entries with Hamiltonians, H and S read; False: entries with energies and forces.
    """
    from mlepi_core.labels import Dataset

    data = Dataset(stores)
    return [
        entry
        for entry in data.read(data.select(split), blocks=blocks)
        if (entry.blocks is not None if blocks else entry.forces is not None and entry.energy is not None)
    ]


def overlap_tables(
    stores: Sequence[str | os.PathLike[str]], tables: str | os.PathLike[str] | None
) -> TwoCentreTables:
    """Two-centre tables of S from their file, or fitted to the training entries of the stores.

    Raises
    ------
    InputError
        If the tables are of another basis than the stores.
    """
    from mlepi_core.basis.two_centre import TwoCentreTables
    from mlepi_core.formats.store import LabelStore
    from mlepi_core.training.electron import common_basis

    bases = []
    for path in stores:
        with LabelStore(path) as store:
            bases.append((str(path), store.basis))
    basis = common_basis(bases)
    if tables is None:
        from mlepi_core.basis.two_centre_fit import fit_overlap
        from mlepi_core.training.electron import baseline_sample

        samples = [baseline_sample(entry) for entry in read_split(stores, "train", blocks=True)]
        return fit_overlap(samples, basis, source=", ".join(Path(path).name for path in stores))
    loaded = TwoCentreTables.load(tables)
    if loaded.basis != basis:
        raise InputError(
            tables, f"basis {loaded.basis.to_json()} is not that of the stores, {basis.to_json()}"
        )
    return loaded

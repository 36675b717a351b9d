"""Stage `cost`: what a training step of a network costs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlepi_core.artefacts import InputError, write_json


def cost(
    kind: str,
    section: Any,
    stores: Sequence[str | os.PathLike[str]],
    out_json: str | os.PathLike[str],
    *,
    tables: str | os.PathLike[str] | None = None,
    overlap_smoothing: float = 0.0,
    device: str = "cpu",
) -> dict[str, Any]:
    """Parameters, operations, time and memory of a training step on the largest training structure.

    Parameters
    ----------
    kind
        ``phonon`` or ``electron``.
    section
        `training.phonon` or `training.electron` of the configuration.
    stores
        Label stores; the structure is the largest one of split ``train``.
    out_json
        File to write.
    tables, overlap_smoothing
        As of `mlepi_core.stages.train.train`.
    device
        ``auto``, ``cpu`` or ``cuda``.

    Returns
    -------
    dict
        What the file holds: ``parameters`` (trainable), ``flops_forward`` (energies and forces, or the
        Hamiltonian), ``flops_step`` (loss and backward pass; operations as
        `mlepi_core.benchmark.flops.count_flops` counts them), ``step_ms`` (processor time of one thread, on a
        graphics card wall time), ``memory_step_MiB`` (peak above the start), ``n_atoms``, ``threads``.

    Raises
    ------
    InputError
        For an unknown kind, or if no training structure has what the network needs.
    """
    from mlepi_core.benchmark.cost import measured_cost
    from mlepi_core.nn.model_file import resolve_device
    from mlepi_core.stages.train import KINDS, overlap_tables

    if kind not in KINDS:
        raise InputError("kind", f"{kind!r} is unknown", f"use one of {', '.join(KINDS)}")
    with tempfile.TemporaryDirectory() as folder:
        if kind == "electron" and tables is None:
            tables = Path(folder) / "overlap.h5"
            overlap_tables(stores, None, overlap_smoothing).save(tables)
        spec = {
            "kind": kind,
            "section": section.model_dump(mode="json"),
            "stores": [str(path) for path in stores],
            "tables": None if tables is None else str(tables),
            "device": str(resolve_device(device)),
            "threads": 1,
        }
        result = measured_cost(spec) | {"threads": spec["threads"]}
    write_json(out_json, result)
    return result

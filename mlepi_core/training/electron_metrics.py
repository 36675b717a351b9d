"""Errors of Hamiltonians, per structure and overall, beside the trivial baselines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlepi_core.artefacts import InputError
from mlepi_core.formats.blocks import BlockMatrix
from mlepi_core.formats.store import LabelEntry
from mlepi_core.graph import relation_masks
from mlepi_core.nn.hamiltonian import HamiltonianModel

MEV = 1e3


def evaluate_electron(model: HamiltonianModel, entries: Sequence[LabelEntry]) -> dict[str, Any]:
    """Errors of a model on the blocks that the labels have.

    Parameters
    ----------
    model
        Should be float64 (`load_hamiltonian_model`).
    entries
        Converged entries with H and S.

    Returns
    -------
    dict
        ``mae_meV, rmse_meV, mae_intra_meV, mae_inter_meV, mae_onsite_meV, mae_aligned_meV, n_structures``:
        means over all matrix elements, both directed copies and on-site blocks (which count as intra);
        *aligned* after the least-squares mu S over all blocks of a structure. ``structures``: the same per
        structure, with ``name``. ``baselines``: the same for ``zero`` and, with a baseline in the model,
        ``two_centre``.
    """
    kinds: dict[str, Callable[[LabelEntry], np.ndarray]] = {
        "model": lambda entry: model.hamiltonians([entry.atoms], [entry.blocks])[0].hamiltonian,
        "zero": lambda entry: np.zeros_like(entry.blocks.hamiltonian),
    }
    if model.baseline is not None:
        kinds["two_centre"] = lambda entry: model.baseline_entries(entry.atoms, entry.blocks)
    results = {}
    for kind, predict in kinds.items():
        rows = [structure_errors(entry, predict(entry)) for entry in entries]
        results[kind] = _overall(rows) | {"structures": [_row(row) for row in rows]}
    baselines = {kind: result for kind, result in results.items() if kind != "model"}
    return results["model"] | {"baselines": baselines}


def structure_errors(entry: LabelEntry, predicted: np.ndarray) -> dict[str, Any]:
    """Sums of |error| and error² and their weights, per kind of block; errors in eV.

    Raises
    ------
    InputError
        If the entry has no H or S.
    """
    matrix = entry.blocks
    if matrix is None or matrix.hamiltonian is None or matrix.overlap is None:
        raise InputError(entry.name, "has no Hamiltonian or overlap", "evaluate on entries that have them")
    error = predicted - matrix.hamiltonian
    copies, intra, onsite = _weights(entry, matrix)
    mu = np.sum(copies * error * matrix.overlap) / np.sum(copies * matrix.overlap**2)
    aligned = error - mu * matrix.overlap
    masks = {"": np.ones(len(error), dtype=bool), "_intra": intra, "_inter": ~intra, "_onsite": onsite}
    row: dict[str, Any] = {"name": entry.name, "mu": mu}
    for label, mask in masks.items():
        row[f"weight{label}"] = float(copies[mask].sum())
        row[f"absolute{label}"] = float(copies[mask] @ np.abs(error[mask]))
    row["square"] = float(copies @ error**2)
    row["absolute_aligned"], row["weight_aligned"] = float(copies @ np.abs(aligned)), row["weight"]
    return row


def _weights(entry: LabelEntry, matrix: BlockMatrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per entry: 2 for blocks stored once for two directed copies; within a layer; on-site."""
    pairs = matrix.pairs
    onsite = (pairs[:, 0] == pairs[:, 1]) & (pairs[:, 2:] == 0).all(axis=1)
    arrays = entry.atoms.arrays
    intra, _ = relation_masks(pairs[:, 0], pairs[:, 1], pairs[:, 2:], arrays["layer"], arrays.get("winding"))
    sizes = np.diff(matrix.offsets)
    return np.repeat(np.where(onsite, 1.0, 2.0), sizes), np.repeat(intra, sizes), np.repeat(onsite, sizes)


def _overall(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def mean(value: str, weight: str) -> float:
        total = sum(row[weight] for row in rows)
        return MEV * sum(row[value] for row in rows) / total if total else float("nan")

    result = {"mae_meV": mean("absolute", "weight")}
    result["rmse_meV"] = (
        MEV * (sum(row["square"] for row in rows) / sum(row["weight"] for row in rows)) ** 0.5
    )
    for label in ("intra", "inter", "onsite", "aligned"):
        result[f"mae_{label}_meV"] = mean(f"absolute_{label}", f"weight_{label}")
    return result | {"n_structures": len(rows)}


def _row(row: dict[str, Any]) -> dict[str, Any]:
    return {"name": row["name"], "mu_meV": MEV * row["mu"]} | _overall([row])

"""Errors of Hamiltonians, per structure and overall, beside the trivial baselines; their free constant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlepi_core.artefacts import InputError
from mlepi_core.formats.blocks import BlockMatrix
from mlepi_core.formats.spin import diagonal
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
        ``mae_meV, rmse_meV, mae_intra_meV, mae_inter_meV, mae_onsite_meV, mae_aligned_meV, mu_spread_meV,
        n_structures``: means over all matrix elements, of all spin parts, both directed copies and on-site
        blocks (which count as intra), of the modulus where they are complex, None for a kind of block that
        does not occur; *aligned* after the least-squares mu S over all blocks of a structure; the spread is
        the standard deviation of that mu over structures.
        ``structures``: the same per structure, with ``name``, and what `gauge_row` needs.
        ``baselines``: the same for ``zero`` and, with a baseline in the model, ``two_centre``.
    """
    kinds: dict[str, Callable[[LabelEntry], np.ndarray]] = {
        "model": lambda entry: model.hamiltonians([entry.atoms], [entry.blocks])[0].hamiltonian,
        "zero": lambda entry: entry.blocks.empty_hamiltonian(),
    }
    if model.baseline is not None:
        kinds["two_centre"] = lambda entry: baseline_hamiltonian(model, entry)
    results = {}
    for kind, predict in kinds.items():
        rows = [structure_errors(entry, predict(entry)) for entry in entries]
        spread = {"mu_spread_meV": MEV * float(np.std([row["mu"] for row in rows]))}
        results[kind] = _overall(rows) | spread | {"structures": [_row(row) for row in rows]}
    for structure, entry in zip(results["model"]["structures"], entries, strict=True):
        structure |= _label_gauge(entry)
    baselines = {kind: result for kind, result in results.items() if kind != "model"}
    return results["model"] | {"baselines": baselines}


def baseline_hamiltonian(model: HamiltonianModel, entry: LabelEntry) -> np.ndarray:
    """The model's two-centre baseline as entries of H, in the shape that the spin of the entry asks for."""
    blocks = entry.blocks
    empty = blocks.with_values(hamiltonian=blocks.empty_hamiltonian())
    return empty.add_scalar(model.baseline_entries(entry.atoms, blocks)).hamiltonian


def real_parts(entries: np.ndarray) -> np.ndarray:
    """All spin parts of entries (..., M) as one list of real numbers, real before imaginary parts."""
    parts = [entries.real, entries.imag] if np.iscomplexobj(entries) else [entries]
    return np.concatenate([part.reshape(-1) for part in parts])


def structure_errors(entry: LabelEntry, predicted: np.ndarray) -> dict[str, Any]:
    """Sums of |error| and error² and their weights, per kind of block; errors in eV.

    Raises
    ------
    InputError
        If the entry has no H or S.
    """
    matrix = _complete(entry)
    difference = matrix.with_values(hamiltonian=predicted - matrix.hamiltonian)
    copies, intra, onsite = _weights(entry, matrix)
    mu = _constant(difference, copies)
    error, aligned = difference.hamiltonian, difference.add_scalar(-mu * matrix.overlap).hamiltonian
    absolute, square = _over_spin(np.abs(error)), _over_spin(np.abs(error) ** 2)
    parts = error.size // error.shape[-1]
    masks = {"": np.ones_like(intra), "_intra": intra, "_inter": ~intra, "_onsite": onsite}
    row: dict[str, Any] = {"name": entry.name, "mu": mu, "mu_onsite": _constant(difference, copies * onsite)}
    for label, mask in masks.items():
        row[f"weight{label}"] = parts * float(copies[mask].sum())
        row[f"absolute{label}"] = float(copies[mask] @ absolute[mask])
    row["square"] = float(copies @ square)
    row["absolute_aligned"] = float(copies @ _over_spin(np.abs(aligned)))
    row["weight_aligned"] = row["weight"]
    return row


def gauge_row(structure: dict[str, Any]) -> dict[str, Any]:
    """Row of the gauge table from one of the ``structures`` of `evaluate_electron`.

    H and H + mu S describe the same physics. ``mu_onsite_eV`` and ``mu_all_eV`` are <H, S> / <S, S> of the
    label over on-site and over all blocks; ``error_mu_onsite_meV`` and ``error_mu_all_meV`` the same of
    predicted minus true H.
    """
    return {
        "structure": structure["name"],
        "fermi_level_eV": structure["fermi_level_eV"],
        "mu_onsite_eV": structure["label_mu_onsite_eV"],
        "mu_all_eV": structure["label_mu_all_eV"],
        "error_mu_onsite_meV": structure["mu_onsite_meV"],
        "error_mu_all_meV": structure["mu_meV"],
        "mae_meV": structure["mae_meV"],
        "mae_aligned_meV": structure["mae_aligned_meV"],
    }


def _complete(entry: LabelEntry) -> BlockMatrix:
    matrix = entry.blocks
    if matrix is None or matrix.hamiltonian is None or matrix.overlap is None:
        raise InputError(entry.name, "has no Hamiltonian or overlap", "evaluate on entries that have them")
    return matrix


def _label_gauge(entry: LabelEntry) -> dict[str, float | None]:
    matrix = _complete(entry)
    copies, _, onsite = _weights(entry, matrix)
    return {
        "fermi_level_eV": entry.fermi_level,
        "label_mu_onsite_eV": _constant(matrix, copies * onsite),
        "label_mu_all_eV": _constant(matrix, copies),
    }


def _constant(matrix: BlockMatrix, weights: np.ndarray) -> float:
    """Least-squares mu of H = mu S with weights (M,) of the entries, eV."""
    parts = diagonal(matrix.hamiltonian, matrix.spin)
    overlap = weights * matrix.overlap
    return float(sum(np.real(part) @ overlap for part in parts) / (len(parts) * (overlap @ matrix.overlap)))


def _over_spin(values: np.ndarray) -> np.ndarray:
    """Sum over the spin parts (M,)."""
    return values.reshape(-1, values.shape[-1]).sum(axis=0)


def _weights(entry: LabelEntry, matrix: BlockMatrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per entry: 2 for blocks stored once for two directed copies; within a layer; on-site."""
    pairs = matrix.pairs
    onsite = (pairs[:, 0] == pairs[:, 1]) & (pairs[:, 2:] == 0).all(axis=1)
    arrays = entry.atoms.arrays
    intra, _ = relation_masks(pairs[:, 0], pairs[:, 1], pairs[:, 2:], arrays["layer"], arrays.get("winding"))
    sizes = np.diff(matrix.offsets)
    return np.repeat(np.where(onsite, 1.0, 2.0), sizes), np.repeat(intra, sizes), np.repeat(onsite, sizes)


def _overall(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def mean(value: str, weight: str) -> float | None:
        total = sum(row[weight] for row in rows)
        return MEV * sum(row[value] for row in rows) / total if total else None

    result = {"mae_meV": mean("absolute", "weight")}
    result["rmse_meV"] = (
        MEV * (sum(row["square"] for row in rows) / sum(row["weight"] for row in rows)) ** 0.5
    )
    for label in ("intra", "inter", "onsite", "aligned"):
        result[f"mae_{label}_meV"] = mean(f"absolute_{label}", f"weight_{label}")
    return result | {"n_structures": len(rows)}


def _row(row: dict[str, Any]) -> dict[str, Any]:
    shifts = {"mu_meV": MEV * row["mu"], "mu_onsite_meV": MEV * row["mu_onsite"]}
    return {"name": row["name"]} | shifts | _overall([row])

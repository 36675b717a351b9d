"""Errors of the phonon net, per structure and overall, beside the trivial baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from mlepi_core.artefacts import InputError
from mlepi_core.formats.store import LabelEntry
from mlepi_core.nn.phonon import PhononNet
from mlepi_core.nn.phonon_graph import PhononGraph, build_graph, collate

__all__ = [
    "centred_forces",
    "energy_force_errors",
    "error_row",
    "evaluate_phonon",
    "labelled_graph",
    "predict_graphs",
]

_ATOMS_PER_BATCH = 512


def centred_forces(forces: np.ndarray) -> np.ndarray:
    """Forces (N, 3) without their mean: DFT's net force is noise of its real-space grid."""
    return forces - forces.mean(axis=0)


def labelled_graph(entry: LabelEntry, species: Sequence[int], cutoffs: Mapping[str, float]) -> PhononGraph:
    """Graph of a store entry with energy (eV; NaN if it has none) and centred forces (eV/Å).

    Raises
    ------
    InputError
        If the entry has no forces, or an element outside `species`.
    """
    if entry.forces is None:
        raise InputError(entry.name, "has no forces", "take it out of the selection")
    graph = build_graph(entry.atoms, species, cutoffs, where=entry.name)
    graph.energy = np.nan if entry.energy is None else entry.energy
    graph.forces = centred_forces(entry.forces)
    return graph


def predict_graphs(model: PhononNet, graphs: Sequence[PhononGraph]) -> list[tuple[float, np.ndarray]]:
    """Energy without E0 (eV) and forces (N, 3) eV/Å of every graph, batched, in the model's precision."""
    results: list[tuple[float, np.ndarray]] = []
    first = 0
    while first < len(graphs):
        last, atoms = first, 0
        while last < len(graphs) and (last == first or atoms + len(graphs[last].species) <= _ATOMS_PER_BATCH):
            atoms += len(graphs[last].species)
            last += 1
        part = graphs[first:last]
        energies, forces = model(collate(part, model.dtype, model.scale.device))
        split = torch.split(forces.detach().cpu(), [len(graph.species) for graph in part])
        results += [(energy, force.numpy()) for energy, force in zip(energies.tolist(), split, strict=True)]
        first = last
    return results


def energy_force_errors(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Errors from per-structure rows: mean over structures (energy) and over components (forces).

    Structures without a labelled energy do not count in its error, which is left out if none has one.
    """
    components = np.array([row["n_atoms"] for row in rows], dtype=float)
    mean = np.average([row["force_mae_meV_per_A"] for row in rows], weights=components)
    square = np.average([row["force_rmse_meV_per_A"] ** 2 for row in rows], weights=components)
    label = np.average([row["force_label_rms_meV_per_A"] ** 2 for row in rows], weights=components)
    energies = [row["energy_error_meV_per_atom"] for row in rows if "energy_error_meV_per_atom" in row]
    energy = {"energy_mae_meV_per_atom": float(np.mean(np.abs(energies)))} if energies else {}
    return energy | {
        "force_mae_meV_per_A": float(mean),
        "force_rmse_meV_per_A": float(np.sqrt(square)),
        "force_rms_meV_per_A": float(np.sqrt(label)),
        "n_structures": len(rows),
    }


def evaluate_phonon(model: PhononNet, entries: Sequence[LabelEntry]) -> dict[str, Any]:
    """Errors on labelled structures.

    Parameters
    ----------
    model
        Should be float64 (`load_phonon_net`).
    entries
        With forces, and energies where they are known; the labels' mean force is subtracted per structure.

    Returns
    -------
    dict
        Keys of `energy_force_errors` (`force_rms_meV_per_A` is the rms of the labels), `structures` (a row
        per entry) and `baselines`: ``zero`` (no force, energy E0) and ``mean`` (energy: mean
        of these entries).
    """
    if not entries:
        raise InputError("evaluate", "no structures are selected", "check --split and the store")
    graphs = [labelled_graph(entry, model.species, model.cutoffs) for entry in entries]
    e0 = model.e0.double().cpu().numpy()
    labels = [
        (energy - float(e0[graph.species].sum()), forces)
        for graph, (energy, forces) in ((graph, graph.labels()) for graph in graphs)
    ]
    rows = [
        error_row(entry.name, predicted, label)
        for entry, predicted, label in zip(entries, predict_graphs(model, graphs), labels, strict=True)
    ]
    known = [energy / len(forces) for energy, forces in labels if not np.isnan(energy)]
    mean = float(np.mean(known)) if known else 0.0
    baselines = {
        name: energy_force_errors(
            [error_row("", (level * len(f), np.zeros_like(f)), (e, f)) for e, f in labels]
        )
        for name, level in (("zero", 0.0), ("mean", mean))
    }
    return energy_force_errors(rows) | {"structures": rows, "baselines": baselines}


def error_row(
    name: str, predicted: tuple[float, np.ndarray], label: tuple[float, np.ndarray]
) -> dict[str, Any]:
    """Errors of one structure from (energy, forces) predicted and labelled, both without E0.

    That of the energy is left out if the label is NaN.
    """
    n_atoms = len(label[1])
    error = predicted[1] - label[1]
    energy_error = 1e3 * (predicted[0] - label[0]) / n_atoms
    known = {} if np.isnan(energy_error) else {"energy_error_meV_per_atom": energy_error}
    return known | {
        "name": name,
        "n_atoms": n_atoms,
        "force_mae_meV_per_A": 1e3 * float(np.abs(error).mean()),
        "force_rmse_meV_per_A": 1e3 * float(np.sqrt((error**2).mean())),
        "force_label_rms_meV_per_A": 1e3 * float(np.sqrt((label[1] ** 2).mean())),
    }

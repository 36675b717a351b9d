"""Spread of a committee's energies and forces: what its members disagree about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mlepi_core.formats.store import LabelEntry
from mlepi_core.nn.phonon_committee import PhononCommittee
from mlepi_core.nn.phonon_graph import PhononBatch, collate
from mlepi_core.training.phonon_metrics import labelled_graph

__all__ = ["PhononSpread", "force_spreads", "forces_with_spread", "phonon_spread"]


@dataclass(frozen=True)
class PhononSpread:
    """Mean and sample standard deviation over the members, for the structures of a batch.

    Attributes
    ----------
    energy, energy_spread
        (G,), eV, atomic energies included.
    forces, forces_spread
        (N, 3), eV/Å.
    """

    energy: np.ndarray
    energy_spread: np.ndarray
    forces: np.ndarray
    forces_spread: np.ndarray


def phonon_spread(model: PhononCommittee, batch: PhononBatch) -> PhononSpread:
    """Predictions of a committee of at least two members with their spread."""
    interaction, forces = model.members_forward(batch)
    energies = model.members_energies(batch, interaction)
    return PhononSpread(*_mean_and_deviation(energies), *_mean_and_deviation(forces))


def forces_with_spread(
    model: PhononCommittee, entry: LabelEntry
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labelled (less their mean), mean predicted forces and their spread, each (N, 3) in eV/Å."""
    graph = labelled_graph(entry, model.species, model.cutoffs)
    found = phonon_spread(model, collate([graph], model.dtype, model.scale.device))
    return graph.labels()[1], found.forces, found.forces_spread


def force_spreads(model: PhononCommittee, entries: Sequence[LabelEntry]) -> list[tuple[float, float]]:
    """Rms spread of the force components of each entry, eV/Å, and the number of its atoms."""
    spreads = (forces_with_spread(model, entry)[2] for entry in entries)
    return [(float(np.sqrt(np.mean(spread**2))), float(len(spread))) for spread in spreads]


def _mean_and_deviation(values: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Over the first axis; members that agree deviate by exactly zero."""
    differences = values - values[0]
    mean = values[0] + differences.mean(0)
    return mean.detach().cpu().numpy(), differences.std(0, correction=1).detach().cpu().numpy()

"""Small structures and nets that the tests of the phonon net share."""

from __future__ import annotations

import numpy as np
import torch
from ase import Atoms

from mlepi_core.nn.phonon import PhononArchitecture, PhononNet, PhononStatistics
from mlepi_core.nn.phonon_graph import build_graph, collate

LATTICE = 2.474


def bilayer(
    size: int = 2, distance: float = 3.2, rattle: float = 0.05, seed: int = 0, n_layers: int = 2
) -> Atoms:
    """Rattled AB bilayer (or its lower layer), 4 size^2 atoms, labelled."""
    cell = np.array([[LATTICE, 0, 0], [-LATTICE / 2, LATTICE * np.sqrt(3) / 2, 0], [0, 0, 20.0]])
    fractions = [(0, 0), (1 / 3, 2 / 3), (1 / 3, 2 / 3), (2 / 3, 1 / 3)][: 2 * n_layers]
    positions = [np.array([*f, 0]) @ cell + [0, 0, 5 + distance * (k // 2)] for k, f in enumerate(fractions)]
    atoms = Atoms("C" * len(fractions), positions=positions, cell=cell, pbc=(True, True, True))
    atoms.arrays["layer"] = np.arange(len(fractions)) // 2
    atoms = atoms.repeat((size, size, 1))
    atoms.positions += np.random.default_rng(seed).normal(scale=rattle, size=atoms.positions.shape)
    return atoms


def net(seed: int = 0, species: tuple[int, ...] = (6,), **changes: object) -> PhononNet:
    """Random float64 net of small width."""
    settings = {"channels": 4, "cutoff_intra": 3.2, "cutoff_inter": 4.5, "radial_hidden": (8,)} | changes
    torch.manual_seed(seed)
    model = PhononNet(species, PhononArchitecture(**settings))
    model.set_statistics(
        PhononStatistics(
            {"intra": 9.0, "inter": 12.0, "all": 30.0}, scale=2.0, e0=[-1.0 - k for k in range(len(species))]
        )
    )
    return model


def energy_forces(model: PhononNet, atoms: Atoms) -> tuple[float, np.ndarray]:
    """Interaction energy (eV) and forces (eV/Å)."""
    energy, forces = model(collate([build_graph(atoms, model.species, model.cutoffs)], torch.float64))
    return float(energy[0]), forces.numpy()

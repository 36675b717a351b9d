"""Graphene whose H and S follow from the positions: the synthetic Hamiltonian of these tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms

from mlepi_core.formats.blocks import BlockMatrix, is_canonical
from mlepi_core.structures import neighbour_pairs

RAW = Path(__file__).resolve().parents[2] / "resources" / "openmx-raw"
LATTICE_CONSTANT = 2.474
HOPPING, DECAY, BOND = 2.7, 2.37, LATTICE_CONSTANT / np.sqrt(3)
CONE = np.sqrt(3) / 2 * LATTICE_CONSTANT * HOPPING
"""hbar v of the ideal layer with S = 1, eV Å."""


def tight_binding(atoms: Atoms, overlap: float = 0.0, cutoff: float = 1.9) -> BlockMatrix:
    """One orbital per atom: t = -2.7 eV exp(-2.37 (d/b - 1)), S = overlap x the same exponential."""
    i, j, shift = neighbour_pairs(atoms.positions, atoms.cell, atoms.pbc, cutoff)[:3]
    vector = atoms.positions[j] + shift @ np.asarray(atoms.cell) - atoms.positions[i]
    decay = np.exp(-DECAY * (np.linalg.norm(vector, axis=1) / BOND - 1))
    n = len(atoms)
    own = np.zeros((n, 5), dtype=int)
    own[:, 0] = own[:, 1] = np.arange(n)
    pairs = np.concatenate([own, np.column_stack([i, j, shift])])
    h = np.concatenate([np.full(n, 0.1), -HOPPING * decay])
    s = np.concatenate([np.ones(n), overlap * decay])
    order = np.lexsort(pairs.T[::-1])
    chosen = order[is_canonical(pairs[order])]
    blank = BlockMatrix(
        numbers=atoms.numbers,
        counts=np.ones(n, dtype=np.int64),
        pairs=pairs[chosen].astype(np.int32),
        offsets=np.arange(len(chosen) + 1),
    )
    return blank.with_values(h[chosen], s[chosen])


def displaced(atoms: Atoms, sigma: float, seed: int, sign: int = 1) -> Atoms:
    """Copy with in-plane Gaussian displacements of `sigma` Å; `sign` -1 gives the antithetic partner."""
    moved = atoms.copy()
    noise = np.random.default_rng(seed).normal(size=(len(atoms), 3)) * [sigma, sigma, 0]
    moved.positions += sign * (noise - noise.mean(axis=0))
    return moved

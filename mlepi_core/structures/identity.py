"""Identity of a structure: the hash by which artefacts of different references are told apart."""

from __future__ import annotations

import hashlib

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

_STEP = 1e-4 * np.sqrt(2.0)
"""Å; grid of the hash, incommensurate with decimal fractions: round numbers do not lie on its edges."""
_FILE_DECIMALS = 8
"""Decimals of positions in extxyz files."""


def structure_hash(atoms: Atoms) -> str:
    """16 hexadecimal digits of the SHA-256 over cell, pbc, species, positions and layers.

    Lengths are rounded to 8 decimals (what an extxyz file keeps, so writing and reading a structure
    does not change its hash) and then to a grid of 1.4e-4 Å. Noise of 1e-9 Å per coordinate changes
    the hash only if a coordinate lies that close to an edge of the grid: a chance of about
    n_coordinates × 1e-5, which no rounding can avoid. Stages therefore pass reference structures on as
    files and never rebuild them.

    Absent labels count as one layer. Order of the atoms, the choice of periodic images and the
    origin are part of the identity: force constants and Hamiltonians depend on them.
    """
    parts = [
        np.asarray(atoms.numbers, dtype="<i4"),
        np.asarray(atoms.pbc, dtype="<i4"),
        _on_grid(atoms.cell.array),
        _on_grid(atoms.get_positions()),
        np.asarray(atoms.arrays.get("layer", np.zeros(len(atoms))), dtype="<i4"),
    ]
    if "winding" in atoms.arrays and atoms.arrays["winding"].any():
        parts.append(np.asarray(atoms.arrays["winding"], dtype="<i4"))
    digest = hashlib.sha256(b"mlepi-structure-1")
    for part in parts:
        digest.update(str(part.shape).encode())
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:16]


def _on_grid(lengths: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.floor(np.round(lengths, _FILE_DECIMALS) / _STEP + 0.5).astype("<i8")

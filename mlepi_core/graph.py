"""Graphs over atoms: neighbour pairs and the intra/inter relations of layered structures."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from mlepi_core.artefacts import InputError
from mlepi_core.structures.neighbours import neighbour_pairs, pair_vectors

__all__ = ["atoms_pairs", "neighbour_pairs", "pair_vectors", "relation_masks", "reverse_index"]

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


def atoms_pairs(atoms: Atoms, cutoff: float) -> tuple[IntArray, IntArray, IntArray]:
    """`neighbour_pairs` of an ASE structure: i (E,), j (E,), R (E, 3); `cutoff` in Å."""
    return neighbour_pairs(atoms.get_positions(), atoms.cell.array, atoms.pbc, cutoff)


def relation_masks(
    i: ArrayLike, j: ArrayLike, R: ArrayLike, layer: ArrayLike, winding: ArrayLike | None = None
) -> tuple[BoolArray, BoolArray]:
    """Intra- and inter-layer masks over a list of pairs; self pairs are intra.

    A pair is intra if the labels are equal and R_c + n_j - n_i = 0: in a bulk stack
    the same label appears in the images above and below, and those are other layers.

    Parameters
    ----------
    i, j, R
        Pairs, (E,), (E,), (E, 3).
    layer
        (N,) layer labels.
    winding
        (N,) offsets n along the third lattice vector; absent means zero.

    Returns
    -------
    intra, inter
        (E,) bool each; one is the complement of the other.
    """
    i, j, labels = np.asarray(i), np.asarray(j), np.asarray(layer)
    out_of_plane = np.asarray(R).reshape(-1, 3)[:, 2]
    if winding is not None:
        offsets = np.asarray(winding)
        if offsets.shape != labels.shape:
            raise InputError("winding", f"shape {offsets.shape}, but layer has {labels.shape}")
        out_of_plane = out_of_plane + offsets[j] - offsets[i]
    intra = (labels[i] == labels[j]) & (out_of_plane == 0)
    return intra, ~intra


def reverse_index(i: ArrayLike, j: ArrayLike, R: ArrayLike) -> IntArray:
    """Position of (j, i, -R) in the list for every (i, j, R), (E,).

    Raises
    ------
    InputError
        If the list holds a pair twice or lacks the reverse of one.
    """
    pairs = np.column_stack([np.asarray(i), np.asarray(j), np.asarray(R).reshape(-1, 3)])
    reverse = np.column_stack([pairs[:, 1], pairs[:, 0], -pairs[:, 2:]])
    order = np.lexsort(pairs.T[::-1])
    reverse_order = np.lexsort(reverse.T[::-1])
    ordered = pairs[order]
    if len(pairs) and not np.array_equal(ordered, reverse[reverse_order]):
        raise InputError("pairs", "a pair (i, j, R) has no partner (j, i, -R)")
    if (ordered[1:] == ordered[:-1]).all(axis=1).any():
        raise InputError("pairs", "a pair (i, j, R) occurs twice")
    partner = np.empty(len(pairs), dtype=np.int64)
    partner[reverse_order] = order
    return partner

"""Supercells of a Hamiltonian: the same matrix, written for a repeated cell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from mlepi_core.formats.blocks import BlockMatrix, block_offsets, is_canonical
from mlepi_core.structures.lattice import lattice_points, supercell_matrix


def repeat_blocks(blocks: BlockMatrix, size: ArrayLike) -> BlockMatrix:
    """H and S of an ideal supercell from those of the small cell; its bands are the folded ones, exactly.

    Parameters
    ----------
    blocks
        Matrix of the small cell.
    size
        n, (n1, n2), (n1, n2, n3) or an integer matrix, as for `mlepi_core.structures.build_supercell`.

    Returns
    -------
    BlockMatrix
        Atoms in the order of `build_supercell`: by atom of the small cell, then by cell.
    """
    matrix = supercell_matrix(size)
    cells = lattice_points(matrix)
    both = blocks.directed()
    target = cells[:, None, :] + both.pairs[None, :, 2:]
    shift = _supercell_of(target, matrix)
    image = _index_of(target - shift @ matrix, cells)
    pairs = np.empty((len(cells), len(both.pairs), 5), dtype=np.int64)
    pairs[..., 0] = both.pairs[:, 0] * len(cells) + np.arange(len(cells))[:, None]
    pairs[..., 1] = both.pairs[:, 1] * len(cells) + image
    pairs[..., 2:] = shift
    pairs = pairs.reshape(-1, 5)
    source = np.tile(np.arange(len(both.pairs)), len(cells))
    keep = np.flatnonzero(is_canonical(pairs))
    order = keep[np.lexsort(pairs[keep].T[::-1])]
    return _gather(both, pairs[order], source[order], len(cells))


def _supercell_of(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Vector of the supercell's lattice, in its own units, whose cell holds each point (…, 3); exact."""
    determinant = round(np.linalg.det(matrix))
    adjugate = np.round(np.linalg.inv(matrix) * determinant).astype(np.int64)
    return np.floor_divide(points @ adjugate * np.sign(determinant), abs(determinant))


def _index_of(points: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Row of `cells` (C, 3) that equals each point (…, 3)."""
    low = cells.min(axis=0)
    table = np.full(cells.max(axis=0) - low + 1, -1, dtype=np.int64)
    table[tuple((cells - low).T)] = np.arange(len(cells))
    return table[tuple(np.moveaxis(points - low, -1, 0))]


def _gather(source: BlockMatrix, pairs: np.ndarray, origin: np.ndarray, n_cells: int) -> BlockMatrix:
    """Matrix of `n_cells` cells whose pair p holds block origin[p] of `source`."""
    counts = np.repeat(source.counts, n_cells)
    offsets = block_offsets(counts, pairs)
    index = np.repeat(source.offsets[origin] - offsets[:-1], np.diff(offsets)) + np.arange(offsets[-1])
    values = {
        name: entries[..., index]
        for name in ("hamiltonian", "overlap")
        if (entries := getattr(source, name)) is not None
    }
    numbers = np.repeat(source.numbers, n_cells)
    empty = BlockMatrix(numbers, counts, pairs.astype(np.int32), offsets, spin=source.spin)
    return replace(empty, **values)

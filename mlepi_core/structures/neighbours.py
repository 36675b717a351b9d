"""Periodic pairs within a cut-off: one vectorised search with a KD-tree over image atoms."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase.geometry import complete_cell
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from mlepi_core.artefacts import InputError

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

_SLACK = 1e-6
"""Extra radius (Å) of the tree search; the exact criterion is applied to the pairs that it finds."""


def neighbour_pairs(
    positions: ArrayLike, cell: ArrayLike, pbc: Any, cutoff: float
) -> tuple[IntArray, IntArray, IntArray]:
    """All directed pairs (i, j, R) with |x_j + R·L - x_i| < `cutoff`, without i = j at R = 0.

    The list is closed under (i, j, R) → (j, i, -R), sorted by (i, j, R), and the same for every
    choice of periodic image: R refers to the positions as given, which need not lie in the cell.
    The cut-off may exceed the cell; an atom is then paired with its own images.

    Parameters
    ----------
    positions
        (N, 3) Å.
    cell
        (3, 3) Å, lattice vectors L as rows; rows of non-periodic directions may be zero.
    pbc
        One bool or three.
    cutoff
        Å, the same for all pairs.

    Returns
    -------
    i, j
        (E,) int64.
    R
        (E, 3) int64.

    Raises
    ------
    InputError
        For positions that are not finite, a periodic direction without a lattice vector or a
        cut-off that is not positive.
    """
    positions = np.asarray(positions, dtype=np.float64).reshape(-1, 3)
    periodic = np.broadcast_to(np.asarray(pbc, dtype=bool), (3,))
    lattice = _checked_lattice(positions, np.asarray(cell, dtype=np.float64), periodic, cutoff)
    n_atoms = len(positions)
    if n_atoms == 0:
        empty = np.empty(0, dtype=np.int64)
        return empty, empty.copy(), np.empty((0, 3), dtype=np.int64)

    fractional = positions @ np.linalg.inv(lattice)
    home_shift = np.where(periodic, np.floor(fractional), 0.0)
    home = fractional - home_shift
    index, image = _images(home, lattice, periodic, cutoff + _SLACK)
    table = cKDTree(home @ lattice).sparse_distance_matrix(
        cKDTree((home[index] + image) @ lattice), cutoff + _SLACK, output_type="ndarray"
    )
    i, ghost = table["i"].astype(np.int64), table["j"]
    j = index[ghost]
    shift = home_shift.astype(np.int64)
    R = image[ghost] - shift[j] + shift[i]

    vectors = pair_vectors(positions, lattice, i, j, R)
    keep = np.einsum("ex,ex->e", vectors, vectors) < cutoff * cutoff
    keep &= (i != j) | R.any(axis=1)
    i, j, R = i[keep], j[keep], R[keep]
    order = np.argsort(_sort_key(i, j, R, n_atoms), kind="stable")
    return i[order], j[order], R[order]


def pair_vectors(
    positions: ArrayLike, cell: ArrayLike, i: ArrayLike, j: ArrayLike, R: ArrayLike
) -> FloatArray:
    """Vectors x_j + R·L - x_i, (E, 3) Å; exactly antisymmetric under (i, j, R) → (j, i, -R).

    The lattice part is summed term by term rather than by a matrix product, whose order of
    operations may differ between rows, so that both copies of a pair have the same length.
    """
    x = np.asarray(positions, dtype=np.float64)
    lattice = np.asarray(cell, dtype=np.float64)
    R = np.asarray(R, dtype=np.float64)
    shift = R[:, 0:1] * lattice[0] + R[:, 1:2] * lattice[1] + R[:, 2:3] * lattice[2]
    return (x[j] - x[i]) + shift


def _checked_lattice(
    positions: FloatArray, cell: FloatArray, periodic: NDArray[np.bool_], cutoff: float
) -> FloatArray:
    if not np.isfinite(positions).all():
        atom = int(np.argwhere(~np.isfinite(positions))[0, 0])
        raise InputError("positions", f"atom {atom} has a coordinate that is not finite")
    if not cutoff > 0.0 or not np.isfinite(cutoff):
        raise InputError("cutoff", f"{cutoff} Å", "give a positive distance in Å")
    if not np.isfinite(cell).all():
        raise InputError("cell", "a component is not finite")
    if (periodic & ~cell.any(axis=1)).any():
        raise InputError("cell", "a periodic direction has no lattice vector", "set the cell or pbc")
    lattice = np.asarray(complete_cell(cell), dtype=np.float64)
    if abs(np.linalg.det(lattice)) < 1e-9:
        raise InputError("cell", "the lattice vectors are linearly dependent")
    return lattice


def _images(
    home: FloatArray, lattice: FloatArray, periodic: NDArray[np.bool_], reach: float
) -> tuple[IntArray, IntArray]:
    """Atoms and images that can lie within `reach` of the home cell: (G,), (G, 3)."""
    index = np.arange(len(home), dtype=np.int64)
    image = np.zeros((len(home), 3), dtype=np.int64)
    margins = reach * np.linalg.norm(np.linalg.inv(lattice), axis=0)
    for axis in np.flatnonzero(periodic):
        margin = margins[axis]
        count = int(np.ceil(margin))
        for_each = np.arange(-count, count + 1, dtype=np.int64)
        copies = np.repeat(for_each, len(index))
        index, image = np.tile(index, len(for_each)), np.tile(image, (len(for_each), 1))
        image[:, axis] = copies
        coordinate = home[index, axis] + copies
        keep = (coordinate >= -margin) & (coordinate <= 1.0 + margin)
        index, image = index[keep], image[keep]
    return index, image


def _sort_key(i: IntArray, j: IntArray, R: IntArray, n_atoms: int) -> IntArray:
    """One integer per pair that orders like (i, j, R0, R1, R2): faster than a five-key sort."""
    key = i * n_atoms + j
    for axis in range(3):
        component = R[:, axis]
        low = component.min(initial=0)
        key = key * (component.max(initial=0) - low + 1) + (component - low)
    return key

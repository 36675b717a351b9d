"""dH/du and dS/du of single atoms from displaced supercells, and their superposition to any pattern.

A pair of cells with one atom displaced by +u and -u gives the derivative along u. The operations that leave
the atom and the ideal structure in place turn it into derivatives along other directions, and lattice
translations carry it to every other atom of the same kind. What a supercell adds to the response of one atom,
its periodic images, is undone by giving every block to the nearest image: exact for patterns that repeat with
the supercell, and for others as far as the response has decayed within it, as for force constants
(K. Parlinski, Z. Q. Li, Y. Kawazoe, Phys. Rev. Lett. 78, 4063 (1997), doi:10.1103/PhysRevLett.78.4063).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from ase import Atoms

from mlepi_core.artefacts import InputError
from mlepi_core.basis.rotations import permuted_rotation, wigner_matrices_numpy
from mlepi_core.formats.blocks import BlockMatrix, block_offsets, from_directed
from mlepi_core.structures.lattice import build_supercell, plane_normal, supercell_map

__all__ = ["AtomResponse", "Displaced", "atom_response", "ideal_blocks", "primitive_cell", "superpose"]

Values = dict[str, np.ndarray]
_FIELDS = ("hamiltonian", "overlap")
_TOLERANCE = 1e-2  # Å, of a place to the ideal site
_TIE = 1e-3  # Å, images as near as this share a block
# Columns of a pair of sites: atom and cell (3) of the row, atom and cell (3) of the column.
_ROW, _COLUMN = slice(1, 4), slice(5, 8)


@dataclass(frozen=True)
class Displaced:
    """H and S of a supercell with `atom` moved by `displacement` (3,) Å, and by the opposite."""

    atom: int
    displacement: np.ndarray
    plus: BlockMatrix
    minus: BlockMatrix


@dataclass(frozen=True)
class AtomResponse:
    """Derivatives with respect to the position of one atom in an otherwise ideal infinite structure.

    Parameters
    ----------
    sites
        (P, 8) int: atom of the primitive cell and its cell, of row and column; the displaced atom lies in
        cell 0.
    values
        "hamiltonian" and "overlap": (3, P, n, n) Cartesian derivatives of the directed blocks, eV/Å and 1/Å.
    asymmetry
        Norm of what the symmetry of the site does not explain in dH over the norm of dH, 1.
    """

    sites: np.ndarray
    values: Values
    asymmetry: float


def primitive_cell(supercell: Atoms, cells: int) -> Atoms:
    """Primitive cell of an ideal supercell of `cells` x `cells` x 1, atoms in their order there."""
    lattice = supercell.cell.array / [[cells], [cells], [1]]
    fractional = supercell.positions @ np.linalg.inv(lattice)
    chosen: list[int] = []
    for k, place in enumerate(fractional):
        steps = fractional[chosen] - place
        steps[:, :2] -= np.round(steps[:, :2])
        if not (np.linalg.norm(steps @ lattice, axis=1) < _TOLERANCE).any():
            chosen.append(k)
    primitive = supercell[chosen]
    primitive.set_cell(lattice)
    return primitive


def ideal_blocks(primitive: Atoms, supercell: Atoms, matrices: Sequence[BlockMatrix]) -> BlockMatrix:
    """H and S of the primitive cell: mean over the translations of (displaced) supercells.

    Of opposite displacements u of one atom it is the ideal matrix up to second order in u, divided by the
    number of primitive cells.

    Parameters
    ----------
    primitive, supercell
        Ideal structures of one origin.
    matrices
        H and S of the supercell with opposite displacements.
    """
    parts = [_site_blocks(primitive, supercell, matrix) for matrix in matrices]
    sites = np.concatenate([part[0] for part in parts])
    pairs = np.column_stack([sites[:, 0], sites[:, 4], sites[:, _COLUMN] - sites[:, _ROW]])
    values = {name: np.concatenate([part[1][name] for part in parts]) for name in _FIELDS}
    pairs, values = _summed(pairs, values)
    copies = len(matrices) * len(supercell) // len(primitive)
    return _block_matrix(primitive, pairs, {name: blocks / copies for name, blocks in values.items()})


def atom_response(
    primitive: Atoms, supercell: Atoms, displaced: Displaced, shells: Sequence[int]
) -> AtomResponse:
    """Derivatives along x, y and z from one pair of displaced cells.

    Parameters
    ----------
    primitive, supercell
        Ideal structures of one origin.
    shells
        Degrees of the shells of every atom: one species.

    Raises
    ------
    InputError
        If the operations that keep the atom in place do not turn the displacement into three independent
        directions.
    """
    sites, values = _central_difference(primitive, supercell, displaced)
    centre = primitive.positions[supercell_map(supercell, primitive).kappa[displaced.atom]]
    sites, values = _nearest_image(primitive, supercell, sites, values, centre)
    operations = _site_symmetries(primitive, centre)
    directions = np.array([operation @ displaced.displacement for operation in operations])
    if np.linalg.matrix_rank(directions, tol=1e-3 * np.linalg.norm(displaced.displacement)) < 3:
        raise InputError(
            "displaced cells",
            f"the displacement of atom {displaced.atom} and the symmetry of its site do not span space",
            "displace it along a direction with components in the plane and along the normal",
        )
    turned = [_rotated(primitive, centre, sites, operation) for operation in operations]
    keys, index = np.unique(np.concatenate(turned), axis=0, return_inverse=True)
    index = index.reshape(len(operations), -1)
    inverse = np.linalg.pinv(directions)
    result, asymmetry = {}, 0.0
    for name, blocks in values.items():
        copies = np.zeros((len(operations), len(keys), *blocks.shape[1:]))
        for k, operation in enumerate(operations):
            matrix = _orbital_rotation(operation, shells)
            copies[k, index[k]] = matrix @ blocks @ matrix.T
        result[name] = np.einsum("ak,kpij->apij", inverse, copies)
        if name == "hamiltonian":
            copies -= np.einsum("ka,apij->kpij", directions, result[name])
            asymmetry = float(np.linalg.norm(copies) / (np.sqrt(len(operations)) * np.linalg.norm(blocks)))
    return AtomResponse(keys, result, asymmetry)


def superpose(
    responses: Mapping[int, AtomResponse], primitive: Atoms, cells: int, pattern: np.ndarray
) -> BlockMatrix:
    """dH/dλ and dS/dλ for a displacement pattern of a supercell, as a sum over single atoms.

    Parameters
    ----------
    responses
        By atom of the primitive cell.
    primitive
        Ideal structure.
    cells
        The supercell is ``build_supercell(primitive, (cells, cells, 1))``.
    pattern
        (N, 3) displacements in Å per unit of λ, of its atoms.

    Raises
    ------
    InputError
        If an atom that the pattern moves has no response.
    """
    supercell = build_supercell(primitive, (cells, cells, 1))
    kappa, home = supercell.arrays["kappa"], supercell.arrays["cell_index"]
    pairs, values = [], []
    for atom in np.flatnonzero(np.abs(pattern).max(axis=1) > 0):
        if int(kappa[atom]) not in responses:
            raise InputError("displaced cells", f"no displacement of an atom like atom {kappa[atom]}")
        response = responses[int(kappa[atom])]
        rows, row_cells = _folded(response.sites[:, 0], response.sites[:, _ROW] + home[atom], cells)
        columns, column_cells = _folded(response.sites[:, 4], response.sites[:, _COLUMN] + home[atom], cells)
        pairs.append(np.column_stack([rows, columns, column_cells - row_cells]))
        values.append({k: np.einsum("a,apij->pij", pattern[atom], v) for k, v in response.values.items()})
    joined = {name: np.concatenate([part[name] for part in values]) for name in _FIELDS}
    return _block_matrix(supercell, *_summed(np.concatenate(pairs), joined))


def _folded(kappa: np.ndarray, places: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Atom of the supercell (P,) and its supercell (P, 3), of primitive atoms in primitive cells (P, 3)."""
    size = np.array([cells, cells, 1])
    supercell = places // size
    inside = places - supercell * size
    return kappa * cells**2 + inside[:, 0] + cells * inside[:, 1], supercell


def _site_blocks(primitive: Atoms, supercell: Atoms, matrix: BlockMatrix) -> tuple[np.ndarray, Values]:
    """Sites (P, 8) and blocks (P, n, n) of the directed pairs of a supercell."""
    places = supercell_map(supercell, primitive)
    directed = matrix.directed()
    if directed.spin != "none" or len(np.unique(directed.counts)) != 1:
        raise InputError("displaced cells", "blocks of one size and without spin are needed")
    i, j, shift = directed.pairs[:, 0], directed.pairs[:, 1], directed.pairs[:, 2:]
    columns = [places.kappa[i], places.cells[i], places.kappa[j], places.cells[j] + shift @ places.matrix]
    every = np.arange(len(directed.pairs))
    return np.column_stack(columns), {name: directed.dense_blocks(name, every) for name in _FIELDS}


def _central_difference(
    primitive: Atoms, supercell: Atoms, displaced: Displaced
) -> tuple[np.ndarray, Values]:
    """Derivative in units of the displacement; cells of the sites relative to that of the displaced atom."""
    plus, minus = (_site_blocks(primitive, supercell, m) for m in (displaced.plus, displaced.minus))
    sites = np.concatenate([plus[0], minus[0]])
    home = supercell_map(supercell, primitive).cells[displaced.atom]
    sites[:, _ROW] -= home
    sites[:, _COLUMN] -= home
    return _summed(sites, {k: np.concatenate([plus[1][k], -minus[1][k]]) / 2 for k in _FIELDS})


def _nearest_image(
    primitive: Atoms, supercell: Atoms, sites: np.ndarray, values: Values, centre: np.ndarray
) -> tuple[np.ndarray, Values]:
    """Every block at the image whose middle lies nearest to the displaced atom; equal images share it."""
    lattice = primitive.cell.array
    size = supercell_map(supercell, primitive).matrix
    rows, columns = _places(primitive, sites)
    middle = (rows + columns) / 2 - centre
    images = np.array([(a, b, 0) for a, b in product(range(-3, 4), repeat=2)]) @ size
    distance = np.linalg.norm(middle[:, None] + images @ lattice, axis=2)
    nearest = distance < distance.min(axis=1, keepdims=True) + _TIE
    pair, image = np.nonzero(nearest)
    share = 1 / nearest.sum(axis=1)[pair]
    moved = sites[pair]
    moved[:, _ROW] += images[image]
    moved[:, _COLUMN] += images[image]
    return _summed(moved, {name: blocks[pair] * share[:, None, None] for name, blocks in values.items()})


def _places(primitive: Atoms, sites: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cartesian positions (P, 3) of rows and columns."""
    x, lattice = primitive.positions, primitive.cell.array
    return x[sites[:, 0]] + sites[:, _ROW] @ lattice, x[sites[:, 4]] + sites[:, _COLUMN] @ lattice


def _located(primitive: Atoms, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Primitive atom (P,), -1 where there is none, and cell (P, 3) at points (P, 3)."""
    lattice = primitive.cell.array
    kappa, cells = np.full(len(points), -1), np.zeros((len(points), 3), dtype=np.int64)
    for k, place in enumerate(primitive.positions):
        fractional = (points - place) @ np.linalg.inv(lattice)
        nearest = np.round(fractional)
        here = np.linalg.norm((fractional - nearest) @ lattice, axis=1) < _TOLERANCE
        kappa[here], cells[here] = k, nearest[here].astype(np.int64)
    return kappa, cells


def _site_symmetries(primitive: Atoms, centre: np.ndarray) -> list[np.ndarray]:
    """Rotations about the normal and mirrors through it, at `centre`, that keep a hexagonal structure."""
    lattice = primitive.cell.array
    normal = plane_normal(lattice)
    first = lattice[0] / np.linalg.norm(lattice[0])
    axes = np.stack([first, np.cross(normal, first), normal])
    images = [primitive.positions + shift for shift in (0 * lattice[0], lattice[0], lattice[1])]
    points = np.concatenate(images) - centre
    kept = []
    for angle, handedness in product(np.pi / 3 * np.arange(6), (1.0, -1.0)):
        cosine, sine = np.cos(angle), np.sin(angle)
        turn = np.array([[cosine, -sine * handedness, 0], [sine, cosine * handedness, 0], [0, 0, 1]])
        operation = axes.T @ turn @ axes
        if (_located(primitive, points @ operation.T + centre)[0] >= 0).all():
            kept.append(operation)
    return kept


def _rotated(primitive: Atoms, centre: np.ndarray, sites: np.ndarray, operation: np.ndarray) -> np.ndarray:
    """Sites (P, 8) that an operation about `centre` takes the given ones to."""
    moved = [
        _located(primitive, (points - centre) @ operation.T + centre) for points in _places(primitive, sites)
    ]
    return np.column_stack([part for kappa, cells in moved for part in (kappa, cells)])


def _orbital_rotation(operation: np.ndarray, shells: Sequence[int]) -> np.ndarray:
    """Matrix (n, n) of an operation on the orbitals of an atom."""
    rotation = permuted_rotation(torch.from_numpy(operation)).numpy()
    wigner = wigner_matrices_numpy(rotation, max(max(shells), 1))
    edges = np.cumsum([0] + [2 * l + 1 for l in shells])
    matrix = np.zeros((edges[-1], edges[-1]))
    for start, stop, degree in zip(edges[:-1], edges[1:], shells, strict=True):
        matrix[start:stop, start:stop] = wigner[degree]
    return matrix


def _summed(keys: np.ndarray, values: Values) -> tuple[np.ndarray, Values]:
    """Blocks of equal keys added up."""
    unique, index = np.unique(keys, axis=0, return_inverse=True)
    result = {}
    for name, blocks in values.items():
        result[name] = np.zeros((len(unique), *blocks.shape[1:]))
        np.add.at(result[name], index.ravel(), blocks)
    return unique, result


def _block_matrix(atoms: Atoms, pairs: np.ndarray, values: Values) -> BlockMatrix:
    """Canonical matrix of directed pairs (P, 5)."""
    counts = np.full(len(atoms), values["overlap"].shape[1])
    order = np.lexsort(pairs.T[::-1])
    empty = BlockMatrix(
        atoms.numbers, counts, pairs[order].astype(np.int32), block_offsets(counts, pairs[order])
    )
    directed = empty.with_values(**{name: blocks[order].ravel() for name, blocks in values.items()})
    return from_directed(directed, 1e-6, "displaced cells")

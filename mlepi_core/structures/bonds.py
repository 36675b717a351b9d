"""Bond graph of a periodic structure: components, spanning-tree offsets and loop vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from mlepi_core.structures.neighbours import neighbour_pairs, pair_vectors

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class BondGraph:
    """Connected components of the bonds of a structure.

    Attributes
    ----------
    component
        (N,) index of the component of each atom.
    n_components
        Number of components.
    offset
        (N, 3) integers p from a spanning tree of each component: x - p·L lies next to the rest of its
        component, and a bond (i, j, R) of the tree has R + p_j - p_i = 0.
    loops
        (L, 4) distinct rows (component, R + p_j - p_i) with a non-zero vector: the lattice
        translations by which a component is bonded to its own images.
    """

    component: IntArray
    n_components: int
    offset: IntArray
    loops: IntArray

    @property
    def sizes(self) -> IntArray:
        """Atoms per component, (n_components,)."""
        return np.bincount(self.component, minlength=self.n_components)

    def ranks(self) -> IntArray:
        """Number of independent directions in which each component is endless, (n_components,)."""
        ranks = np.zeros(self.n_components, dtype=np.int64)
        for index in np.unique(self.loops[:, 0]):
            ranks[index] = np.linalg.matrix_rank(self.loops[self.loops[:, 0] == index, 1:])
        return ranks

    def crosses_layers(self) -> bool:
        """Whether a component is bonded to its own image along the third lattice vector."""
        return bool(self.loops[:, 3].any())


def bonds_within(atoms: Atoms, factor: float) -> tuple[IntArray, IntArray, IntArray]:
    """Directed bonds shorter than `factor` times the sum of the covalent radii (ASE's table)."""
    radii = covalent_radii[atoms.numbers]
    positions, cell = atoms.get_positions(), atoms.cell.array
    i, j, R = neighbour_pairs(positions, cell, atoms.pbc, 2.0 * factor * float(radii.max()))
    length = np.linalg.norm(pair_vectors(positions, cell, i, j, R), axis=1)
    bonded = length < factor * (radii[i] + radii[j])
    return i[bonded], j[bonded], R[bonded]


def bond_graph(n_atoms: int, i: IntArray, j: IntArray, R: IntArray) -> BondGraph:
    """Components, offsets and loops of directed bonds that are closed under reversal."""
    adjacency = coo_array((np.ones(len(i), dtype=np.int8), (i, j)), shape=(n_atoms, n_atoms)).tocsr()
    n_components, component = connected_components(adjacency, directed=False)
    component = component.astype(np.int64)
    offset = _tree_offsets(adjacency, component, n_components, i, j, R)
    loops = np.column_stack([component[i], R + offset[j] - offset[i]])
    loops = np.unique(loops[loops[:, 1:].any(axis=1)], axis=0)
    return BondGraph(component, int(n_components), offset, loops)


def _tree_offsets(
    adjacency: coo_array,
    component: IntArray,
    n_components: int,
    i: IntArray,
    j: IntArray,
    R: IntArray,
) -> IntArray:
    """Walk a breadth-first tree of each component from its first atom: p_j = p_i - R."""
    offset = np.zeros((len(component), 3), dtype=np.int64)
    keys, first = np.unique(i * len(component) + j, return_index=True)
    for root in np.unique(component, return_index=True)[1]:
        order, parent = breadth_first_order(adjacency, root, directed=False)
        children = order[1:]
        parents = parent[children].astype(np.int64)
        edge = first[np.searchsorted(keys, parents * len(component) + children)]
        for child, ancestor, step in zip(children.tolist(), parents.tolist(), R[edge].tolist(), strict=True):
            base = offset[ancestor]
            offset[child] = (base[0] - step[0], base[1] - step[1], base[2] - step[2])
    return offset

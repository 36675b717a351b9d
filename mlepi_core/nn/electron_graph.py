"""Graph of the blocks of a Hamiltonian: directed edges by relation, with their frames and partners."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from ase import Atoms

from mlepi_core.artefacts import InputError
from mlepi_core.basis.rotations import edge_frames, wigner_matrices
from mlepi_core.graph import relation_masks, reverse_index
from mlepi_core.nn.so2 import EdgeFrames


@dataclass
class RelationEdges:
    """Directed edges i -> j of one relation.

    Parameters
    ----------
    i, j
        Atoms (E,), in the numbering of the batch.
    distance
        Lengths (E,) in Å.
    frames
        Rotations into the edge frames.
    by_pair
        "a_b" -> indices of the edges of that species pair.
    partner
        "a_b" -> for each of those edges the place of its Hermitian partner within "b_a".
    source
        Where the edges stood in the list that they were chosen from (E,).
    radial, envelope
        Filled by the network: radial functions (E, n) and envelope (E,).
    vectors
        x_j + R.L - x_i (E, 3) in Å.
    """

    i: torch.Tensor
    j: torch.Tensor
    distance: torch.Tensor
    frames: EdgeFrames
    vectors: torch.Tensor
    by_pair: dict[str, torch.Tensor] = field(default_factory=dict)
    partner: dict[str, torch.Tensor] = field(default_factory=dict)
    source: torch.Tensor | None = None
    radial: torch.Tensor | None = None
    envelope: torch.Tensor | None = None

    def within(self, cutoff: float) -> RelationEdges:
        """The edges shorter than `cutoff` (Å)."""
        index = torch.nonzero(self.distance < cutoff)[:, 0]
        return RelationEdges(
            self.i[index],
            self.j[index],
            self.distance[index],
            self.frames.select(index),
            self.vectors[index],
            source=index,
            radial=None if self.radial is None else self.radial[index],
            envelope=None if self.envelope is None else self.envelope[index],
        )


@dataclass
class ElectronGraph:
    """One structure or a batch.

    Parameters
    ----------
    species
        Index of the species of every atom (N,).
    edges
        Directed edges of every relation.
    by_species
        "a" -> atoms of that species.
    block_index
        For every relation, and for ``"onsite"``, the place of each edge (atom) in the list of directed blocks
        that the graph was built from.
    n_blocks
        Length of that list.
    """

    species: torch.Tensor
    edges: dict[str, RelationEdges]
    by_species: dict[str, torch.Tensor]
    block_index: dict[str, torch.Tensor]
    n_blocks: int

    @property
    def n_atoms(self) -> int:
        """Atoms of the batch."""
        return int(self.species.shape[0])


def build_graph(
    atoms: Atoms,
    pairs: np.ndarray,
    species: Sequence[str],
    relations: Sequence[str],
    lmax: int,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> ElectronGraph:
    """Graph of one structure.

    Parameters
    ----------
    atoms
        Structure with the array ``layer``.
    pairs
        Directed blocks (P, 5) = i, j, Rx, Ry, Rz, both copies of each, on-site blocks included or not.
    species
        Symbols in the order of the network.
    relations
        ``("intra", "inter")`` or ``("all",)``.
    lmax
        Largest degree of the Wigner matrices.

    Raises
    ------
    InputError
        If the structure has a species that the network does not know, or a block has no partner.
    """
    index = {symbol: k for k, symbol in enumerate(species)}
    unknown = sorted(set(atoms.get_chemical_symbols()) - set(index))
    if unknown:
        raise InputError(
            "structure",
            f"species {unknown[0]} is not in the model ({', '.join(species)})",
            "train a model with it",
        )
    kinds = np.array([index[s] for s in atoms.get_chemical_symbols()])
    onsite = (pairs[:, 0] == pairs[:, 1]) & (pairs[:, 2:] == 0).all(axis=1)
    bonds, places = pairs[~onsite], np.flatnonzero(~onsite)
    if onsite.sum() != len(atoms):
        raise InputError(
            "structure", "the list of blocks lacks an on-site block", "give (i, i, 0) for every atom"
        )
    if list(relations) == ["all"]:
        chosen = {"all": np.arange(len(bonds))}
    else:
        intra, inter = relation_masks(
            bonds[:, 0], bonds[:, 1], bonds[:, 2:], atoms.arrays["layer"], atoms.arrays.get("winding")
        )
        chosen = {"intra": np.flatnonzero(intra), "inter": np.flatnonzero(inter)}
    edges = {
        name: _relation(atoms, bonds[members], kinds, lmax, dtype, device) for name, members in chosen.items()
    }
    by_atom = np.flatnonzero(onsite)[np.argsort(pairs[onsite, 0])]
    block_index = {name: places[members] for name, members in chosen.items()} | {"onsite": by_atom}
    by_species = {str(k): torch.from_numpy(np.flatnonzero(kinds == k)).to(device) for k in np.unique(kinds)}
    return ElectronGraph(
        torch.from_numpy(kinds).to(device),
        edges,
        by_species,
        {name: torch.from_numpy(index).to(device) for name, index in block_index.items()},
        len(pairs),
    )


def _relation(
    atoms: Atoms,
    pairs: np.ndarray,
    kinds: np.ndarray,
    lmax: int,
    dtype: torch.dtype,
    device: torch.device | str,
) -> RelationEdges:
    positions, cell = atoms.positions, np.asarray(atoms.cell)
    vectors = positions[pairs[:, 1]] + pairs[:, 2:] @ cell - positions[pairs[:, 0]]
    vectors = torch.from_numpy(vectors.reshape(-1, 3))
    wigner = wigner_matrices(edge_frames(vectors), lmax)
    partner = reverse_index(pairs[:, 0], pairs[:, 1], pairs[:, 2:])
    place = np.empty(len(pairs), dtype=int)
    members = {}
    for a in np.unique(kinds):
        for b in np.unique(kinds):
            mine = np.flatnonzero((kinds[pairs[:, 0]] == a) & (kinds[pairs[:, 1]] == b))
            if len(mine):
                members[f"{a}_{b}"] = mine
                place[mine] = np.arange(len(mine))
    to = {"dtype": dtype, "device": device}
    return RelationEdges(
        torch.from_numpy(pairs[:, 0].astype(np.int64)).to(device),
        torch.from_numpy(pairs[:, 1].astype(np.int64)).to(device),
        torch.linalg.norm(vectors, dim=1).to(**to),
        EdgeFrames([matrix.to(**to) for matrix in wigner]),
        vectors.to(**to),
        {key: torch.from_numpy(mine).to(device) for key, mine in members.items()},
        {key: torch.from_numpy(place[partner[mine]]).to(device) for key, mine in members.items()},
    )


def join_graphs(graphs: Sequence[ElectronGraph]) -> ElectronGraph:
    """Batch of several graphs; edges stand structure by structure within every relation and pair."""
    if len(graphs) == 1:
        return graphs[0]
    starts = np.cumsum([0] + [graph.n_atoms for graph in graphs])
    edges = {}
    for name in graphs[0].edges:
        parts = [graph.edges[name] for graph in graphs]
        edges[name] = _join_edges(parts, starts)
    keys = sorted({key for graph in graphs for key in graph.by_species})
    by_species = {
        key: torch.cat(
            [g.by_species[key] + int(s) for g, s in zip(graphs, starts, strict=False) if key in g.by_species]
        )
        for key in keys
    }
    blocks = np.cumsum([0] + [graph.n_blocks for graph in graphs])
    block_index = {
        name: torch.cat([g.block_index[name] + int(s) for g, s in zip(graphs, blocks, strict=False)])
        for name in graphs[0].block_index
    }
    species = torch.cat([graph.species for graph in graphs])
    return ElectronGraph(species, edges, by_species, block_index, int(blocks[-1]))


def _join_edges(parts: Sequence[RelationEdges], starts: np.ndarray) -> RelationEdges:
    counts = np.cumsum([0] + [len(part.i) for part in parts])
    keys = sorted({key for part in parts for key in part.by_pair})
    places = {key: np.cumsum([0] + [len(part.by_pair.get(key, ())) for part in parts]) for key in keys}

    def turned(key: str) -> str:
        return "_".join(reversed(key.split("_")))

    return RelationEdges(
        torch.cat([part.i + int(s) for part, s in zip(parts, starts, strict=False)]),
        torch.cat([part.j + int(s) for part, s in zip(parts, starts, strict=False)]),
        torch.cat([part.distance for part in parts]),
        EdgeFrames(
            [torch.cat(matrices) for matrices in zip(*(part.frames.wigner for part in parts), strict=True)]
        ),
        torch.cat([part.vectors for part in parts]),
        {
            key: torch.cat(
                [p.by_pair[key] + int(c) for p, c in zip(parts, counts, strict=False) if key in p.by_pair]
            )
            for key in keys
        },
        {
            key: torch.cat(
                [
                    p.partner[key] + int(places[turned(key)][k])
                    for k, p in enumerate(parts)
                    if key in p.partner
                ]
            )
            for key in keys
        },
    )

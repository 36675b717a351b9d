"""Graph of the blocks of a Hamiltonian: message edges and block edges by relation, with their geometry.

Block edges are one of each Hermitian pair of off-site blocks, oriented from the species of lower index to
the other: the partner follows by conjugation. Message edges are those of them that end at the message cutoff,
in the same orientation; messages run both ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from mlepi_core.artefacts import InputError
from mlepi_core.basis.rotations import edge_frames, wigner_matrices
from mlepi_core.formats.blocks import is_canonical, reversed_pairs
from mlepi_core.graph import relation_masks
from mlepi_core.nn.so2 import EdgeFrames
from mlepi_core.structures.neighbours import pair_vectors


@dataclass
class Edges:
    """Pairs of atoms i, j of one relation, each listed in one direction.

    Parameters
    ----------
    i, j
        Atoms (E,), in the numbering of the batch.
    vectors
        x_j + R.L - x_i (E, 3) in Å, float64; everything else follows from them differentiably.
    dtype
        Type of distances and frames.
    lmax
        Largest degree of the Wigner matrices.
    message
        Block edges: place of the same edge among the message edges, -1 if there is none (E,).
    by_pair
        Block edges: "a_b", a <= b -> indices of the edges of that species pair.
    kept_frames
        Frames of the edges where they are kept; otherwise they are made anew at each use.
    """

    i: Tensor
    j: Tensor
    vectors: Tensor
    dtype: torch.dtype
    lmax: int
    message: Tensor | None = None
    by_pair: dict[str, Tensor] = field(default_factory=dict)
    kept_frames: EdgeFrames | None = None

    def __len__(self) -> int:
        return len(self.i)

    @property
    def distance(self) -> Tensor:
        """Lengths (E,) in Å."""
        return torch.linalg.vector_norm(self.vectors, dim=1).to(self.dtype)

    @property
    def frames(self) -> EdgeFrames:
        """Rotations into the edge frames."""
        if self.kept_frames is not None:
            return self.kept_frames
        wigner = wigner_matrices(edge_frames(self.vectors), self.lmax)
        return EdgeFrames([matrix.to(self.dtype) for matrix in wigner])

    def take(self, index: Tensor | slice) -> Edges:
        """Some of the edges, in the order of `index`; without `by_pair`."""
        return Edges(
            self.i[index],
            self.j[index],
            self.vectors[index],
            self.dtype,
            self.lmax,
            message=None if self.message is None else self.message[index],
            kept_frames=None if self.kept_frames is None else self.kept_frames.select(index),
        )


@dataclass
class ElectronGraph:
    """One structure or a batch.

    Parameters
    ----------
    species
        Index of the species of every atom (N,).
    structure
        Number of the structure that every atom belongs to (N,).
    messages, blocks
        Edges of every relation.
    by_species
        "a" -> atoms of that species.
    """

    species: Tensor
    structure: Tensor
    messages: dict[str, Edges]
    blocks: dict[str, Edges]
    by_species: dict[str, Tensor]

    @property
    def n_atoms(self) -> int:
        """Atoms of the batch."""
        return int(self.species.shape[0])


@dataclass(frozen=True)
class _Bonds:
    """Bonds of one relation: atoms, lattice translations of j in Å, places in the list, near ones first."""

    i: Tensor
    j: Tensor
    shift: Tensor
    n_near: int
    by_pair: dict[str, Tensor]


@dataclass(frozen=True)
class ElectronTopology:
    """What of a graph does not depend on the positions; serves all displaced copies of a structure.

    Parameters
    ----------
    kinds
        Species index of every atom (N,).
    bonds
        Per relation.
    places
        Output key of the network -> for each of its rows the block in the list of pairs, -1 for a block
        that the list does not hold.
    flipped
        The same keys -> True where that block is the Hermitian conjugate of the row.
    n_blocks
        Length of the list of pairs.
    """

    kinds: Tensor
    bonds: dict[str, _Bonds]
    places: dict[str, np.ndarray]
    flipped: dict[str, np.ndarray]
    n_blocks: int

    def renumbered(self, kept: np.ndarray) -> ElectronTopology:
        """The same graph with places in a list from which only the blocks `kept` (P,) remain."""
        number = np.where(kept, np.cumsum(kept) - 1, -1)
        places = {key: number[rows] for key, rows in self.places.items()}
        return replace(self, places=places, n_blocks=int(kept.sum()))

    def graph(
        self,
        positions: Tensor,
        lmax: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        keep_frames: bool = True,
    ) -> ElectronGraph:
        """Graph at positions (N, 3) in Å, float64, those that the lattice vectors of the pairs refer to.

        Parameters
        ----------
        keep_frames
            False makes the Wigner matrices at each use: slower, for graphs that would not fit into memory.
        """
        messages, blocks = {}, {}
        for name, bonds in self.bonds.items():
            vectors = positions[bonds.j] - positions[bonds.i] + bonds.shift
            near = slice(bonds.n_near)
            place = torch.full((len(bonds.i),), -1)
            place[near] = torch.arange(bonds.n_near)
            blocks[name] = Edges(
                bonds.i.to(device),
                bonds.j.to(device),
                vectors.to(device),
                dtype,
                lmax,
                message=place.to(device),
                by_pair={key: members.to(device) for key, members in bonds.by_pair.items()},
            )
            if keep_frames:
                blocks[name].kept_frames = blocks[name].frames
            messages[name] = replace(blocks[name].take(near), message=None)
        kinds = self.kinds.to(device)
        by_species = {str(int(k)): torch.nonzero(kinds == k)[:, 0] for k in torch.unique(kinds)}
        return ElectronGraph(kinds, torch.zeros_like(kinds), messages, blocks, by_species)


def electron_topology(
    atoms: Atoms,
    pairs: np.ndarray,
    species: Sequence[str],
    relations: Sequence[str],
    message_cutoff: float,
    skin: float = 0.0,
) -> ElectronTopology:
    """Topology of a structure.

    Parameters
    ----------
    atoms
        Structure with the array ``layer``.
    pairs
        Blocks (P, 5) = i, j, Rx, Ry, Rz: one of each Hermitian pair, and (i, i, 0) for every atom.
    species
        Symbols in the order of the network.
    relations
        ``("intra", "inter")`` or ``("all",)``.
    message_cutoff
        Where messages end, Å.
    skin
        Added to it, so that the topology serves displacements below half of it, Å.

    Raises
    ------
    InputError
        If the structure has a species that the network does not know, an on-site block is missing, or a
        block is listed twice.
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
    if onsite.sum() != len(atoms):
        raise InputError(
            "structure", "the list of blocks lacks an on-site block", "give (i, i, 0) for every atom"
        )
    _refuse_repeated(pairs)
    places = {
        f"onsite_{k}_{k}": np.flatnonzero(onsite)[np.argsort(pairs[onsite, 0])][kinds == k]
        for k in np.unique(kinds)
    }
    flipped = {key: np.zeros(len(members), dtype=bool) for key, members in places.items()}
    listed = np.flatnonzero(~onsite)
    turned = kinds[pairs[listed, 0]] > kinds[pairs[listed, 1]]
    oriented = np.where(turned[:, None], reversed_pairs(pairs[listed]), pairs[listed])
    i, j, images = oriented[:, 0], oriented[:, 1], oriented[:, 2:]
    distance = np.linalg.norm(pair_vectors(atoms.positions, atoms.cell.array, i, j, images), axis=1)
    near = distance < message_cutoff + skin
    masks = {"all": np.ones(len(oriented), dtype=bool)}
    if list(relations) != ["all"]:
        arrays = atoms.arrays
        masks["intra"], masks["inter"] = relation_masks(i, j, images, arrays["layer"], arrays.get("winding"))
    bonds = {}
    for name in relations:
        members = np.flatnonzero(masks[name])
        members = members[np.argsort(~near[members], kind="stable")]
        by_pair = _by_species(kinds[i[members]], kinds[j[members]])
        bonds[name] = _Bonds(
            torch.from_numpy(i[members].astype(np.int64)),
            torch.from_numpy(j[members].astype(np.int64)),
            torch.from_numpy(images[members] @ atoms.cell.array),
            int(near[members].sum()),
            {key: torch.from_numpy(rows) for key, rows in by_pair.items()},
        )
        for key, rows in by_pair.items():
            places[f"{name}_{key}"] = listed[members[rows]]
            flipped[f"{name}_{key}"] = turned[members[rows]]
    return ElectronTopology(torch.from_numpy(kinds), bonds, places, flipped, len(pairs))


def _refuse_repeated(pairs: np.ndarray) -> None:
    canonical = np.where(is_canonical(pairs)[:, None], pairs, reversed_pairs(pairs))
    ordered = canonical[np.lexsort(canonical.T[::-1])]
    repeated = np.flatnonzero((ordered[1:] == ordered[:-1]).all(axis=1))
    if len(repeated):
        raise InputError(
            "structure",
            f"block {tuple(ordered[repeated[0]].tolist())} is listed twice, or beside its partner",
            "give one of each Hermitian pair",
        )


def _by_species(first: np.ndarray, second: np.ndarray) -> dict[str, np.ndarray]:
    """ "a_b" -> rows of that species pair."""
    present = sorted(set(zip(first.tolist(), second.tolist(), strict=True)))
    return {f"{a}_{b}": np.flatnonzero((first == a) & (second == b)) for a, b in present}


def join_graphs(graphs: Sequence[ElectronGraph]) -> ElectronGraph:
    """Batch of several graphs; edges stand structure by structure within every relation and pair."""
    if len(graphs) == 1:
        return graphs[0]
    starts = np.cumsum([0] + [graph.n_atoms for graph in graphs]).tolist()
    messages, blocks = {}, {}
    for name in graphs[0].messages:
        parts = [graph.messages[name] for graph in graphs]
        messages[name] = _join_edges(parts, starts)
        first_message = _first([len(part) for part in parts])
        parts = [graph.blocks[name] for graph in graphs]
        blocks[name] = _join_edges(parts, starts)
        blocks[name].message = torch.cat(
            [
                torch.where(part.message < 0, -1, part.message + n)
                for part, n in zip(parts, first_message, strict=True)
            ]
        )
        blocks[name].by_pair = _joined_members(
            [part.by_pair for part in parts], _first([len(part) for part in parts])
        )
    return ElectronGraph(
        torch.cat([graph.species for graph in graphs]),
        _shifted([graph.structure for graph in graphs], _first([int(g.structure[-1]) + 1 for g in graphs])),
        messages,
        blocks,
        _joined_members([graph.by_species for graph in graphs], starts[:-1]),
    )


def _first(lengths: Sequence[int]) -> list[int]:
    return np.cumsum([0, *lengths[:-1]]).tolist()


def _shifted(parts: Sequence[Tensor], starts: Sequence[int]) -> Tensor:
    return torch.cat([part + start for part, start in zip(parts, starts, strict=True)])


def _joined_members(parts: Sequence[dict[str, Tensor]], starts: Sequence[int]) -> dict[str, Tensor]:
    keys = sorted({key for part in parts for key in part})
    return {
        key: torch.cat([part[key] + start for part, start in zip(parts, starts, strict=True) if key in part])
        for key in keys
    }


def _join_edges(parts: Sequence[Edges], starts: Sequence[int]) -> Edges:
    kept = [part.kept_frames for part in parts]
    frames = None
    if None not in kept:
        frames = EdgeFrames([torch.cat(same) for same in zip(*(f.wigner for f in kept), strict=True)])
    return replace(
        parts[0],
        i=_shifted([part.i for part in parts], starts[:-1]),
        j=_shifted([part.j for part in parts], starts[:-1]),
        vectors=torch.cat([part.vectors for part in parts]),
        message=None,
        by_pair={},
        kept_frames=frames,
    )

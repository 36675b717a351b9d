"""Input of the phonon net: per relation a padded neighbour table, and batches of such graphs.

A table row lists the neighbours s of atom i and the lattice translations, so that a sum over neighbours is a
small matrix product and needs no scatter. Empty places point from the atom to itself, twice the cutoff away,
where the envelope is exactly zero with all its derivatives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from mlepi_core.artefacts import InputError
from mlepi_core.graph import neighbour_pairs, relation_masks
from mlepi_core.nn.phonon_dispersion import Dispersion

__all__ = ["NeighbourTable", "PhononBatch", "PhononGraph", "build_graph", "collate", "relation_cutoffs"]


@dataclass
class NeighbourTable:
    """Neighbours of every atom under one relation, padded to the largest count M.

    `sender` (N, M) int64; `shift` (N, M, 3) float64, Å: the vector from atom i to neighbour s is
    x[s] + shift - x[i]; `count` (N,) true neighbours.
    """

    sender: np.ndarray
    shift: np.ndarray
    count: np.ndarray


@dataclass
class PhononGraph:
    """One structure: `positions` (N, 3) Å, `species` (N,) index in the model's list, tables per relation.

    `energy` (eV) and `forces` (N, 3) eV/Å are labels, absent at inference; an energy is NaN where only forces
    are known. `weight` is the structure's weight in the loss. `lattice` (numbers, cell, pbc) is what its
    dispersion energy needs.
    """

    positions: np.ndarray
    species: np.ndarray
    tables: dict[str, NeighbourTable]
    lattice: tuple[np.ndarray, np.ndarray, np.ndarray]
    energy: float | None = None
    forces: np.ndarray | None = None
    weight: float = 1.0
    name: str = ""
    _dispersion: Dispersion | None = field(default=None, repr=False)
    _dispersion_labels: tuple[float, np.ndarray] | None = field(default=None, init=False, repr=False)

    def labels(self) -> tuple[float, np.ndarray]:
        """Energy (NaN if unknown) and forces of a labelled structure."""
        if self.energy is None or self.forces is None:
            raise InputError(self.name, "has no energy or no forces", "take it out of the selection")
        return self.energy, self.forces

    def dispersion(self) -> Dispersion:
        """DFT-D2 of the structure."""
        if self._dispersion is None:
            self._dispersion = Dispersion(*self.lattice)
        return self._dispersion

    def dispersion_labels(self) -> tuple[float, np.ndarray]:
        """DFT-D2 energy (eV) and forces (N, 3) eV/Å, computed once."""
        if self._dispersion_labels is None:
            self._dispersion_labels = self.dispersion().energy_forces(self.positions)
        return self._dispersion_labels

    def moved(self, positions: np.ndarray) -> PhononGraph:
        """The same structure with other positions that its tables still serve."""
        return replace(self, positions=positions)


@dataclass
class PhononBatch:
    """Concatenated graphs as tensors; `structure` (N,) says which graph an atom belongs to.

    Labels `energy` (G,), NaN where unknown, and `forces` (N, 3).
    """

    positions: Tensor
    species: Tensor
    structure: Tensor
    n_structures: int
    tables: dict[str, tuple[Tensor, Tensor]]
    weight: Tensor
    graphs: Sequence[PhononGraph]
    energy: Tensor | None = None
    forces: Tensor | None = None

    def moved(self, positions: np.ndarray) -> PhononBatch:
        """The batch with other positions (N, 3), Å, that its tables still serve."""
        parts = np.split(positions, np.cumsum([len(graph.species) for graph in self.graphs])[:-1])
        graphs = [graph.moved(part) for graph, part in zip(self.graphs, parts, strict=True)]
        return replace(self, positions=torch.as_tensor(positions).to(self.positions), graphs=graphs)

    def dispersion_labels(self) -> tuple[Tensor, Tensor]:
        """DFT-D2 energies (G,) eV and forces (N, 3) eV/Å at the batch's positions."""
        energies, forces = zip(*(graph.dispersion_labels() for graph in self.graphs), strict=True)
        return (
            torch.as_tensor(energies, dtype=torch.float64).to(self.positions),
            torch.as_tensor(np.concatenate(forces)).to(self.positions),
        )

    def dispersion_energies(self, positions: Tensor) -> Tensor:
        """DFT-D2 energy of every atom (N,), eV, differentiable in the positions (N, 3)."""
        parts = positions.split([len(graph.species) for graph in self.graphs])
        terms = [graph.dispersion().node_energies(x) for graph, x in zip(self.graphs, parts, strict=True)]
        return torch.cat(terms)

    def atoms_per_structure(self) -> Tensor:
        """(G,) in the positions' dtype."""
        ones = torch.ones_like(self.positions[:, 0])
        return ones.new_zeros(self.n_structures).index_add(0, self.structure, ones)


def relation_cutoffs(relations: str, cutoff_intra: float, cutoff_inter: float) -> dict[str, float]:
    """Cutoff (Å) of each relation of ``hetero`` (intra, inter) or ``homo`` (all edges alike)."""
    if relations == "hetero":
        return {"intra": cutoff_intra, "inter": cutoff_inter}
    if relations == "homo":
        return {"all": max(cutoff_intra, cutoff_inter)}
    raise InputError("relations", f"{relations!r} is unknown", "use hetero or homo")


def build_graph(
    atoms: Atoms,
    species: Sequence[int],
    cutoffs: Mapping[str, float],
    *,
    skin: float = 0.0,
    where: str = "structure",
) -> PhononGraph:
    """Neighbour tables of a structure.

    Parameters
    ----------
    atoms
        With the integer array ``layer`` (and ``winding`` where layers are bonded across images) if the
        relations are intra and inter.
    species
        Atomic numbers that the model knows, in its order.
    cutoffs
        Relation -> cutoff, Å (`relation_cutoffs`).
    skin
        Added to every cutoff, Å, so that the tables stay valid while atoms move by less than half of it.
    where
        Name for error messages.
    """
    index = {number: position for position, number in enumerate(species)}
    unknown = sorted(set(atoms.numbers.tolist()) - set(index))
    if unknown:
        known = ", ".join(map(str, species))
        raise InputError(
            where, f"holds atomic numbers {unknown} that the model does not know", f"it knows {known}"
        )
    heterogeneous = set(cutoffs) != {"all"}
    if heterogeneous and "layer" not in atoms.arrays:
        raise InputError(where, "has no array 'layer'", "assign layers first")
    positions, cell = np.asarray(atoms.positions, dtype=np.float64), np.asarray(atoms.cell)
    i, j, image = neighbour_pairs(positions, cell, atoms.pbc, max(cutoffs.values()) + skin)
    shift = image @ cell
    distance = np.linalg.norm(positions[j] + shift - positions[i], axis=1)
    if len(distance) and distance.min() < 1e-3:
        raise InputError(where, "two atoms lie on the same place", "check the positions")
    masks = {"all": np.ones(len(i), dtype=bool)}
    if heterogeneous:
        layer, winding = atoms.arrays["layer"], atoms.arrays.get("winding")
        masks["intra"], masks["inter"] = relation_masks(i, j, image, layer, winding)
    tables = {}
    for relation, cutoff in cutoffs.items():
        keep = masks[relation] & (distance < cutoff + skin)
        tables[relation] = _padded(len(atoms), i[keep], j[keep], shift[keep], cutoff)
    numbers = np.array([index[number] for number in atoms.numbers.tolist()], dtype=np.int64)
    lattice = (np.asarray(atoms.numbers), cell, np.asarray(atoms.pbc))
    return PhononGraph(positions, numbers, tables, lattice, name=where)


def _padded(n_atoms: int, i: np.ndarray, j: np.ndarray, shift: np.ndarray, cutoff: float) -> NeighbourTable:
    count = np.bincount(i, minlength=n_atoms)
    width = int(count.max(initial=0))
    order = np.argsort(i, kind="stable")
    row = i[order]
    column = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    sender = np.repeat(np.arange(n_atoms)[:, None], width, axis=1)
    shifts = np.zeros((n_atoms, width, 3))
    shifts[..., 2] = 2 * cutoff
    sender[row, column] = j[order]
    shifts[row, column] = shift[order]
    return NeighbourTable(sender, shifts, count)


def collate(
    graphs: Sequence[PhononGraph], dtype: torch.dtype, device: torch.device | str = "cpu"
) -> PhononBatch:
    """Concatenate graphs; energies and forces are taken along if all graphs have them."""
    if not graphs:
        raise InputError("batch", "is empty", "give at least one structure")
    sizes = [len(graph.species) for graph in graphs]
    offsets = np.cumsum([0, *sizes])

    def real(arrays: list[np.ndarray]) -> Tensor:
        return torch.as_tensor(np.concatenate(arrays)).to(device=device, dtype=dtype)

    def whole(arrays: list[np.ndarray]) -> Tensor:
        return torch.as_tensor(np.concatenate(arrays)).to(device)

    tables = {}
    for relation in graphs[0].tables:
        width = max(graph.tables[relation].sender.shape[1] for graph in graphs)
        wide = [_widened(graph.tables[relation], width) for graph in graphs]
        senders = [sender + offset for (sender, _), offset in zip(wide, offsets[:-1], strict=True)]
        tables[relation] = (whole(senders), real([shift for _, shift in wide]))
    labelled = all(graph.energy is not None and graph.forces is not None for graph in graphs)
    labels = [graph.labels() for graph in graphs] if labelled else []
    return PhononBatch(
        positions=real([graph.positions for graph in graphs]),
        species=whole([graph.species for graph in graphs]),
        structure=whole([np.full(size, g) for g, size in enumerate(sizes)]),
        n_structures=len(graphs),
        tables=tables,
        energy=real([np.array([energy for energy, _ in labels])]) if labelled else None,
        forces=real([forces for _, forces in labels]) if labelled else None,
        weight=real([np.array([graph.weight for graph in graphs])]),
        graphs=graphs,
    )


def _widened(table: NeighbourTable, width: int) -> tuple[np.ndarray, np.ndarray]:
    n_atoms, present = table.sender.shape
    if present == width:
        return table.sender, table.shift
    sender = np.repeat(np.arange(n_atoms)[:, None], width, axis=1)
    # Far beyond any cutoff that a model may have: the envelope is exactly zero there.
    shift = np.zeros((n_atoms, width, 3))
    shift[..., 2] = 1e3
    sender[:, :present], shift[:, :present] = table.sender, table.shift
    return sender, shift

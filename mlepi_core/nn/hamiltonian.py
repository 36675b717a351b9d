"""Hamiltonians of whole structures: network, two-centre baseline and overlap tables together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from ase import Atoms

from mlepi_core.artefacts import InputError
from mlepi_core.basis.two_centre import TwoCentreTables, support_pairs
from mlepi_core.formats.blocks import BlockMatrix
from mlepi_core.graph import relation_masks
from mlepi_core.nn.electron import ElectronArchitecture, ElectronNet
from mlepi_core.nn.electron_blocks import block_entries
from mlepi_core.nn.electron_committee import ElectronCommittee
from mlepi_core.nn.electron_graph import ElectronGraph, ElectronTopology, electron_topology, join_graphs
from mlepi_core.nn.electron_reference import ReferenceBlocks
from mlepi_core.nn.model_file import ModelFile, load_members, rebuilt_from, resolve_device
from mlepi_core.structures.layers import ensure_layers
from mlepi_core.structures.neighbours import pair_vectors

# Å; displaced copies of a structure share its lists of blocks while no atom moves by half of this.
SKIN = 0.8
# Pairs of atoms in a batch from which on the network works on CHUNK of them at a time, with frames made anew.
MOST_PAIRS = 50_000
CHUNK = 4096


@dataclass
class HamiltonianModel:
    """Everything that turns a structure into H(R) and S(R), without a DFT code.

    Parameters
    ----------
    net
        Network of the coefficients of H, or of the difference from `baseline`.
    overlap
        Two-centre tables of S.
    baseline
        Two-centre tables of H that the network corrects; None: the network gives H itself.
    """

    net: ElectronNet | ElectronCommittee
    overlap: TwoCentreTables
    baseline: TwoCentreTables | None = None
    _reference: ReferenceBlocks | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the network."""
        return self.net.embedding.dtype

    @property
    def device(self) -> torch.device:
        """Where the network lives."""
        return self.net.embedding.device

    def topology(self, atoms: Atoms, matrix: BlockMatrix) -> ElectronTopology:
        """Topology of the blocks of `matrix`, one of each Hermitian pair."""
        return self._topology(atoms, matrix.pairs, 0.0)

    def _topology(self, atoms: Atoms, pairs: np.ndarray, skin: float) -> ElectronTopology:
        net = self.net
        return electron_topology(
            atoms, pairs, net.orbital_basis.species, net.relations, net.arch.message_cutoff, skin
        )

    def graph(self, topology: ElectronTopology, atoms: Atoms, keep_frames: bool = True) -> ElectronGraph:
        """Graph of a structure, in the precision and on the device of the network."""
        positions = torch.from_numpy(np.asarray(atoms.positions, dtype=np.float64))
        return topology.graph(positions, self.net.lmax, self.dtype, self.device, keep_frames)

    def baseline_entries(self, atoms: Atoms, matrix: BlockMatrix) -> np.ndarray:
        """Flat baseline of H (M,) in eV for the blocks of `matrix`; zero without a baseline."""
        if self.baseline is None:
            return np.zeros(int(matrix.offsets[-1]))
        i, j, cells = matrix.pairs[:, 0], matrix.pairs[:, 1], matrix.pairs[:, 2:]
        vectors = pair_vectors(atoms.positions, atoms.cell.array, i, j, cells)
        intra, _ = relation_masks(i, j, cells, atoms.arrays["layer"], atoms.arrays.get("winding"))
        return self.baseline.entries(matrix, vectors, intra)

    def hamiltonians(self, structures: Sequence[Atoms], matrices: Sequence[BlockMatrix]) -> list[BlockMatrix]:
        """H for given lists of blocks, in one batch.

        Parameters
        ----------
        structures
            Structures with the array ``layer``.
        matrices
            One per structure, canonical; their overlaps are kept.

        Returns
        -------
        list of BlockMatrix
            Canonical, with H in eV, Hermitian by construction.
        """
        topologies = [self.topology(a, m) for a, m in zip(structures, matrices, strict=True)]
        return self._hamiltonians(structures, matrices, topologies)

    def _hamiltonians(
        self,
        structures: Sequence[Atoms],
        matrices: Sequence[BlockMatrix],
        topologies: Sequence[ElectronTopology],
    ) -> list[BlockMatrix]:
        for topology in topologies:
            self._refuse_unseen(topology)
        # The norm e3 averages over whole structures and needs all pairs at once.
        large = sum(len(m.pairs) for m in matrices) > MOST_PAIRS and self.net.arch.norm != "e3"
        graphs = [
            self.graph(t, a, keep_frames=not large) for t, a in zip(topologies, structures, strict=True)
        ]
        with torch.no_grad():
            coefficients = self.net(join_graphs(graphs), chunk=CHUNK if large else None)
        result = []
        starts = dict.fromkeys(coefficients, 0)
        for atoms, matrix, topology in zip(structures, matrices, topologies, strict=True):
            mine = {}
            for key, rows in topology.places.items():
                mine[key] = coefficients[key][starts[key] : starts[key] + len(rows)].double().cpu()
                starts[key] += len(rows)
            values = block_entries(self.net.block_irreps, topology, matrix, mine)
            predicted = matrix.with_values(hamiltonian=values, spin=self.net.arch.spin)
            result.append(predicted.add_scalar(self.baseline_entries(atoms, matrix)))
        return result

    def _refuse_unseen(self, topology: ElectronTopology) -> None:
        """Refuse kinds of blocks that no training structure had."""
        species = self.net.orbital_basis.species
        for key, places in topology.places.items():
            if (places >= 0).any() and not self.net.trained_on(key):
                relation, a, b = key.split("_")
                raise InputError(
                    "structure",
                    f"has {relation} blocks {species[int(a)]}-{species[int(b)]}, on which the model was not "
                    "trained",
                    "train with structures that have them",
                )

    def predict(self, structures: Sequence[Atoms]) -> list[BlockMatrix]:
        """H and S of structures, with the blocks that the overlap support defines.

        Structures without the array ``layer`` get one by bond connectivity.

        Raises
        ------
        InputError
            For a species that the model does not know, or a distance that the overlap tables do not cover.
        """
        known = set(self.net.orbital_basis.species)
        for atoms in structures:
            if unknown := sorted(set(atoms.get_chemical_symbols()) - known):
                raise InputError(
                    "structure",
                    f"holds {', '.join(unknown)}, which the model does not know",
                    f"the model was trained on {', '.join(sorted(known))}",
                )
        labelled = [ensure_layers(atoms) for atoms in structures]
        matrices, topologies = [], []
        for atoms in labelled:
            matrix, topology = self._reference_for(atoms).matrix(atoms, self.overlap)
            matrices.append(matrix)
            topologies.append(topology)
        return self._hamiltonians(labelled, matrices, topologies)

    def _reference_for(self, atoms: Atoms) -> ReferenceBlocks:
        """Lists that serve `atoms`: those kept from an earlier copy of the same structure, or new ones."""
        if self._reference is None or not self._reference.serves(atoms):
            pairs = support_pairs(atoms, self.overlap, SKIN)
            topology = self._topology(atoms, pairs, SKIN)
            self._reference = ReferenceBlocks(atoms.copy(), pairs, topology, SKIN)
        return self._reference


def load_hamiltonian_model(
    path: str | os.PathLike[str], *, device: str = "auto", dtype: torch.dtype = torch.float64
) -> HamiltonianModel:
    """Electron model of a file, single or committee, in evaluation mode; float64 unless said otherwise."""
    return hamiltonian_model(*load_members(path, "electron"), device=device, dtype=dtype, where=path)


def hamiltonian_model(
    *members: ModelFile,
    device: str = "auto",
    dtype: torch.dtype = torch.float64,
    where: str | os.PathLike[str] = "model",
) -> HamiltonianModel:
    """Electron model of a model file's contents, of one or all members; `where` names the file in errors."""
    nets = []
    with rebuilt_from(where):
        for content in members:
            nets.append(new_net(ElectronArchitecture(**content.architecture)))
            nets[-1].load_state_dict(content.state_dict)
    net = nets[0] if len(nets) == 1 else ElectronCommittee(nets)
    net.requires_grad_(False)
    tables = members[0].tables or {}
    baseline = tables.get("hamiltonian")
    return HamiltonianModel(
        net.to(device=resolve_device(device), dtype=dtype).eval(),
        TwoCentreTables.from_dict(tables["overlap"]),
        None if baseline is None else TwoCentreTables.from_dict(baseline),
    )


def new_net(architecture: ElectronArchitecture, seed: int = 0) -> ElectronNet:
    """Network with random weights of a seed, built in float64 whatever the default type is."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return ElectronNet(architecture)
    finally:
        torch.set_default_dtype(default)

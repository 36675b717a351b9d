"""Hamiltonians of whole structures: network, two-centre baseline and overlap tables together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms

from mlepi_core.artefacts import InputError
from mlepi_core.basis.two_centre import TwoCentreTables, overlap_blocks
from mlepi_core.formats.blocks import BlockMatrix, from_directed
from mlepi_core.graph import relation_masks
from mlepi_core.nn.electron import ElectronArchitecture, ElectronNet
from mlepi_core.nn.electron_graph import ElectronGraph, build_graph, join_graphs
from mlepi_core.nn.model_file import ModelFile, load_model, rebuilt_from, resolve_device
from mlepi_core.structures.layers import ensure_layers
from mlepi_core.structures.neighbours import pair_vectors


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

    net: ElectronNet
    overlap: TwoCentreTables
    baseline: TwoCentreTables | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the network."""
        return self.net.embedding.dtype

    @property
    def device(self) -> torch.device:
        """Where the network lives."""
        return self.net.embedding.device

    def graph(self, atoms: Atoms, matrix: BlockMatrix) -> ElectronGraph:
        """Graph of the directed blocks of `matrix`."""
        return build_graph(
            atoms,
            matrix.pairs,
            self.net.orbital_basis.species,
            self.net.relations,
            self.net.lmax,
            self.dtype,
            self.device,
        )

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
        directed = [matrix.directed() for matrix in matrices]
        graphs = [self.graph(a, d) for a, d in zip(structures, directed, strict=True)]
        with torch.no_grad():
            coefficients = self.net(join_graphs(graphs))
        entries = self._entries(graphs, directed, coefficients)
        result = []
        for atoms, matrix, flat in zip(structures, directed, entries, strict=True):
            total = flat + self.baseline_entries(atoms, matrix)
            result.append(from_directed(matrix.with_values(hamiltonian=total), 1e-3, "predicted H"))
        return result

    def _entries(
        self,
        graphs: Sequence[ElectronGraph],
        directed: Sequence[BlockMatrix],
        coefficients: dict[str, torch.Tensor],
    ) -> list[np.ndarray]:
        """Flat entries of every structure from the coefficients of the batch."""
        starts = dict.fromkeys(coefficients, 0)
        result = []
        for graph, matrix in zip(graphs, directed, strict=True):
            flat = np.zeros(int(matrix.offsets[-1]))
            for key, index in block_places(graph).items():
                values = coefficients[key][starts[key] : starts[key] + len(index)]
                starts[key] += len(index)
                a, b = (int(part) for part in key.split("_")[1:])
                blocks = self.net.block_irreps[a, b].to_blocks(values).double().cpu().numpy()
                flat[matrix.offsets[index][:, None] + np.arange(blocks[0].size)] = blocks.reshape(
                    len(index), -1
                )
            result.append(flat)
        return result

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
        return self.hamiltonians(labelled, [overlap_blocks(atoms, self.overlap) for atoms in labelled])


def block_places(graph: ElectronGraph) -> dict[str, np.ndarray]:
    """For every key of the network's output the places of its rows among the directed blocks."""
    places = {}
    for name, edges in graph.edges.items():
        for pair, members in edges.by_pair.items():
            places[f"{name}_{pair}"] = graph.block_index[name][members].cpu().numpy()
    for kind, members in graph.by_species.items():
        places[f"onsite_{kind}_{kind}"] = graph.block_index["onsite"][members].cpu().numpy()
    return places


def load_hamiltonian_model(
    path: str | os.PathLike[str], *, device: str = "auto", dtype: torch.dtype = torch.float64
) -> HamiltonianModel:
    """Electron model of a file, in evaluation mode; float64 unless said otherwise."""
    return hamiltonian_model(load_model(path, "electron"), device=device, dtype=dtype, where=path)


def hamiltonian_model(
    content: ModelFile,
    *,
    device: str = "auto",
    dtype: torch.dtype = torch.float64,
    where: str | os.PathLike[str] = "model",
) -> HamiltonianModel:
    """Electron model of the contents of a model file; `where` names the file in errors."""
    with rebuilt_from(where):
        net = new_net(ElectronArchitecture(**content.architecture))
        net.load_state_dict(content.state_dict)
    net.requires_grad_(False)
    tables = content.tables or {}
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

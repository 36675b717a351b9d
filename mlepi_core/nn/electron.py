"""HedgeNet-Electron: Hamiltonian blocks from two stacks of equivariant convolutions.

The backbone follows DeepH-E3 (X. Gong et al., Nat. Commun. 14, 2848 (2023), arXiv 2210.13955); the
heterogeneous wiring of intralayer and interlayer bonds follows Z. Wang, W. Duan, Z. Lin, arXiv 2602.23084.
Differences from DeepH-E3, each for smooth finite differences: messages end at a smooth envelope, norms are
local, the last edge update has no norm (blocks must vanish with distance), on-site blocks have a head of
their own.
"""

from __future__ import annotations

import torch
from torch import nn

from mlepi_core.basis.irreps import BlockIrreps
from mlepi_core.nn.electron_graph import Edges, ElectronGraph
from mlepi_core.nn.electron_heads import Head, OnsiteHead
from mlepi_core.nn.electron_layers import (
    EdgeChunks,
    EdgeUpdate,
    ElectronArchitecture,
    NodeUpdate,
    pad_channels,
)
from mlepi_core.nn.features import Channels, GaussianBasis, radial_mlp, smooth_envelope, weight
from mlepi_core.nn.so2 import PairEdges
from mlepi_core.orbitals import Basis

__all__ = ["ElectronArchitecture", "ElectronNet"]

RELATIONS = {"hetero": ("intra", "inter"), "homo": ("all",)}


class Stack(nn.Module):
    """Node and edge updates of one relation, and its head."""

    def __init__(
        self,
        arch: ElectronArchitecture,
        n_species: int,
        blocks: dict[tuple[int, int], BlockIrreps],
        exact_zero: bool,
        grid: tuple[float, float],
    ) -> None:
        super().__init__()
        self.arch = arch
        self.basis = GaussianBasis(*grid, arch.n_radial)
        self.edge_embedding = radial_mlp((arch.n_radial, arch.edge_channels[0]), bias=False)
        nodes, edges = Channels(arch.channels[:1]), Channels(arch.edge_channels[:1])
        self.first_edges = edges
        self.node_updates, self.edge_updates = nn.ModuleList(), nn.ModuleList()
        for block in range(arch.blocks):
            self.node_updates.append(NodeUpdate(arch, nodes, edges, n_species, exact_zero))
            nodes = Channels(arch.channels)
            if arch.edge_updates and block < arch.blocks - 1:
                self.edge_updates.append(EdgeUpdate(arch, nodes, edges, exact_zero))
                edges = Channels(arch.edge_channels)
        self.last_edges = edges
        self.head = Head(arch, nodes, edges, blocks)

    def embedded(self, edges: Edges) -> PairEdges:
        """Frames, radial functions and envelope of some pairs."""
        distance = edges.distance
        envelope = smooth_envelope(distance, self.arch.message_cutoff)
        return PairEdges(edges.i, edges.j, edges.frames, self.basis(distance), envelope)

    def edge_features(self, pairs: PairEdges) -> torch.Tensor:
        """Embedding (E, 2, first_edges.dim), the same in both directions."""
        return self.edge_embedding(pairs.radial)[:, None].expand(-1, 2, -1)

    def blocks(
        self, h: torch.Tensor, e: torch.Tensor, edges: Edges, chunk: int | None
    ) -> dict[str, torch.Tensor]:
        """Coefficients of all block edges by species pair, from nodes and features of the message edges."""
        parts: dict[str, list[torch.Tensor]] = {key: [] for key in edges.by_pair}
        for rows, pairs in EdgeChunks(edges, self.embedded, chunk):
            by_pair = {
                key: members[(members >= rows.start) & (members < rows.stop)] - rows.start
                for key, members in edges.by_pair.items()
            }
            features = self._block_features(pairs, e, edges.message[rows])
            for key, values in self.head(h, features, pairs, by_pair).items():
                parts[key].append(values)
        return {key: torch.cat(values) for key, values in parts.items()}

    def _block_features(self, pairs: PairEdges, e: torch.Tensor, message: torch.Tensor) -> torch.Tensor:
        """Features of message edges where there is one; they fade into the embedding, which the rest has."""
        start = pad_channels(self.edge_features(pairs), self.first_edges, self.last_edges)
        rows = torch.nonzero(message >= 0)[:, 0]
        return start.index_copy(0, rows, e.index_select(0, message.index_select(0, rows)))


class ElectronNet(nn.Module):
    """Coefficients of H on every edge and atom of a graph.

    Parameters
    ----------
    arch
        Hyper-parameters. Species are numbered in the order of `arch.shells`.

    Notes
    -----
    The output is ``shift + scale * network``; both are buffers per relation and coefficient, set from the
    training statistics. One of each Hermitian pair of blocks is predicted, the same whichever it is.
    """

    def __init__(self, arch: ElectronArchitecture) -> None:
        super().__init__()
        self.arch = arch
        self.orbital_basis = Basis({symbol: tuple(shells) for symbol, shells in arch.shells.items()})
        species = self.orbital_basis.species
        n_species = len(species)
        self.block_irreps = {
            (a, b): BlockIrreps.from_basis(
                self.orbital_basis, species[a], species[b], arch.spin, arch.magnetic
            )
            for a in range(n_species)
            for b in range(n_species)
        }
        self.relations = RELATIONS[arch.relations]
        self.embedding = weight(n_species, arch.channels[0], fan_in=1)
        grids = {"inter": (2.0, arch.support)}
        self.stacks = nn.ModuleDict(
            {
                name: Stack(
                    arch, n_species, self.block_irreps, name == "inter", grids.get(name, (0.5, arch.support))
                )
                for name in self.relations
            }
        )
        self.onsite = OnsiteHead(arch, Channels(arch.channels), self.block_irreps)
        self.lmax = max(len(arch.channels), len(arch.head_channels), len(arch.head_unnatural)) - 1
        if arch.convolution == "e3nn":
            self.lmax = max(self.lmax, 2 * self.lmax if arch.edge_lmax is None else arch.edge_lmax)
        for (a, b), irreps in self.block_irreps.items():
            for relation in (*self.relations, *(("onsite",) if a == b else ())):
                self.register_buffer(f"scale_{relation}_{a}_{b}", torch.ones(irreps.size))
                self.register_buffer(f"shift_{relation}_{a}_{b}", torch.zeros(irreps.size))

    def trained_on(self, key: str) -> bool:
        """Whether a training structure had blocks of an output key; the scale is zero if none had."""
        return bool(getattr(self, f"scale_{key}").any())

    def forward(self, graph: ElectronGraph, chunk: int | None = None) -> dict[str, torch.Tensor]:
        """Coefficients per block kind.

        Parameters
        ----------
        graph
            Structure or batch.
        chunk
            Pairs of atoms that are worked on at a time; None: all. The result is the same, and the memory is
            that of the features plus one chunk, if the graph does not keep its frames.

        Returns
        -------
        dict
            ``"<relation>_<a>_<b>"``, a <= b, -> (E_ab, size) in the order of
            `graph.blocks[relation].by_pair`, and ``"onsite_<a>_<a>"`` -> (N_a, size), in eV.

        Raises
        ------
        ValueError
            For chunks with a norm that needs all pairs at once.
        """
        if chunk is not None and self.arch.norm == "e3":
            raise ValueError("the norm e3 averages over all pairs: chunks would change the result")
        nodes, edge_features = self._nodes(graph, chunk)
        result = {}
        for name, stack in self.stacks.items():
            values = stack.blocks(nodes, edge_features[name], graph.blocks[name], chunk)
            result |= {f"{name}_{pair}": coefficients for pair, coefficients in values.items()}
        for key, values in self.onsite(nodes, graph.by_species).items():
            irreps = self.block_irreps[int(key), int(key)]
            result[f"onsite_{key}_{key}"] = (values + irreps.transpose(values)) / 2
        return {
            key: getattr(self, f"shift_{key}") + getattr(self, f"scale_{key}") * values
            for key, values in result.items()
        }

    def _nodes(self, graph: ElectronGraph, chunk: int | None) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Fused node features after the last node update, and the features of the message edges."""
        start = self.embedding.index_select(0, graph.species)
        full = Channels(self.arch.channels)
        chunks = {
            name: EdgeChunks(graph.messages[name], stack.embedded, chunk)
            for name, stack in self.stacks.items()
        }
        h = dict.fromkeys(self.stacks, start)
        e = {
            name: chunks[name].mapped(lambda _, pairs, stack=stack: stack.edge_features(pairs))
            for name, stack in self.stacks.items()
        }
        layerwise = self.arch.fusion == "layerwise"
        for block in range(self.arch.blocks):
            channels = Channels(self.arch.channels[:1]) if block == 0 else full
            updates = {
                name: stack.node_updates[block](
                    h[name], e[name], chunks[name], graph.species, graph.structure
                )
                for name, stack in self.stacks.items()
            }
            if layerwise:
                common = pad_channels(next(iter(h.values())), channels, full) + sum(updates.values())
                h = dict.fromkeys(self.stacks, common)
            else:
                h = {name: pad_channels(h[name], channels, full) + updates[name] for name in self.stacks}
            for name, stack in self.stacks.items():
                if block < len(stack.edge_updates):
                    e[name] = stack.edge_updates[block](h[name], e[name], chunks[name], graph.structure)
        if layerwise:
            return next(iter(h.values())), e
        base = pad_channels(start, Channels(self.arch.channels[:1]), full)
        # The skip keeps the shared embedding in every stream: it must enter the sum once.
        return base + sum(value - base for value in h.values()), e

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
from mlepi_core.nn.electron_graph import ElectronGraph, RelationEdges
from mlepi_core.nn.electron_heads import Head, OnsiteHead
from mlepi_core.nn.electron_layers import EdgeUpdate, ElectronArchitecture, NodeUpdate, pad_channels
from mlepi_core.nn.features import Channels, GaussianBasis, radial_mlp, smooth_envelope, weight
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

    def embed(self, edges: RelationEdges) -> None:
        """Fill the radial functions and the envelope of a set of edges."""
        edges.radial = self.basis(edges.distance)
        edges.envelope = smooth_envelope(edges.distance, self.arch.message_cutoff)

    def all_edge_features(
        self, far: RelationEdges, near: RelationEdges, e_near: torch.Tensor
    ) -> torch.Tensor:
        """Edge features of every edge: the embedding, plus what the updates added on the message edges."""
        start = pad_channels(self.edge_embedding(far.radial), self.first_edges, self.last_edges)
        added = e_near - pad_channels(self.edge_embedding(near.radial), self.first_edges, self.last_edges)
        return start.index_add(0, near.source, added)


class ElectronNet(nn.Module):
    """Coefficients of H on every edge and atom of a graph.

    Parameters
    ----------
    arch
        Hyper-parameters. Species are numbered in the order of `arch.shells`.

    Notes
    -----
    The output is ``shift + scale * network``; both are buffers per relation and coefficient, set from the
    training statistics. Directed copies of a block are averaged, so that H is Hermitian by construction.
    """

    def __init__(self, arch: ElectronArchitecture) -> None:
        super().__init__()
        self.arch = arch
        self.orbital_basis = Basis({symbol: tuple(shells) for symbol, shells in arch.shells.items()})
        species = self.orbital_basis.species
        n_species = len(species)
        self.block_irreps = {
            (a, b): BlockIrreps.from_basis(self.orbital_basis, species[a], species[b])
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
            self.lmax *= 2
        for (a, b), irreps in self.block_irreps.items():
            for relation in (*self.relations, *(("onsite",) if a == b else ())):
                self.register_buffer(f"scale_{relation}_{a}_{b}", torch.ones(irreps.size))
                self.register_buffer(f"shift_{relation}_{a}_{b}", torch.zeros(irreps.size))

    def forward(self, graph: ElectronGraph) -> dict[str, torch.Tensor]:
        """Coefficients per block kind.

        Returns
        -------
        dict
            ``"<relation>_<a>_<b>"`` -> (E_ab, size) in the order of `graph.edges[relation].by_pair`, and
            ``"onsite_<a>_<a>"`` -> (N_a, size), in eV.
        """
        far, near = graph.edges, {}
        for name, stack in self.stacks.items():
            stack.embed(far[name])
            near[name] = far[name].within(self.arch.message_cutoff)
        nodes, edge_features = self._nodes(graph, near)
        result = {}
        for name, stack in self.stacks.items():
            e = stack.all_edge_features(far[name], near[name], edge_features[name])
            for pair, values in self._symmetric(stack.head(nodes, e, far[name]), far[name]).items():
                result[f"{name}_{pair}"] = values
        for key, values in self.onsite(nodes, graph.by_species).items():
            irreps = self.block_irreps[int(key), int(key)]
            result[f"onsite_{key}_{key}"] = (values + irreps.transpose(values)) / 2
        return {
            key: getattr(self, f"shift_{key}") + getattr(self, f"scale_{key}") * values
            for key, values in result.items()
        }

    def _nodes(
        self, graph: ElectronGraph, near: dict[str, RelationEdges]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Fused node features after the last node update, and the features of the message edges."""
        start = self.embedding[graph.species]
        full = Channels(self.arch.channels)
        h = dict.fromkeys(self.stacks, start)
        e = {name: stack.edge_embedding(near[name].radial) for name, stack in self.stacks.items()}
        layerwise = self.arch.fusion == "layerwise"
        for block in range(self.arch.blocks):
            channels = Channels(self.arch.channels[:1]) if block == 0 else full
            updates = {
                name: stack.node_updates[block](h[name], e[name], near[name], graph.species)
                for name, stack in self.stacks.items()
            }
            if layerwise:
                common = pad_channels(next(iter(h.values())), channels, full) + sum(updates.values())
                h = dict.fromkeys(self.stacks, common)
            else:
                h = {name: pad_channels(h[name], channels, full) + updates[name] for name in self.stacks}
            for name, stack in self.stacks.items():
                if block < len(stack.edge_updates):
                    e[name] = stack.edge_updates[block](h[name], e[name], near[name])
        if layerwise:
            return next(iter(h.values())), e
        base = pad_channels(start, Channels(self.arch.channels[:1]), full)
        # The skip keeps the shared embedding in every stream: it must enter the sum once.
        return base + sum(value - base for value in h.values()), e

    def _symmetric(self, values: dict[str, torch.Tensor], edges: RelationEdges) -> dict[str, torch.Tensor]:
        """Average every directed block with the transpose of its partner."""
        averaged = {}
        for key, forward in values.items():
            a, b = (int(s) for s in key.split("_"))
            partner = values[f"{b}_{a}"][edges.partner[key]]
            averaged[key] = (forward + self.block_irreps[b, a].transpose(partner)) / 2
        return averaged

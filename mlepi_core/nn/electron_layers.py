"""Hyper-parameters of HedgeNet-Electron and its node and edge updates."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from mlepi_core.nn.electron_graph import RelationEdges
from mlepi_core.nn.features import SIGMOID_SCALE, SILU_SCALE, Channels, DegreeLinear, LocalNorm
from mlepi_core.nn.so2 import EdgeConvolution
from mlepi_core.nn.tensor_product import TensorProductConvolution

CONVOLUTIONS: dict[str, type[EdgeConvolution]] = {"so2": EdgeConvolution, "e3nn": TensorProductConvolution}


@dataclass
class ElectronArchitecture:
    """Hyper-parameters of `ElectronNet`; distances in Å. Field by field the section `training.electron`."""

    shells: dict[str, list[int]]
    support: float
    relations: str = "hetero"
    fusion: str = "late"
    blocks: int = 2
    channels: list[int] = field(default_factory=lambda: [48, 24, 16, 8, 8])
    edge_channels: list[int] = field(default_factory=lambda: [24, 12, 8])
    head_channels: list[int] = field(default_factory=lambda: [48, 32, 24])
    head_unnatural: list[int] = field(default_factory=lambda: [0, 24])
    message_cutoff: float = 4.5
    n_radial: int = 24
    radial_hidden: list[int] = field(default_factory=lambda: [48, 48])
    norm: str = "node"
    convolution: str = "so2"
    edge_updates: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary for the model file."""
        return asdict(self)


class NodeUpdate(nn.Module):
    """Update of the nodes of one relation; `exact_zero` drops all that would survive without edges."""

    def __init__(
        self,
        arch: ElectronArchitecture,
        nodes: Channels,
        edges: Channels,
        n_species: int,
        exact_zero: bool,
    ) -> None:
        super().__init__()
        self.nodes, self.edges, self.out = nodes, edges, Channels(arch.channels)
        self.linear_in = DegreeLinear(nodes, nodes, bias=not exact_zero)
        self.inputs = edge_inputs(nodes, edges)
        self.convolution = CONVOLUTIONS[arch.convolution](
            self.inputs,
            self.out,
            n_radial=arch.n_radial,
            radial_hidden=arch.radial_hidden,
            bias=not exact_zero,
        )
        self.linear_out = DegreeLinear(self.out, self.out, bias=not exact_zero)
        self.self_term = None if exact_zero else DegreeLinear(nodes, self.out, n_species=n_species)
        self.self_message = None if exact_zero else SelfInteraction(nodes, self.out)
        self.norm = LocalNorm(self.out, arch.norm)
        self.register_buffer("inverse_sqrt_neighbours", torch.ones(()))

    def forward(
        self, h: torch.Tensor, e: torch.Tensor, near: RelationEdges, species: torch.Tensor
    ) -> torch.Tensor:
        """Update (N, out.dim) from nodes h (N, nodes.dim) and edge features e of the message edges."""
        hbar = self.linear_in(h)
        parts = gather_edge_inputs(hbar, e, self.nodes, self.edges, near)
        message, _ = self.convolution(parts, near.frames, near.radial, near.envelope)
        total = h.new_zeros(h.shape[0], self.out.dim).index_add_(0, near.i, self.out.join(message))
        total = total * self.inverse_sqrt_neighbours
        if self.self_message is not None:
            total = total + self.self_message(hbar)
        total = self.linear_out(total)
        if self.self_term is not None:
            total = total + self.self_term(h, species)
        return self.norm(total)


class SelfInteraction(nn.Module):
    """Gated map per degree: the self-loop, which has no direction and therefore no frame."""

    def __init__(self, inputs: Channels, outputs: Channels) -> None:
        super().__init__()
        self.outputs, self.n_gates = outputs, sum(outputs.counts[1:])
        self.with_gates = Channels((outputs.counts[0] + self.n_gates, *outputs.counts[1:]))
        self.linear = DegreeLinear(inputs, self.with_gates, bias=True)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """(N, inputs.dim) -> (N, outputs.dim)."""
        parts = self.with_gates.split(self.linear(h))
        scalars, gates = parts[0].split([self.outputs.counts[0], self.n_gates], dim=2)
        gates = SIGMOID_SCALE * torch.sigmoid(gates)
        pieces = gates.split(self.outputs.counts[1:], dim=2) if self.n_gates else ()
        active = [SILU_SCALE * nn.functional.silu(scalars)]
        return self.outputs.join(active + [part * gate for part, gate in zip(parts[1:], pieces, strict=True)])


class EdgeUpdate(nn.Module):
    """Update of the message edges of one relation; multiplied by the envelope, so it ends smoothly."""

    def __init__(
        self, arch: ElectronArchitecture, nodes: Channels, edges: Channels, exact_zero: bool
    ) -> None:
        super().__init__()
        self.nodes, self.edges, self.out = nodes, edges, Channels(arch.edge_channels)
        self.convolution = CONVOLUTIONS[arch.convolution](
            edge_inputs(nodes, edges), self.out, n_radial=arch.n_radial, radial_hidden=arch.radial_hidden
        )
        self.linear = DegreeLinear(self.out, self.out, bias=not exact_zero)
        self.norm = LocalNorm(self.out, arch.norm)

    def forward(self, h: torch.Tensor, e: torch.Tensor, near: RelationEdges) -> torch.Tensor:
        """New edge features (E, out.dim); the old ones are kept and padded."""
        parts = gather_edge_inputs(h, e, self.nodes, self.edges, near)
        update, _ = self.convolution(parts, near.frames, near.radial)
        change = self.norm(self.linear(self.out.join(update))) * near.envelope[:, None]
        return pad_channels(e, self.edges, self.out) + change


def edge_inputs(nodes: Channels, edges: Channels) -> Channels:
    """Channels of the concatenation (h_i, h_j, e_ij)."""
    lmax = max(nodes.lmax, edges.lmax)
    return Channels([_count(nodes, l) * 2 + _count(edges, l) for l in range(lmax + 1)])


def _count(channels: Channels, l: int) -> int:
    return channels.counts[l] if l <= channels.lmax else 0


def gather_edge_inputs(
    h: torch.Tensor, e: torch.Tensor, nodes: Channels, edges: Channels, index: RelationEdges
) -> list[torch.Tensor]:
    """(h_i, h_j, e_ij) per degree (E, 2l + 1, C)."""
    h_i, h_j = nodes.split(h[index.i]), nodes.split(h[index.j])
    e_parts = edges.split(e)
    parts = []
    for l in range(max(nodes.lmax, edges.lmax) + 1):
        group = [h_i[l], h_j[l]] if l <= nodes.lmax else []
        parts.append(torch.cat(group + ([e_parts[l]] if l <= edges.lmax else []), dim=2))
    return parts


def pad_channels(x: torch.Tensor, old: Channels, new: Channels) -> torch.Tensor:
    """Features with more degrees or channels; the new entries are zero."""
    if old.counts == new.counts:
        return x
    parts, present = [], old.split(x)
    for l, count in enumerate(new.counts):
        part = present[l] if l <= old.lmax else x.new_zeros(x.shape[0], 2 * l + 1, 0)
        parts.append(nn.functional.pad(part, (0, count - part.shape[2])))
    return new.join(parts)

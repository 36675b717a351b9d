"""Heads of HedgeNet-Electron: from features to the coefficients of off-site and on-site blocks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from mlepi_core.basis.irreps import BlockIrreps
from mlepi_core.nn.electron_graph import RelationEdges
from mlepi_core.nn.electron_layers import (
    CONVOLUTIONS,
    ElectronArchitecture,
    SelfInteraction,
    edge_inputs,
    gather_edge_inputs,
)
from mlepi_core.nn.features import Channels, DegreeLinear, weight


class Head(nn.Module):
    """Last edge update and linear map to the coefficients of every species pair.

    The hidden channels of natural and unnatural parity are mixed per degree into the coefficients that
    `BlockIrreps` orders channel by channel.
    """

    def __init__(
        self,
        arch: ElectronArchitecture,
        nodes: Channels,
        edges: Channels,
        blocks: dict[tuple[int, int], BlockIrreps],
    ) -> None:
        super().__init__()
        self.nodes, self.edges = nodes, edges
        self.natural, self.unnatural = Channels(arch.head_channels), tuple(arch.head_unnatural)
        self.convolution = CONVOLUTIONS[arch.convolution](
            edge_inputs(nodes, edges),
            self.natural,
            unnatural=self.unnatural,
            n_radial=arch.n_radial,
            radial_hidden=arch.radial_hidden,
        )
        self.out = nn.ModuleDict(
            {
                f"{a}_{b}": CoefficientLinear(self.natural, self.unnatural, irreps)
                for (a, b), irreps in blocks.items()
            }
        )

    def forward(self, h: torch.Tensor, e: torch.Tensor, edges: RelationEdges) -> dict[str, torch.Tensor]:
        """Coefficients (E_ab, size) of the edges of every species pair "a_b"."""
        parts = gather_edge_inputs(h, e, self.nodes, self.edges, edges)
        natural, unnatural = self.convolution(parts, edges.frames, edges.radial)
        result = {}
        for key, index in edges.by_pair.items():
            chosen = (
                [[part[index] for part in group] for group in (natural, unnatural)]
                if len(edges.by_pair) > 1
                else (natural, unnatural)
            )
            result[key] = self.out[key](*chosen)
        return result


class CoefficientLinear(nn.Module):
    """Hidden channels per degree and parity -> block coefficients, in the order of `BlockIrreps.irreps`."""

    def __init__(self, natural: Channels, unnatural: Sequence[int], irreps: BlockIrreps) -> None:
        super().__init__()
        self.slots: list[tuple[int, bool, int]] = []
        self.weights = nn.ParameterList()
        for multiplicity, irrep in irreps.irreps:
            is_natural = irrep.p == (-1) ** irrep.l
            counts = natural.counts if is_natural else unnatural
            n_in = counts[irrep.l] if irrep.l < len(counts) else 0
            self.slots.append((irrep.l, is_natural, multiplicity))
            self.weights.append(weight(n_in, multiplicity, fan_in=n_in))

    def forward(self, natural: Sequence[torch.Tensor], unnatural: Sequence[torch.Tensor]) -> torch.Tensor:
        """(E, 2l + 1, C) per degree -> (E, size); degrees without hidden channels give zero."""
        columns = []
        for (l, is_natural, multiplicity), matrix in zip(self.slots, self.weights, strict=True):
            source = natural if is_natural else unnatural
            if matrix.shape[0] == 0 or l >= len(source):
                columns.append(natural[0].new_zeros(natural[0].shape[0], multiplicity * (2 * l + 1)))
            else:
                columns.append((source[l] @ matrix).transpose(1, 2).flatten(1))
        return torch.cat(columns, dim=1)


class OnsiteHead(nn.Module):
    """Coefficients of the on-site blocks from the nodes; unnatural parity is exactly zero."""

    def __init__(
        self, arch: ElectronArchitecture, nodes: Channels, blocks: dict[tuple[int, int], BlockIrreps]
    ) -> None:
        super().__init__()
        self.hidden = Channels(arch.head_channels)
        self.gated = SelfInteraction(nodes, self.hidden)
        self.straight = DegreeLinear(nodes, self.hidden)
        self.out = nn.ModuleDict(
            {
                str(a): CoefficientLinear(self.hidden, (), irreps)
                for (a, b), irreps in blocks.items()
                if a == b
            }
        )

    def forward(self, h: torch.Tensor, by_species: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Coefficients (N_a, size) of the atoms of every species "a"."""
        hidden = self.hidden.split(self.gated(h) + self.straight(h))
        return {key: self.out[key]([part[index] for part in hidden], []) for key, index in by_species.items()}

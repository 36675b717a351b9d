"""Gated, radially weighted convolutions on pairs of atoms: messages, and exchange-symmetric features.

As in DeepH-E3 (X. Gong et al., Nat. Commun. 14, 2848 (2023), arXiv 2210.13955) scalars gate the linear map
of `so2`, then every channel gets a radial weight.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mlepi_core.nn.electron_layout import rearrange
from mlepi_core.nn.features import SIGMOID_SCALE, SILU_SCALE, Channels, radial_mlp
from mlepi_core.nn.so2 import PairEdges, PairLinear, from_frame_columns

Columns = list[Tensor | None]


class GatedConvolution(nn.Module, ABC):
    """What the convolutions share: activation of scalars, gates and radial weights.

    Parameters
    ----------
    nodes, edges
        Channels of the atoms and of the edges.
    outputs, unnatural
        Channels per degree of natural and unnatural parity.
    n_radial, radial_hidden
        Size of the radial basis and of the hidden layers of the radial perceptron.
    bias
        Allow constants; without them zero features give exactly zero.
    """

    #: Whether there are scalars that may only be gated, as many as others.
    gated_scalars = False

    def __init__(
        self,
        nodes: Channels,
        edges: Channels,
        outputs: Channels,
        *,
        n_radial: int,
        radial_hidden: Sequence[int],
        unnatural: Sequence[int] = (),
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.nodes, self.edges, self.outputs, self.unnatural = nodes, edges, outputs, tuple(unnatural)
        self.n_scalars, self.n_higher = outputs.counts[0], sum(outputs.counts[1:])
        self.n_gates = self.gated_scalars * self.n_scalars + self.n_higher + sum(self.unnatural)
        self.radial = radial_mlp((n_radial, *radial_hidden, self.n_scalars + self.n_gates))
        self.bias = nn.Parameter(torch.zeros(self.n_scalars + self.n_gates)) if bias else None
        self.linear = self._make_linear()

    @abstractmethod
    def _make_linear(self) -> nn.Module:
        """Map of (nodes, edges) to scalars, gates and higher degrees."""

    @property
    def with_gates(self) -> Channels:
        """Channels of the linear map: scalars and gates, then the higher degrees."""
        return Channels((self.n_scalars + self.n_gates, *self.outputs.counts[1:]))

    def activated(self, scalars: Tensor, radial: Tensor) -> tuple[Tensor, Tensor]:
        """Active scalars (..., E, n_scalars), and the factors (..., E, n_gates) of all other channels."""
        if self.bias is not None:
            scalars = scalars + self.bias
        ungated, gates = scalars.split([self.n_scalars, self.n_gates], dim=-1)
        own, others = radial.split([self.n_scalars, self.n_gates], dim=-1)
        return nn.functional.silu(ungated) * (SILU_SCALE * own), torch.sigmoid(gates) * (
            SIGMOID_SCALE * others
        )

    def _weighted(
        self, scalars: Tensor, natural: Columns, unnatural: Columns, factors: Tensor
    ) -> tuple[Columns, Columns]:
        """Columns of `so2` times their factors; those of m = 0 come without the scalars."""
        counts, n = self.outputs.counts, self.n_higher
        columns: Columns = [torch.cat([scalars, natural[0] * factors[..., :n]], dim=2)]
        columns += [part * factors[..., sum(counts[1:m]) : n] for m, part in enumerate(natural[1:], start=1)]
        axial = [
            None if part is None else part * factors[..., n + sum(self.unnatural[1:m]) :]
            for m, part in enumerate(unnatural)
        ]
        return columns, axial

    def _global(self, sectors: Sequence[tuple[Columns, Columns]], pairs: PairEdges) -> list[list[Tensor]]:
        """Natural and unnatural parts per degree (E, 2l + 1, 2, C_l) of both sectors, global components."""
        natural, unnatural = ([sector[kind] for sector in sectors] for kind in (0, 1))
        parts = [pairs.frames.back(from_frame_columns(natural, self.outputs.counts))]
        if not any(self.unnatural):
            return [*parts, []]
        columns = [column[: len(self.unnatural)] for column in unnatural]
        columns = from_frame_columns(columns, self.unnatural, first=1)
        return [*parts, pairs.frames.back(columns, unnatural=True)]


class MessageConvolution(GatedConvolution):
    """Messages in both directions of every pair: y_ij to atom i, y_ji to atom j."""

    def __init__(self, *channels: Channels, **settings: Any) -> None:
        super().__init__(*channels, **settings)
        turned = self.outputs.channel_parity()[self.n_scalars :]
        self.register_buffer("turned", turned, persistent=False)

    def _make_linear(self) -> nn.Module:
        return PairLinear(self.nodes, self.edges, (self.with_gates,) * 2, (), scale=0.5)

    def forward(self, h: Tensor, e: Tensor, pairs: PairEdges, envelope: Tensor | None = None) -> Tensor:
        """Convolve.

        Parameters
        ----------
        h, e
            Atoms (N, nodes.dim) and edges (E, 2, edges.dim): of i -> j and of j -> i.
        pairs
            Pairs of atoms.
        envelope
            (E,) factor that ends the messages smoothly.

        Returns
        -------
        Tensor
            (E, 2, outputs.dim) of i -> j and of j -> i, global components.
        """
        (first, _), (second, _) = self.linear(h, e, pairs)
        radial = self.radial(pairs.radial)
        if envelope is not None:
            radial = radial * envelope[:, None]
        sectors = []
        for sign in (1, -1):
            lowest, *natural = [torch.add(a, b, alpha=sign) for a, b in zip(first, second, strict=True)]
            scalars, rest = lowest.split([self.n_scalars + self.n_gates, self.n_higher], dim=2)
            scalars, factors = self.activated(scalars, radial)
            if sign < 0:
                factors = factors * self.turned
            sectors.append(self._weighted(scalars, [rest, *natural], [], factors))
        return flat_directions(self._global(sectors, pairs)[0])


class ExchangeConvolution(GatedConvolution):
    """Features of pairs that are even or odd under exchange of the atoms, times (-1)^l.

    Sector A of natural parity takes (-1)^l when the pair is listed the other way round, sector B takes
    -(-1)^l; unnatural parity has the opposite signs. Gates and ungated scalars are even ones, of sector A.
    """

    gated_scalars = True

    def _make_linear(self) -> nn.Module:
        sectors = (self.with_gates, self.outputs)
        return PairLinear(self.nodes, self.edges, sectors, self.unnatural, scale=0.5**0.5)

    def forward(self, h: Tensor, e: Tensor, pairs: PairEdges) -> list[list[Tensor]]:
        """Natural and unnatural features per degree (E, 2l + 1, 2, C_l), sectors A and B, global components.

        Arguments as of `MessageConvolution`.
        """
        (first, unnatural_a), (second, unnatural_b) = self.linear(h, e, pairs)
        sizes = [self.n_scalars + self.n_gates, self.n_higher]
        scalars, rest_a = first[0].split(sizes, dim=2)
        odd, rest_b = second[0].split([self.n_scalars, self.n_higher], dim=2)
        scalars, factors = self.activated(scalars, self.radial(pairs.radial))
        own, factors = factors.split([self.n_scalars, self.n_gates - self.n_scalars], dim=2)
        sectors = [
            self._weighted(scalars, [rest_a, *first[1:]], unnatural_a, factors),
            self._weighted(odd * own, [rest_b, *second[1:]], unnatural_b, factors),
        ]
        return self._global(sectors, pairs)


def flat_directions(parts: Sequence[Tensor]) -> Tensor:
    """(E, 2, dim) of parts per degree (E, 2l + 1, 2, C_l)."""
    sizes = [part.shape[1] * part.shape[3] for part in parts]

    def views(sources: Sequence[Tensor], targets: Sequence[Tensor]) -> Any:
        for part, segment in zip(sources, targets[0].split(sizes, dim=2), strict=True):
            yield part.transpose(1, 2), segment.unflatten(2, (part.shape[1], part.shape[3]))

    return rearrange(views, [(parts[0].shape[0], 2, sum(sizes))], parts)[0]

"""The convolutions of `electron_convolution` as DeepH-E3 has them: slow, and the reference to compare with.

Every direction of a pair is an edge of its own, with the concatenation (h_i, h_j, e_ij) as input of one
tensor product with the spherical harmonics of the edge, by e3nn.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from e3nn import o3
from torch import Tensor, nn

from mlepi_core.nn.electron_convolution import ExchangeConvolution, MessageConvolution, flat_directions
from mlepi_core.nn.features import Channels
from mlepi_core.nn.so2 import PairEdges

Parts = list[Tensor]


class DirectedTensorProduct(nn.Module):
    """Tensor product on both directions of every pair.

    Parameters
    ----------
    nodes, edges
        Channels of the atoms and of the edges.
    outputs, unnatural
        Channels per degree of natural and unnatural parity.
    edge_lmax
        Largest degree of the harmonics; None takes the sum of the largest degrees before and after, which
        reaches every SO(2) map. DeepH-E3 takes that of the features.
    """

    def __init__(
        self,
        nodes: Channels,
        edges: Channels,
        outputs: Channels,
        unnatural: Sequence[int],
        edge_lmax: int | None,
    ) -> None:
        super().__init__()
        self.nodes, self.edges, self.outputs, self.unnatural = nodes, edges, outputs, unnatural
        largest = max(nodes.lmax, edges.lmax) + max(outputs.lmax, len(unnatural) - 1)
        self.edge_lmax = largest if edge_lmax is None else edge_lmax
        self.product = o3.FullyConnectedTensorProduct(
            _natural(nodes) + _natural(nodes) + _natural(edges),
            o3.Irreps.spherical_harmonics(self.edge_lmax),
            _natural(outputs) + o3.Irreps([(c, (l, -((-1) ** l))) for l, c in enumerate(unnatural)]),
        )

    def forward(self, h: Tensor, e: Tensor, pairs: PairEdges) -> tuple[Parts, Parts]:
        """Natural and unnatural parts per degree (2 E, 2l + 1, C_l): all i -> j, then all j -> i."""
        start, stop = torch.cat([pairs.i, pairs.j]), torch.cat([pairs.j, pairs.i])
        features = [
            (self.nodes, h.index_select(0, start)),
            (self.nodes, h.index_select(0, stop)),
            (self.edges, torch.cat([e[:, 0], e[:, 1]])),
        ]
        x = [part.transpose(1, 2).flatten(1) for channels, f in features for part in channels.split(f)]
        # The polar row of D^l is Y_l of the edge over sqrt(2l + 1).
        there = [(2 * l + 1) ** 0.5 * pairs.frames.wigner[l][:, l, :] for l in range(self.edge_lmax + 1)]
        back = [(-1) ** l * y for l, y in enumerate(there)]
        y = self.product(torch.cat(x, dim=1), torch.cat([torch.cat(there, dim=1), torch.cat(back, dim=1)]))
        pieces, first = [], 0
        for counts in (self.outputs.counts, self.unnatural):
            group = []
            for l, count in enumerate(counts):
                last = first + count * (2 * l + 1)
                group.append(y[:, first:last].unflatten(1, (count, 2 * l + 1)).transpose(1, 2))
                first = last
            pieces.append(group)
        return pieces[0], pieces[1]


def _natural(channels: Channels) -> o3.Irreps:
    return o3.Irreps([(c, (l, (-1) ** l)) for l, c in enumerate(channels.counts)])


class TensorProductMessages(MessageConvolution):
    """`MessageConvolution` by tensor products."""

    def __init__(self, *channels: Channels, edge_lmax: int | None = None, **settings) -> None:
        self.edge_lmax = edge_lmax
        super().__init__(*channels, **settings)

    def _make_linear(self) -> nn.Module:
        return DirectedTensorProduct(self.nodes, self.edges, self.with_gates, self.unnatural, self.edge_lmax)

    def forward(self, h: Tensor, e: Tensor, pairs: PairEdges, envelope: Tensor | None = None) -> Tensor:
        """As of `MessageConvolution`."""
        natural, _ = self.linear(h, e, pairs)
        radial = self.radial(torch.cat([pairs.radial, pairs.radial]))
        if envelope is not None:
            radial = radial * torch.cat([envelope, envelope])[:, None]
        scalars, factors = self.activated(natural[0][:, 0], radial)
        active, _ = _gated(scalars[:, None], natural[1:], [], factors)
        return flat_directions([_directions(part) for part in active])


class TensorProductExchange(ExchangeConvolution):
    """`ExchangeConvolution` by tensor products; its sectors are sum and difference of both directions."""

    def __init__(self, *channels: Channels, edge_lmax: int | None = None, **settings) -> None:
        self.edge_lmax = edge_lmax
        super().__init__(*channels, **settings)

    def _make_linear(self) -> nn.Module:
        return DirectedTensorProduct(self.nodes, self.edges, self.with_gates, self.unnatural, self.edge_lmax)

    def forward(self, h: Tensor, e: Tensor, pairs: PairEdges) -> list[Parts]:
        """As of `ExchangeConvolution`."""
        radial = self.radial(pairs.radial)
        sectors = [
            [_sectors(part, kind * (-1) ** l) for l, part in enumerate(group)]
            for kind, group in zip((1, -1), self.linear(h, e, pairs), strict=True)
        ]
        (first, *natural), unnatural = sectors
        even, odd = first[:, 0].unbind(1)
        scalars, factors = self.activated(even, radial)
        own, factors = factors.split([self.n_scalars, self.n_gates - self.n_scalars], dim=1)
        both = torch.stack([scalars, odd[:, : self.n_scalars] * own], dim=1)[:, None]
        natural, unnatural = _gated(both, natural, unnatural, factors[:, None])
        return [natural, unnatural]


def _gated(scalars: Tensor, natural: Parts, unnatural: Parts, factors: Tensor) -> tuple[Parts, Parts]:
    higher = [*natural, *unnatural]
    pieces = factors.unsqueeze(1).split([part.shape[-1] for part in higher], dim=-1)
    weighted = [part * piece for part, piece in zip(higher, pieces, strict=True)]
    return [scalars, *weighted[: len(natural)]], weighted[len(natural) :]


def _directions(part: Tensor) -> Tensor:
    """(2 E, 2l + 1, C) -> (E, 2l + 1, 2, C)."""
    return torch.stack(part.chunk(2), dim=2)


def _sectors(part: Tensor, sign: int) -> Tensor:
    there, back = part.chunk(2)
    return 0.5**0.5 * torch.stack([there + sign * back, there - sign * back], dim=2)

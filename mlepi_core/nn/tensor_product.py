"""The convolution of `so2` through e3nn's tensor product: slow, and the reference that tests compare with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from e3nn import o3
from torch import nn

from mlepi_core.nn.features import Channels
from mlepi_core.nn.so2 import EdgeConvolution, EdgeFrames


class TensorProductConvolution(EdgeConvolution):
    """`EdgeConvolution` whose linear part is DeepH-E3's tensor product with Y_l of the edge.

    The harmonics go up to the sum of the largest degrees before and after, so every SO(2) matrix can be
    reached.
    """

    def _make_linear(self, inputs: Channels, with_gates: Channels, bias: bool) -> nn.Module:
        irreps_out = o3.Irreps([(c, (l, (-1) ** l)) for l, c in enumerate(with_gates.counts)])
        irreps_out += o3.Irreps([(c, (l, -((-1) ** l))) for l, c in enumerate(self.unnatural)])
        self.l_edge = inputs.lmax + max(with_gates.lmax, len(self.unnatural) - 1)
        self.bias = nn.Parameter(torch.zeros(with_gates.counts[0])) if bias else None
        self.out_counts = with_gates.counts
        return o3.FullyConnectedTensorProduct(
            o3.Irreps([(c, (l, (-1) ** l)) for l, c in enumerate(inputs.counts)]),
            o3.Irreps.spherical_harmonics(self.l_edge),
            irreps_out,
        )

    def _linear(
        self, parts: Sequence[torch.Tensor], frames: EdgeFrames
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        x = torch.cat([part.transpose(1, 2).flatten(1) for part in parts], dim=1)
        # The polar row of D^l is Y_l of the edge over sqrt(2l + 1).
        harmonics = [(2 * l + 1) ** 0.5 * frames.wigner[l][:, l, :] for l in range(self.l_edge + 1)]
        y = self.linear(x, torch.cat(harmonics, dim=1))
        pieces, start = [], 0
        for degrees in (self.out_counts, self.unnatural):
            group = []
            for l, count in enumerate(degrees):
                stop = start + count * (2 * l + 1)
                group.append(y[:, start:stop].reshape(y.shape[0], count, 2 * l + 1).transpose(1, 2))
                start = stop
            pieces.append(group)
        natural, unnatural = pieces
        if self.bias is not None:
            natural[0] = natural[0] + self.bias
        return natural, unnatural

    def _back(self, parts: Sequence[torch.Tensor], frames: EdgeFrames) -> list[torch.Tensor]:
        return list(parts)

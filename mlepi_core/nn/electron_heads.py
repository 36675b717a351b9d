"""Heads of HedgeNet-Electron: from features to the coefficients of off-site and on-site blocks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mlepi_core.basis.irreps import BlockIrreps
from mlepi_core.nn.electron_layers import (
    ElectronArchitecture,
    SelfInteraction,
    make_convolution,
    remembered,
)
from mlepi_core.nn.features import Channels, DegreeLinear, weight
from mlepi_core.nn.so2 import PairEdges


class Head(nn.Module):
    """Last edge update and linear map to the coefficients of the blocks of every species pair.

    One of each Hermitian pair of blocks is predicted. The features are even or odd under exchange of the
    atoms, and the weights of equal species respect it, so that the block does not depend on which of the two
    directions was listed: H is Hermitian by construction.
    """

    def __init__(
        self,
        arch: ElectronArchitecture,
        nodes: Channels,
        edges: Channels,
        blocks: dict[tuple[int, int], BlockIrreps],
    ) -> None:
        super().__init__()
        natural, unnatural = Channels(arch.head_channels), tuple(arch.head_unnatural)
        self.checkpointed = arch.checkpoint_activations
        self.convolution = make_convolution(arch, True, nodes, edges, natural, unnatural=unnatural)
        self.out = nn.ModuleDict(
            {
                f"{a}_{b}": PairCoefficients(natural.counts, unnatural, irreps, symmetric=a == b)
                for (a, b), irreps in blocks.items()
                if a <= b
            }
        )

    def forward(
        self, h: Tensor, e: Tensor, pairs: PairEdges, by_pair: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Coefficients (E_ab, size) of the rows `by_pair` of every species pair "a_b"."""
        keys = list(by_pair)
        values = remembered(self.checkpointed, self._coefficients, h, e, pairs, by_pair)
        return dict(zip(keys, values, strict=True))

    def _coefficients(
        self, h: Tensor, e: Tensor, pairs: PairEdges, by_pair: dict[str, Tensor]
    ) -> tuple[Tensor, ...]:
        features = self.convolution(h, e, pairs)
        result = []
        for key, rows in by_pair.items():
            chosen = features
            if len(by_pair) > 1:
                chosen = [[part.index_select(0, rows) for part in group] for group in features]
            result.append(self.out[key](*([part.flatten(2) for part in group] for group in chosen)))
        return tuple(result)


class Coefficients(nn.Module):
    """Hidden channels per degree and parity -> block coefficients, in the order of `BlockIrreps.irreps`."""

    def __init__(self, natural: Sequence[int], unnatural: Sequence[int], irreps: BlockIrreps) -> None:
        super().__init__()
        self.slots: list[tuple[int, bool, int]] = []
        self.weights = nn.ParameterList()
        for multiplicity, irrep in irreps.irreps:
            is_natural = irrep.p == (-1) ** irrep.l
            counts = natural if is_natural else unnatural
            n_in = counts[irrep.l] if irrep.l < len(counts) else 0
            self.slots.append((irrep.l, is_natural, multiplicity))
            self.weights.append(weight(n_in, multiplicity, fan_in=n_in))

    def matrices(self) -> list[Tensor]:
        """Weights (C, multiplicity) of every irrep."""
        return list(self.weights)

    def forward(self, natural: Sequence[Tensor], unnatural: Sequence[Tensor]) -> Tensor:
        """(E, 2l + 1, C) per degree -> (E, size); degrees without hidden channels give zero."""
        columns = []
        for (l, is_natural, multiplicity), matrix in zip(self.slots, self.matrices(), strict=True):
            source = natural if is_natural else unnatural
            if matrix.shape[0] == 0 or l >= len(source):
                columns.append(natural[0].new_zeros(natural[0].shape[0], multiplicity * (2 * l + 1)))
            else:
                columns.append((source[l] @ matrix).transpose(1, 2).flatten(1))
        return torch.cat(columns, dim=1)


class PairCoefficients(Coefficients):
    """`Coefficients` of exchange-even and exchange-odd channels, side by side.

    Listed the other way round, channels of sector A and natural parity take (-1)^l, of sector B -(-1)^l, and
    those of unnatural parity the opposite; a coefficient c of channel k goes to that of the partner of k
    times its sign. For equal species the weights are projected on what obeys both.
    """

    def __init__(
        self, natural: Sequence[int], unnatural: Sequence[int], irreps: BlockIrreps, symmetric: bool
    ) -> None:
        super().__init__([2 * count for count in natural], [2 * count for count in unnatural], irreps)
        self.symmetric, first = symmetric, 0
        for n, (l, is_natural, multiplicity) in enumerate(self.slots if symmetric else ()):
            channels = np.arange(first, first + multiplicity)
            sign = (1 if is_natural else -1) * (-1) ** l * irreps.channel_sign[channels]
            self.register_buffer(
                f"partner_{n}", torch.from_numpy(irreps.channel_partner[channels] - first), persistent=False
            )
            self.register_buffer(f"sign_{n}", torch.from_numpy(sign), persistent=False)
            first += multiplicity

    def matrices(self) -> list[Tensor]:
        """Weights (2 C, multiplicity) of every irrep: sector A, then B."""
        if not self.symmetric:
            return super().matrices()
        result = []
        for n, matrix in enumerate(self.weights):
            even, odd = matrix.chunk(2) if len(matrix) else (matrix, matrix)
            sign, partner = getattr(self, f"sign_{n}"), getattr(self, f"partner_{n}")
            even = even + sign * even.index_select(1, partner)
            odd = odd - sign * odd.index_select(1, partner)
            result.append(torch.cat([even, odd]) * 0.5**0.5)
        return result


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
                str(a): Coefficients(self.hidden.counts, (), irreps)
                for (a, b), irreps in blocks.items()
                if a == b
            }
        )

    def forward(self, h: Tensor, by_species: dict[str, Tensor]) -> dict[str, Tensor]:
        """Coefficients (N_a, size) of the atoms of every species "a"."""
        hidden = self.hidden.split(self.gated(h) + self.straight(h))
        return {
            key: self.out[key]([part.index_select(0, index) for part in hidden], [])
            for key, index in by_species.items()
        }

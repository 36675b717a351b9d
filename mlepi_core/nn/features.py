"""Equivariant features as one flat tensor, and the per-degree parts that both networks need.

A feature of degrees l = 0 … L with C_l channels each is a tensor (X, dim): the segment of degree l holds
(2l + 1, C_l) numbers, channels fastest, components m = -l … l. This m-major layout makes rotations batched
matrix products and lets one gather fetch a whole feature.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

# 1 / sqrt(E[act(z)^2]) for z ~ N(0, 1): keeps the second moment of a layer at one.
SILU_SCALE = 1.6765
SIGMOID_SCALE = 1.8462


class Channels:
    """Number of channels per degree: `Channels((64, 32, 16))` is 64x0e + 32x1o + 16x2e."""

    def __init__(self, channels: Sequence[int]) -> None:
        self.counts = tuple(int(c) for c in channels)
        sizes = [(2 * l + 1) * c for l, c in enumerate(self.counts)]
        self.sizes = sizes

    @property
    def dim(self) -> int:
        """Numbers per node or edge."""
        return sum(self.sizes)

    @property
    def lmax(self) -> int:
        """Largest degree."""
        return len(self.counts) - 1

    def split(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Segments of x (X, dim) by degree, (X, 2l + 1, C_l)."""
        parts = x.split(self.sizes, dim=1)
        return [
            p.reshape(x.shape[0], 2 * l + 1, c)
            for l, (p, c) in enumerate(zip(parts, self.counts, strict=True))
        ]

    def join(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """Inverse of `split`."""
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    def channel_index(self) -> torch.Tensor:
        """Channel number (over all degrees) of every entry (dim,)."""
        starts = [sum(self.counts[:l]) for l in range(len(self.counts))]
        parts = [
            (start + torch.arange(c)).repeat(2 * l + 1)
            for l, (start, c) in enumerate(zip(starts, self.counts, strict=True))
        ]
        return torch.cat(parts)

    def channel_parity(self) -> torch.Tensor:
        """(-1)^l of every channel (sum of counts,)."""
        signs = [(-1.0) ** l * torch.ones(count) for l, count in enumerate(self.counts)]
        return torch.cat(signs) if signs else torch.zeros(0)

    def parity(self) -> torch.Tensor:
        """(-1)^l of every entry (dim,)."""
        return self.channel_parity()[self.channel_index()]


def weight(*shape: int, fan_in: int) -> nn.Parameter:
    """Normal weights of variance 1 / fan_in."""
    return nn.Parameter(torch.randn(*shape) / math.sqrt(max(fan_in, 1)))


class DegreeLinear(nn.Module):
    """Linear map of the channels of each degree; optional bias on l = 0; optionally per species.

    Parameters
    ----------
    inputs, outputs
        Channels before and after; degrees missing on either side give zeros.
    bias
        Adds a constant to the scalars.
    n_species
        Number of separate weight sets, chosen by the species index in `forward`.
    """

    def __init__(self, inputs: Channels, outputs: Channels, bias: bool = False, n_species: int = 1) -> None:
        super().__init__()
        self.inputs, self.outputs, self.n_species = inputs, outputs, n_species
        shared = min(inputs.lmax, outputs.lmax) + 1
        self.weights = nn.ParameterList(
            weight(n_species, inputs.counts[l], outputs.counts[l], fan_in=inputs.counts[l])
            for l in range(shared)
        )
        self.bias = nn.Parameter(torch.zeros(outputs.counts[0])) if bias else None

    def forward(self, x: torch.Tensor, species: torch.Tensor | None = None) -> torch.Tensor:
        """Map x (X, inputs.dim) to (X, outputs.dim); `species` (X,) picks the weights."""
        parts, old = [], self.inputs.split(x)
        for l, count in enumerate(self.outputs.counts):
            if l >= len(self.weights):
                parts.append(x.new_zeros(x.shape[0], (2 * l + 1) * count))
                continue
            part, matrix = old[l], self.weights[l]
            part = part @ matrix[0] if self.n_species == 1 else torch.bmm(part, matrix[species])
            if l == 0 and self.bias is not None:
                part = part + self.bias
            parts.append(part.flatten(1))
        return torch.cat(parts, dim=1)


class Norm(nn.Module):
    """Norm of the features of nodes or edges, with one learned weight per channel.

    Kinds:

    ``node``
        Divide each node or edge by its own rms over all entries. The l = 0 part keeps the denominator finite
        at symmetric structures, where features of l > 0 vanish and grow linearly with displacement; degrees
        are never divided by their own size.
    ``none``
        Only the weights.
    ``e3``
        That of DeepH-E3 (X. Gong et al., Nat. Commun. 14, 2848 (2023), arXiv 2210.13955), for comparison: of
        every (l, m) the mean over all rows of the structure and over the channels is subtracted, scalars are
        divided by their rms and get a bias. The output then depends on the whole structure.
    """

    def __init__(self, channels: Channels, kind: str = "node", epsilon: float = 1e-2) -> None:
        super().__init__()
        self.channels, self.kind, self.epsilon = channels, kind, epsilon
        self.weight = nn.Parameter(torch.ones(sum(channels.counts)))
        self.bias = nn.Parameter(torch.zeros(channels.counts[0])) if kind == "e3" else None
        self.register_buffer("index", channels.channel_index(), persistent=False)

    def forward(self, x: torch.Tensor, structure: torch.Tensor) -> torch.Tensor:
        """Normalise x (X, dim); `structure` (X,) numbers the structures that the rows belong to."""
        if self.kind == "node":
            x = x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + self.epsilon)
        elif self.kind == "e3" and len(x):
            x = self._centred(x, structure)
        x = x * self.weight.index_select(0, self.index)
        if self.bias is None:
            return x
        return torch.cat([x[:, : len(self.bias)] + self.bias, x[:, len(self.bias) :]], dim=1)

    def _centred(self, x: torch.Tensor, structure: torch.Tensor) -> torch.Tensor:
        count = torch.bincount(structure).clamp(min=1).to(x.dtype)[:, None]

        def average(values: torch.Tensor) -> torch.Tensor:
            sums = values.new_zeros(len(count), values.shape[1]).index_add(0, structure, values)
            return (sums / count).index_select(0, structure)

        parts = [part - average(part.mean(dim=2))[:, :, None] for part in self.channels.split(x)]
        square = average(parts[0][:, 0].square().mean(dim=1, keepdim=True))
        parts[0] = parts[0] * torch.rsqrt(square + 1e-5)[:, :, None]
        return self.channels.join(parts)


class GaussianBasis(nn.Module):
    """Gaussians exp(-(d - mu)^2 / 2 w^2) on an even grid, w = grid spacing."""

    def __init__(self, start: float, stop: float, count: int) -> None:
        super().__init__()
        self.register_buffer("centres", torch.linspace(start, stop, count))
        self.width = (stop - start) / (count - 1)

    def forward(self, distance: torch.Tensor) -> torch.Tensor:
        """Values (E, count) at distances (E,) in Å."""
        return torch.exp(-0.5 * ((distance[:, None] - self.centres) / self.width).square())


def smooth_envelope(distance: torch.Tensor, cutoff: float, p: int = 5) -> torch.Tensor:
    """Polynomial that is 1 at 0 and vanishes with two derivatives at `cutoff` (Å).

    J. Gasteiger, J. Groß, S. Günnemann, ICLR 2020, arXiv 2003.03123, Eq. 8.
    """
    x = (distance / cutoff).clamp(max=1.0)
    value = 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
    return torch.where(distance < cutoff, value, torch.zeros_like(value))


def radial_mlp(widths: Sequence[int], bias: bool = True) -> nn.Sequential:
    """Perceptron with SiLU between the layers, weights of unit second moment."""
    layers: list[nn.Module] = []
    for k, (n_in, n_out) in enumerate(pairwise(widths)):
        linear = nn.Linear(n_in, n_out, bias=bias)
        nn.init.normal_(linear.weight, std=(SILU_SCALE if k else 1.0) / math.sqrt(n_in))
        if bias:
            nn.init.zeros_(linear.bias)
        layers += [linear, nn.SiLU()]
    return nn.Sequential(*layers[:-1])

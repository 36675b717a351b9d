"""Blocks of the phonon net: interaction (sum over neighbours), node update, readouts.

Node features are (N, components, K): components stacked by degree l = 0, 1, ..., channels last.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mlepi_core.basis.rotations import wigner_3j
from mlepi_core.nn.phonon_messages import message_sums
from mlepi_core.nn.product_basis import SymmetricContraction
from mlepi_core.nn.radial import RadialNetwork, normalised_silu

__all__ = [
    "DegreeLinear",
    "FirstInteraction",
    "Interaction",
    "NodeUpdate",
    "ScalarReadout",
    "SpeciesLinear",
    "degree_slices",
]


def degree_slices(lmax: int) -> list[slice]:
    """Components of degree l = 0..lmax in a stacked axis."""
    return [slice(ell**2, (ell + 1) ** 2) for ell in range(lmax + 1)]


class DegreeLinear(nn.Module):
    """Channel mixing per degree, no bias: (N, (lmax+1)^2, K) -> same shape."""

    def __init__(self, lmax: int, channels: int) -> None:
        super().__init__()
        self.slices = degree_slices(lmax)
        self.weight = nn.Parameter(torch.randn(lmax + 1, channels, channels, dtype=torch.float64))
        self.factor = 1 / math.sqrt(channels)

    def forward(self, h: Tensor) -> Tensor:
        weight = self.weight * self.factor
        return torch.cat([h[:, part] @ weight[ell] for ell, part in enumerate(self.slices)], dim=1)


class SpeciesLinear(nn.Module):
    """Channel mixing per degree with weights of the atom's element, no bias.

    The tensor product with a one-hot element vector of the reference architecture, written out.
    """

    def __init__(self, n_species: int, lmax: int, channels: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(DegreeLinear(lmax, channels) for _ in range(n_species))

    def forward(self, h: Tensor, species: Tensor) -> Tensor:
        if len(self.parts) == 1:
            return self.parts[0](h)
        return sum(part(h) * (species == index)[:, None, None].to(h) for index, part in enumerate(self.parts))


class Interaction(nn.Module):
    """A_i = 1/n sum_s R(d) C (h_s x Y): one relation's sum over neighbours, mixed to K channels per degree.

    The sum over neighbours is taken of h_s R(d) times Y before the coupling coefficients are applied, so that
    nothing of size edges x K x couplings appears and the coupling works on nodes only.

    Parameters
    ----------
    lmax_in, max_ell
        Degrees of the incoming node features and of the edges (and of A).
    channels
        K.
    n_species
        Number of elements.
    n_radial, radial_hidden
        Radial basis size and hidden widths of the radial network.
    """

    def __init__(
        self,
        lmax_in: int,
        max_ell: int,
        channels: int,
        n_radial: int,
        radial_hidden: Sequence[int],
    ) -> None:
        super().__init__()
        self.channels, self.max_ell = channels, max_ell
        self.up = DegreeLinear(lmax_in, channels)
        self.paths = [
            (l1, l2, l3)
            for l1 in range(lmax_in + 1)
            for l2 in range(max_ell + 1)
            for l3 in range(abs(l1 - l2), min(l1 + l2, max_ell) + 1)
            if (l1 + l2 + l3) % 2 == 0
        ]
        self.groups = tuple(
            (sum(path[0] == l1 for path in self.paths), 2 * l1 + 1) for l1 in range(lmax_in + 1)
        )
        self.radial = RadialNetwork(n_radial, radial_hidden, len(self.paths) * channels)
        for l1 in range(lmax_in + 1):
            self.register_buffer(f"coupling_{l1}", self._coupling(l1), persistent=False)
        counts = [sum(path[2] == l3 for path in self.paths) for l3 in range(max_ell + 1)]
        self.mix = nn.ParameterList(
            nn.Parameter(torch.randn(count * channels, channels, dtype=torch.float64)) for count in counts
        )

    def _coupling(self, l1: int) -> Tensor:
        """sqrt(2 l3 + 1) w3j as (sum of 2 l3 + 1 over the paths of l1, D * n_paths * (2 l1 + 1))."""
        paths = [path for path in self.paths if path[0] == l1]
        rows = sum(2 * l3 + 1 for _, _, l3 in paths)
        matrix = torch.zeros(rows, (self.max_ell + 1) ** 2, len(paths), 2 * l1 + 1, dtype=torch.float64)
        row = 0
        for index, (_, l2, l3) in enumerate(paths):
            symbol = wigner_3j(l1, l2, l3).permute(2, 1, 0) * math.sqrt(2 * l3 + 1)
            matrix[row : row + 2 * l3 + 1, l2**2 : (l2 + 1) ** 2, index] = symbol
            row += 2 * l3 + 1
        return matrix.flatten(1)

    def forward(self, h: Tensor, species: Tensor, sender: Tensor, basis: Tensor, harmonics: Tensor) -> Tensor:
        """Sum the messages to every atom.

        Parameters
        ----------
        h
            (N, (lmax_in + 1)^2, K).
        species
            (N,).
        sender
            Neighbour table, (N, M).
        basis
            Radial basis, (N, M, n_radial).
        harmonics
            Already divided by the mean number of neighbours, (N, D, M).

        Returns
        -------
        Tensor
            A, (N, D, K).
        """
        n, m = sender.shape
        neighbour = self.up(h).index_select(0, sender.reshape(-1)).reshape(n, m, *h.shape[1:])
        radial = self.radial(basis).reshape(n, m, len(self.paths), self.channels)
        pieces: list[list[Tensor]] = [[] for _ in range(self.max_ell + 1)]
        for l1, summed in enumerate(message_sums(radial, neighbour, harmonics, self.groups)):
            paths = [path for path in self.paths if path[0] == l1]
            coupled = getattr(self, f"coupling_{l1}") @ summed
            for piece, (_, _, l3) in zip(
                coupled.split([2 * p[2] + 1 for p in paths], dim=1), paths, strict=True
            ):
                pieces[l3].append(piece)
        return torch.cat(
            [
                torch.cat(parts, dim=-1) @ (weight / math.sqrt(weight.shape[0]))
                for parts, weight in zip(pieces, self.mix, strict=True)
            ],
            dim=1,
        )


class FirstInteraction(Interaction):
    """Interaction of the first layer, where the features are scalars that depend on the element alone.

    They and the last linear map of the radial network then leave the sum over neighbours, which is
    one of the network's hidden values times Y for each element. A passes an element-dependent linear map.
    """

    def __init__(
        self, max_ell: int, channels: int, n_species: int, n_radial: int, radial_hidden: Sequence[int]
    ) -> None:
        super().__init__(0, max_ell, channels, n_radial, radial_hidden)
        self.species_map = SpeciesLinear(n_species, max_ell, channels)

    def forward(
        self, embedding: Tensor, species: Tensor, sender: Tensor, basis: Tensor, harmonics: Tensor
    ) -> Tensor:
        """See `Interaction.forward`; `embedding` is (S, K), of the elements."""
        values, last = self.radial.hidden(basis), self.radial.last()
        # Path (0, l, l) of every degree: no coupling but the channels' own.
        maps = last.reshape(-1, self.max_ell + 1, self.channels).unbind(1)
        up = self.up(embedding[:, None])
        total = 0.0
        for index in range(len(embedding)):
            known = harmonics if len(embedding) == 1 else harmonics * (species[sender] == index)[:, None]
            summed = torch.bmm(known, values)
            total = total + up[index] * torch.cat(
                [summed[:, part] @ w for part, w in zip(degree_slices(self.max_ell), maps, strict=True)],
                dim=1,
            )
        mixed = [
            total[:, part] @ (weight / math.sqrt(weight.shape[0]))
            for part, weight in zip(degree_slices(self.max_ell), self.mix, strict=True)
        ]
        return self.species_map(torch.cat(mixed, dim=1), species)


class NodeUpdate(nn.Module):
    """h' = Linear(B(A)) + sc(h): product basis, mixing, element-dependent skip (none in the first layer)."""

    def __init__(
        self,
        n_species: int,
        channels: int,
        max_ell: int,
        lmax_in: int,
        lmax_out: int,
        correlation: int,
        residual: bool,
    ) -> None:
        super().__init__()
        self.product = SymmetricContraction(n_species, channels, max_ell, range(lmax_out + 1), correlation)
        self.linear = DegreeLinear(lmax_out, channels)
        self.lmax_skip = min(lmax_in, lmax_out)
        self.skip = SpeciesLinear(n_species, self.lmax_skip, channels) if residual else None

    def forward(self, features: Tensor, h: Tensor, species: Tensor) -> Tensor:
        """A (N, D, K) and the old h -> new h (N, (lmax_out + 1)^2, K)."""
        out = self.linear(self.product(features, species))
        if self.skip is None:
            return out
        skip = self.skip(h[:, : (self.lmax_skip + 1) ** 2], species)
        missing = out.shape[1] - skip.shape[1]
        return out + nn.functional.pad(skip, (0, 0, 0, missing)) if missing else out + skip


class ScalarReadout(nn.Module):
    """Atomic energies from scalars: linear, or with one hidden SiLU layer; no biases, so 0 -> 0."""

    def __init__(self, channels: int, hidden: int | None) -> None:
        super().__init__()
        widths = (channels, 1) if hidden is None else (channels, hidden, 1)
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(a, b, dtype=torch.float64)) for a, b in itertools.pairwise(widths)
        )

    def forward(self, scalars: Tensor) -> Tensor:
        """(N, K) -> (N,)."""
        x = scalars
        for layer, weight in enumerate(self.weights):
            if layer:
                x = normalised_silu(x)
            x = x @ (weight / math.sqrt(weight.shape[0]))
        return x[:, 0]

"""Equivariant convolution on pairs of atoms as SO(2) linear maps in the frame of the edge.

In a frame whose polar axis lies along the edge, a tensor product with spherical harmonics of the edge
couples only components of equal |m|. Paths with even l1 + lf + l3 give the same matrix for +m and -m; paths
with odd sum, which alone reach unnatural parity, give antisymmetric ones between +m and -m (S. Passaro, C.
L. Zitnick, ICML 2023, arXiv 2302.03655). The rest of the convolution is DeepH-E3's (X. Gong et al., Nat.
Commun. 14, 2848 (2023), arXiv 2210.13955): gate by scalars, then one radial weight per channel.

Both directions of a pair are done at once. Turning the edge round is a rotation by pi across the frame: it
multiplies degree l by (-1)^l, up to factors of m alone that commute with everything here. So

    a_l = h_i + (-1)^l h_j,    b_l = h_i - (-1)^l h_j

(features of the edge itself likewise: e_ij, e_ji) go through two independent SO(2) linear maps A and B, and

    y_ij = A a + B b,    y_ji = (-1)^l (A a - B b)

is every pair of maps y_ij = W (h_i, h_j, e_ij), y_ji = W (h_j, h_i, e_ji): with half of the rotations and of
the multiplications. The parts A a and B b are even and odd under exchange of the atoms, times (-1)^l.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mlepi_core.nn.electron_layout import rearrange
from mlepi_core.nn.features import Channels, weight

Parts = Sequence[Tensor]


class EdgeFrames:
    """Wigner matrices of the edges, kept for the degrees that a network asks for.

    Parameters
    ----------
    wigner
        D^l (E, 2l + 1, 2l + 1), l = 0 …, taking global components to the edge frame.
    """

    def __init__(self, wigner: Sequence[Tensor]) -> None:
        self.wigner = list(wigner)

    def select(self, index: Tensor | slice) -> EdgeFrames:
        """Frames of a subset of the edges."""
        return EdgeFrames([matrix[index] for matrix in self.wigner])

    def into(self, parts: Parts, m_max: int) -> list[Tensor]:
        """Components |m| <= m_max in the frame; parts per degree (E, 2l + 1, ...)."""
        return [
            part if l == 0 else _rotated(self._rows(l, min(l, m_max)), part) for l, part in enumerate(parts)
        ]

    def back(self, parts: Parts, unnatural: bool = False) -> list[Tensor]:
        """Global components of parts given in the frame, per degree (E, 2k + 1, ...) with k <= l.

        Frames are proper, so parity plays no part. `unnatural` parts p hold z_m = p_-m, z_-m = -p_m (m < 0)
        instead of the components z themselves.
        """
        result = []
        for l, part in enumerate(parts):
            k = part.shape[1] // 2
            matrix = self._rows(l, k)
            if unnatural:
                m = torch.arange(-k, k + 1, device=part.device)
                matrix = matrix.flip(1) * torch.sign(m).to(part.dtype)[:, None]
            result.append(part if l == 0 else _rotated(matrix.transpose(1, 2), part))
        return result

    def _rows(self, l: int, k: int) -> Tensor:
        return self.wigner[l] if k == l else self.wigner[l][:, l - k : l + k + 1]


def _rotated(matrix: Tensor, part: Tensor) -> Tensor:
    flat = part.flatten(2)
    # Products of one row and one column are slow as matrix products.
    product = matrix * flat if part.shape[1] == 1 else torch.bmm(matrix, flat)
    return product.unflatten(2, part.shape[2:])


@dataclass
class PairEdges:
    """Pairs of atoms i, j (E,) as the layers of one stack see them, and their embedding.

    Parameters
    ----------
    i, j
        Atoms (E,).
    frames
        Rotations that take x_j - x_i to the polar axis.
    radial
        Radial functions (E, n) of the distance.
    envelope
        Factor (E,) that ends messages smoothly.
    """

    i: Tensor
    j: Tensor
    frames: EdgeFrames
    radial: Tensor
    envelope: Tensor


class SO2Linear(nn.Module):
    """One real matrix per |m| on the stacked channels of all degrees l >= |m|.

    Parameters
    ----------
    inputs, outputs
        Channels of natural parity before and after.
    unnatural
        Channels per degree of the outputs of parity -(-1)^l; empty for none. Degree 0 must be 0.
    """

    def __init__(self, inputs: Channels, outputs: Channels, unnatural: Sequence[int] = ()) -> None:
        super().__init__()
        if unnatural and unnatural[0]:
            raise ValueError("there is no axial m = 0 map to unnatural scalars")
        self.m_max = min(inputs.lmax, max(outputs.lmax, len(unnatural) - 1))
        self.splits, self.weights = [], nn.ParameterList()
        for m in range(self.m_max + 1):
            n_in = sum(inputs.counts[m:])
            self.splits.append([sum(outputs.counts[m:]), sum(unnatural[m:]) if m else 0])
            self.weights.append(weight(n_in, sum(self.splits[m]), fan_in=n_in))

    def forward(self, x: Parts) -> tuple[list[Tensor], list[Tensor | None]]:
        """Map frame components, per |m| (1 or 2, E, C): those of -m, +m.

        Returns
        -------
        natural, unnatural
            Per |m| (1 or 2, E, C'). Unnatural components z stand as p of `EdgeFrames.back`, that is at the
            place of m the number that comes from m, not the one that goes there; None at m = 0.
        """
        natural, unnatural = [], []
        for part, matrix, sizes in zip(x, self.weights, self.splits, strict=False):
            even, odd = (part @ matrix).split(sizes, dim=2) if sizes[1] else (part @ matrix, None)
            natural.append(even)
            unnatural.append(odd)
        return natural, unnatural


def to_frame_columns(parts: Parts, counts: Sequence[int]) -> list[list[Tensor]]:
    """Per sector and |m| (1 or 2, E, C summed over l >= |m|), of parts (E, 2k + 1, 2, C_l) per degree."""
    edges, m_max = parts[0].shape[0], max(part.shape[1] // 2 for part in parts)
    shapes = [(2 if m else 1, edges, sum(counts[m:])) for _ in range(2) for m in range(m_max + 1)]

    def pairs(sources: Parts, targets: Parts) -> Iterator[tuple[Tensor, Tensor]]:
        return _columns(sources, (targets[: m_max + 1], targets[m_max + 1 :]), counts)

    flat = rearrange(pairs, shapes, parts)
    return [flat[: m_max + 1], flat[m_max + 1 :]]


def from_frame_columns(columns: Sequence[Parts], counts: Sequence[int], first: int = 0) -> list[Tensor]:
    """Inverse of `to_frame_columns`: per degree (E, 2k + 1, 2, C_l); zero for |m| < `first`."""
    m_max, edges = len(columns[0]) - 1, columns[0][-1].shape[1]
    shapes = [(edges, 2 * min(l, m_max) + 1, 2, count) for l, count in enumerate(counts)]
    sources = [part for sector in columns for part in sector[first:]]
    n = m_max + 1 - first

    def pairs(sources: Parts, targets: Parts) -> Iterator[tuple[Tensor, Tensor]]:
        pads = [None] * first
        sectors = ([*pads, *sources[:n]], [*pads, *sources[n:]])
        return ((column, part) for part, column in _columns(targets, sectors, counts))

    return rearrange(pairs, shapes, sources, fill=first > 0)


def _columns(
    parts: Parts, sectors: Sequence[Sequence[Tensor | None]], counts: Sequence[int]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Equal views (1 or 2, E, C_l) into parts per degree and into columns per |m|."""
    for l, part in enumerate(parts):
        k = part.shape[1] // 2
        for m in range(k + 1):
            rows = part[:, k - m : k + m + 1 : max(2 * m, 1)]
            start = sum(counts[m:l])
            for s, sector in enumerate(sectors):
                column = sector[m]
                if column is not None:
                    yield rows[:, :, s].transpose(0, 1), column[:, :, start : start + counts[l]]


class PairLinear(nn.Module):
    """Rotation into the frames and the two SO(2) linear maps; see the notes of the module.

    Parameters
    ----------
    nodes, edges
        Channels of the atoms and of the edges.
    outputs
        Natural channels of the parts A a and B b.
    unnatural
        Channels per degree of unnatural parity, the same in both.
    scale
        Factor of the inputs: 1/2 where both parts are added into y_ij and y_ji, 1/sqrt(2) where not.
    """

    def __init__(
        self,
        nodes: Channels,
        edges: Channels,
        outputs: tuple[Channels, Channels],
        unnatural: Sequence[int],
        scale: float,
    ) -> None:
        super().__init__()
        self.nodes, self.edges, self.inputs = nodes, edges, joined_channels(nodes, edges)
        self.maps = nn.ModuleList(SO2Linear(self.inputs, channels, unnatural) for channels in outputs)
        for name, channels in (("node", nodes), ("edge", edges)):
            self.register_buffer(f"{name}_sign", scale * channels.parity(), persistent=False)
        self.scale = scale

    def forward(self, h: Tensor, e: Tensor, pairs: PairEdges) -> list[tuple[list[Tensor], list[Tensor]]]:
        """Natural and unnatural components in the frame (see `SO2Linear`) of A a and of B b.

        Parameters
        ----------
        h
            Atoms (N, nodes.dim).
        e
            Edges (E, 2, edges.dim): of i -> j and of j -> i.
        pairs
            Pairs of atoms.
        """
        first = (self.scale * h).index_select(0, pairs.i)
        second = (self.node_sign * h).index_select(0, pairs.j)
        there, back = self.scale * e[:, 0], self.edge_sign * e[:, 1]
        groups = [
            self.nodes.split(first + second),
            self.edges.split(there + back),
            self.nodes.split(first - second),
            self.edges.split(there - back),
        ]
        parts = []
        for l in range(self.inputs.lmax + 1):
            joined = torch.cat([group[l] for group in groups if l < len(group)], dim=2)
            parts.append(joined.unflatten(2, (2, self.inputs.counts[l])))
        m_max = max(each.m_max for each in self.maps)
        columns = to_frame_columns(pairs.frames.into(parts, m_max), self.inputs.counts)
        return [each(column) for each, column in zip(self.maps, columns, strict=True)]


def joined_channels(nodes: Channels, edges: Channels) -> Channels:
    """Channels of h_i (or h_j) and e_ij side by side."""
    degrees = range(max(nodes.lmax, edges.lmax) + 1)
    return Channels([sum(sum(each.counts[l : l + 1]) for each in (nodes, edges)) for l in degrees])

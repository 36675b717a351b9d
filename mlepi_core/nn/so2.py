"""Equivariant convolution on edges as SO(2) linear maps in the frame of the edge.

In a frame whose polar axis lies along the edge, a tensor product with spherical harmonics of the edge
couples only components of equal |m|. Paths with even l1 + lf + l3 give the same matrix for +m and -m; paths
with odd sum, which alone reach unnatural parity, give antisymmetric ones between +m and -m (S. Passaro, C.
L. Zitnick, ICML 2023, arXiv 2302.03655). The rest of the convolution is DeepH-E3's (X. Gong et al., Nat.
Commun. 14, 2848 (2023), arXiv 2210.13955): gate by scalars, then one radial weight per channel.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from mlepi_core.nn.features import SIGMOID_SCALE, SILU_SCALE, Channels, radial_mlp, weight


class SO2Linear(nn.Module):
    """One real matrix per |m| on the stacked channels of all degrees l >= |m|.

    Parameters
    ----------
    inputs, outputs
        Channels of natural parity before and after.
    unnatural
        Channels per degree of the outputs of parity -(-1)^l; empty for none. Degree 0 must be 0.
    bias
        Adds a constant to the scalars.
    """

    def __init__(
        self, inputs: Channels, outputs: Channels, unnatural: Sequence[int] = (), bias: bool = False
    ) -> None:
        super().__init__()
        self.inputs, self.outputs, self.unnatural = inputs, outputs, tuple(unnatural)
        if self.unnatural and self.unnatural[0]:
            raise ValueError("there is no axial m = 0 map to unnatural scalars")
        self.even = nn.ParameterList()
        for m in range(min(inputs.lmax, outputs.lmax) + 1):
            n_in, n_out = sum(inputs.counts[m:]), sum(outputs.counts[m:])
            self.even.append(weight(n_in, n_out, fan_in=n_in))
        self.odd = nn.ParameterList()
        for m in range(1, min(inputs.lmax, len(self.unnatural) - 1) + 1):
            n_in, n_out = sum(inputs.counts[m:]), sum(self.unnatural[m:])
            self.odd.append(weight(n_in, n_out, fan_in=n_in))
        self.bias = nn.Parameter(torch.zeros(outputs.counts[0])) if bias else None

    @property
    def m_max(self) -> int:
        """Largest |m| of the inputs that is read."""
        return max(len(self.even) - 1, len(self.odd))

    def forward(self, x: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Map frame components.

        Parameters
        ----------
        x
            Per degree l (E, 2 min(l, m_max) + 1, C_l): the components |m| <= m_max in the edge frame.

        Returns
        -------
        natural, unnatural
            Per degree (E, 2l + 1, C'_l) in the edge frame.
        """
        edges = x[0].shape[0]
        # unbind, not indexing: its backward is one stack instead of a zero-filled copy per column.
        columns = [part.unbind(1) for part in x]
        even: dict[int, list[torch.Tensor]] = {}
        odd: dict[int, list[torch.Tensor]] = {}
        for m in range(self.m_max + 1):
            plus = torch.cat([column[len(column) // 2 + m] for column in columns[m:]], dim=1)
            if m == 0:
                value = plus @ self.even[0]
                even[0] = list(value.split(self.outputs.counts, dim=1))
                if self.bias is not None:
                    even[0][0] = even[0][0] + self.bias
                continue
            minus = torch.cat([column[len(column) // 2 - m] for column in columns[m:]], dim=1)
            both = torch.cat([plus, minus], dim=0)
            if m < len(self.even):
                value = both @ self.even[m]
                for sign, half in ((1, value[:edges]), (-1, value[edges:])):
                    even[sign * m] = list(half.split(self.outputs.counts[m:], dim=1))
            if m <= len(self.odd):
                value = both @ self.odd[m - 1]
                for sign, half in ((-1, value[:edges]), (1, -value[edges:])):
                    odd[sign * m] = list(half.split(self.unnatural[m:], dim=1))
        natural = _assemble(even, self.outputs.counts, x[0])
        return natural, _assemble(odd, self.unnatural, x[0])


def _assemble(
    columns: dict[int, list[torch.Tensor]], counts: Sequence[int], like: torch.Tensor
) -> list[torch.Tensor]:
    """Tensors (E, 2l + 1, C_l) from the columns of every m; missing columns are zero."""
    result = []
    for l, count in enumerate(counts):
        zero = like.new_zeros(like.shape[0], count)
        parts = [columns[m][l - abs(m)] if m in columns else zero for m in range(-l, l + 1)]
        result.append(torch.stack(parts, dim=1))
    return result


class EdgeFrames:
    """Wigner matrices of the edges, kept for the degrees that a network asks for.

    Parameters
    ----------
    wigner
        D^l (E, 2l + 1, 2l + 1), l = 0 …, taking global components to the edge frame.
    """

    def __init__(self, wigner: Sequence[torch.Tensor]) -> None:
        self.wigner = list(wigner)

    def select(self, index: torch.Tensor) -> EdgeFrames:
        """Frames of a subset of the edges."""
        return EdgeFrames([matrix[index] for matrix in self.wigner])

    def into(self, parts: Sequence[torch.Tensor], m_max: int) -> list[torch.Tensor]:
        """Components |m| <= m_max in the frame; parts per degree (E, 2l + 1, C)."""
        rotated = []
        for l, part in enumerate(parts):
            keep = min(l, m_max)
            matrix = self.wigner[l] if keep == l else self.wigner[l][:, l - keep : l + keep + 1]
            rotated.append(part if l == 0 else torch.bmm(matrix, part))
        return rotated

    def back(self, parts: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Global components of parts given in the frame; frames are proper, so parity plays no part."""
        return [
            part if l == 0 else torch.bmm(self.wigner[l].transpose(1, 2), part)
            for l, part in enumerate(parts)
        ]


class EdgeConvolution(nn.Module):
    """Gated, radially weighted convolution of the features at an edge.

    Parameters
    ----------
    inputs
        Channels of the concatenated features at the edge.
    outputs, unnatural
        Channels per degree of natural and unnatural parity.
    n_radial, radial_hidden
        Size of the radial basis and of the hidden layers of the radial perceptron.
    bias
        Allow constants; without them zero features give exactly zero.
    """

    def __init__(
        self,
        inputs: Channels,
        outputs: Channels,
        *,
        n_radial: int,
        radial_hidden: Sequence[int],
        unnatural: Sequence[int] = (),
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.inputs, self.outputs, self.unnatural = inputs, outputs, tuple(unnatural)
        self.n_gates = sum(outputs.counts[1:]) + sum(self.unnatural)
        with_gates = Channels((outputs.counts[0] + self.n_gates, *outputs.counts[1:]))
        self.linear = self._make_linear(inputs, with_gates, bias)
        self.radial = radial_mlp((n_radial, *radial_hidden, outputs.counts[0] + self.n_gates))

    def _make_linear(self, inputs: Channels, with_gates: Channels, bias: bool) -> nn.Module:
        return SO2Linear(inputs, with_gates, self.unnatural, bias)

    def _linear(
        self, parts: Sequence[torch.Tensor], frames: EdgeFrames
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        natural, unnatural = self.linear(frames.into(parts, self.linear.m_max))
        return natural, unnatural

    def _back(self, parts: Sequence[torch.Tensor], frames: EdgeFrames) -> list[torch.Tensor]:
        return frames.back(parts)

    def forward(
        self,
        parts: Sequence[torch.Tensor],
        frames: EdgeFrames,
        radial_basis: torch.Tensor,
        envelope: torch.Tensor | None = None,
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Convolve.

        Parameters
        ----------
        parts
            Features at the edges, per degree (E, 2l + 1, C_l), global components.
        frames
            Rotations into the edge frames.
        radial_basis
            (E, n_radial) functions of the distance.
        envelope
            (E,) factor that ends the messages smoothly.

        Returns
        -------
        natural, unnatural
            Per degree (E, 2l + 1, C'_l), global components.
        """
        natural, unnatural = self._linear(parts, frames)
        radial = self.radial(radial_basis)
        if envelope is not None:
            radial = radial * envelope[:, None]
        n_scalars = self.outputs.counts[0]
        scalars, gates = natural[0].split([n_scalars, self.n_gates], dim=2)
        factors = SIGMOID_SCALE * torch.sigmoid(gates[:, 0]) * radial[:, n_scalars:]
        sizes = (*self.outputs.counts[1:], *self.unnatural)
        pieces = list(factors.unsqueeze(1).split(sizes, dim=2)) if self.n_gates else []
        active = [SILU_SCALE * nn.functional.silu(scalars) * radial[:, None, :n_scalars]]
        active += [part * piece for part, piece in zip(natural[1:], pieces, strict=False)]
        odd = [part * piece for part, piece in zip(unnatural, pieces[self.outputs.lmax :], strict=True)]
        return self._back(active, frames), self._back(odd, frames)

"""Hyper-parameters of HedgeNet-Electron and its node and edge updates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mlepi_core.nn.electron_convolution import ExchangeConvolution, GatedConvolution, MessageConvolution
from mlepi_core.nn.electron_graph import Edges
from mlepi_core.nn.features import SIGMOID_SCALE, SILU_SCALE, Channels, DegreeLinear, Norm
from mlepi_core.nn.so2 import PairEdges
from mlepi_core.nn.tensor_product import TensorProductExchange, TensorProductMessages

CONVOLUTIONS: dict[str, tuple[type[GatedConvolution], type[GatedConvolution]]] = {
    "so2": (MessageConvolution, ExchangeConvolution),
    "e3nn": (TensorProductMessages, TensorProductExchange),
}


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
    edge_lmax: int | None = None
    edge_updates: bool = True
    spin: str = "none"
    magnetic: bool = False
    checkpoint_activations: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary for the model file."""
        return asdict(self)


def make_convolution(
    arch: ElectronArchitecture, exchange: bool, *channels: Channels, **settings: Any
) -> GatedConvolution:
    """Convolution of the chosen kind for (nodes, edges, outputs); `exchange`: even and odd sectors."""
    if arch.convolution == "e3nn":
        settings["edge_lmax"] = arch.edge_lmax
    kind = CONVOLUTIONS[arch.convolution][exchange]
    return kind(*channels, n_radial=arch.n_radial, radial_hidden=arch.radial_hidden, **settings)


class EdgeChunks:
    """Pairs of one relation in pieces of at most `size`, embedded when it is their turn.

    Parameters
    ----------
    edges
        Pairs of atoms.
    embed
        Gives frames and radial functions of some pairs.
    size
        Pairs in a piece; None makes one piece, embedded once.
    """

    def __init__(self, edges: Edges, embed: Callable[[Edges], PairEdges], size: int | None) -> None:
        self.edges, self.embed, self.size = edges, embed, size
        self.whole = embed(edges) if size is None or len(edges) <= size else None

    def __iter__(self) -> Iterator[tuple[slice, PairEdges]]:
        if self.whole is not None:
            yield slice(0, len(self.edges)), self.whole
            return
        for start in range(0, len(self.edges), self.size):
            rows = slice(start, min(start + self.size, len(self.edges)))
            yield rows, self.embed(self.edges.take(rows))

    def mapped(self, function: Callable[[slice, PairEdges], Tensor]) -> Tensor:
        """Results of a function of the pieces, one after the other."""
        parts = [function(rows, pairs) for rows, pairs in self]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


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
        self.out, self.checkpointed = Channels(arch.channels), arch.checkpoint_activations
        self.linear_in = DegreeLinear(nodes, nodes, bias=not exact_zero)
        self.convolution = make_convolution(arch, False, nodes, edges, self.out, bias=not exact_zero)
        self.linear_out = DegreeLinear(self.out, self.out, bias=not exact_zero)
        self.self_term = None if exact_zero else DegreeLinear(nodes, self.out, n_species=n_species)
        self.self_message = None if exact_zero else SelfInteraction(nodes, self.out)
        self.norm = Norm(self.out, arch.norm)
        self.register_buffer("inverse_sqrt_neighbours", torch.ones(()))

    def forward(self, h: Tensor, e: Tensor, chunks: EdgeChunks, species: Tensor, structure: Tensor) -> Tensor:
        """Update (N, out.dim) from nodes h (N, nodes.dim) and features e (E, 2, edges.dim) of the pairs."""
        hbar = self.linear_in(h)
        total = h.new_zeros(h.shape[0], self.out.dim)
        for rows, pairs in chunks:
            message = remembered(self.checkpointed, self._messages, hbar, e[rows], pairs)
            total = total.index_add(0, torch.stack([pairs.i, pairs.j], dim=1).flatten(), message)
        total = total * self.inverse_sqrt_neighbours
        if self.self_message is not None:
            total = total + self.self_message(hbar)
        total = self.linear_out(total)
        if self.self_term is not None:
            total = total + self.self_term(h, species)
        return self.norm(total, structure)

    def _messages(self, hbar: Tensor, e: Tensor, pairs: PairEdges) -> Tensor:
        return self.convolution(hbar, e, pairs, pairs.envelope).flatten(0, 1)


class SelfInteraction(nn.Module):
    """Gated map per degree: the self-loop, which has no direction and therefore no frame."""

    def __init__(self, inputs: Channels, outputs: Channels) -> None:
        super().__init__()
        self.outputs, self.n_gates = outputs, sum(outputs.counts[1:])
        self.with_gates = Channels((outputs.counts[0] + self.n_gates, *outputs.counts[1:]))
        self.linear = DegreeLinear(inputs, self.with_gates, bias=True)

    def forward(self, h: Tensor) -> Tensor:
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
        self.edges, self.out = edges, Channels(arch.edge_channels)
        self.checkpointed = arch.checkpoint_activations
        self.convolution = make_convolution(arch, False, nodes, edges, self.out)
        self.linear = DegreeLinear(self.out, self.out, bias=not exact_zero)
        self.norm = Norm(self.out, arch.norm)

    def forward(self, h: Tensor, e: Tensor, chunks: EdgeChunks, structure: Tensor) -> Tensor:
        """New features (E, 2, out.dim) of the pairs; the old ones are kept and padded."""
        return chunks.mapped(
            lambda rows, pairs: remembered(self.checkpointed, self._updated, h, e[rows], pairs, structure)
        )

    def _updated(self, h: Tensor, e: Tensor, pairs: PairEdges, structure: Tensor) -> Tensor:
        update = self.convolution(h, e, pairs)
        flat = self.linear(update.flatten(0, 1))
        change = self.norm(flat, structure.index_select(0, pairs.i).repeat_interleave(2))
        return pad_channels(e, self.edges, self.out) + change.view_as(update) * pairs.envelope[:, None, None]


def remembered(checkpointed: bool, function: Callable[..., Any], *arguments: Any) -> Any:
    """Value of a function; `checkpointed`: the backward pass repeats it instead of storing intermediates."""
    if checkpointed and torch.is_grad_enabled():
        return checkpoint(function, *arguments, use_reentrant=False)
    return function(*arguments)


def pad_channels(x: Tensor, old: Channels, new: Channels) -> Tensor:
    """Features (..., old.dim) with more degrees or channels (..., new.dim); the new entries are zero."""
    if old.counts == new.counts:
        return x
    parts = []
    for l, part in enumerate(x.split(old.sizes, dim=-1)):
        grown = part.unflatten(-1, (2 * l + 1, old.counts[l]))
        parts.append(nn.functional.pad(grown, (0, new.counts[l] - old.counts[l])).flatten(-2))
    missing = new.dim - sum(new.sizes[: old.lmax + 1])
    return nn.functional.pad(torch.cat(parts, dim=-1), (0, missing))

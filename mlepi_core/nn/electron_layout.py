"""Rearrangement of numbers between lists of tensors, as one differentiable operation.

Slices and concatenations would copy everything several times on the way back; here both passes copy once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

Views = Callable[[Sequence[Tensor], Sequence[Tensor]], Iterable[tuple[Tensor, Tensor]]]


def rearrange(
    views: Views, shapes: Sequence[Sequence[int]], sources: Sequence[Tensor], fill: bool = False
) -> list[Tensor]:
    """Copy views of the sources into views of new tensors; linear, with derivatives in both modes.

    Parameters
    ----------
    views
        From sources and targets to pairs (view of a source, view of a target) of equal shape. Every entry of
        the sources stands in exactly one of them, and every entry of the targets too unless `fill`.
    shapes
        Of the targets.
    sources
        Tensors of one type.
    fill
        Put zero where the views do not reach.
    """
    return list(_Rearrange.apply(views, shapes, fill, *sources))


class _Rearrange(torch.autograd.Function):
    @staticmethod
    def forward(views: Views, shapes: Sequence[Sequence[int]], fill: bool, *sources: Tensor) -> Any:
        make = sources[0].new_zeros if fill else sources[0].new_empty
        targets = [make(shape) for shape in shapes]
        for source, target in views(sources, targets):
            target.copy_(source)
        return tuple(targets)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.views, ctx.shapes, ctx.fill, *sources = inputs
        ctx.source_shapes = [source.shape for source in sources]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        sources = [gradients[0].new_empty(shape) for shape in ctx.source_shapes]
        for source, gradient in ctx.views(sources, gradients):
            source.copy_(gradient)
        return None, None, None, *sources

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        given = next(tangent for tangent in tangents[3:] if tangent is not None)
        moved = [
            given.new_zeros(shape) if tangent is None else tangent
            for tangent, shape in zip(tangents[3:], ctx.source_shapes, strict=True)
        ]
        return tuple(rearrange(ctx.views, ctx.shapes, moved, ctx.fill))

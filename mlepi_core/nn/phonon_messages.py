"""Sum of messages over neighbours as one operation with its own first and second derivative.

S_(d,p,c,k) = Σ_s Y_(d,s) R_(s,p,k) x_(s,c,k) for every atom: harmonics d, paths p, components c of the
neighbours' features, channels k. Plain automatic differentiation would keep several tensors of size
edges × paths × components × channels for a training step; here they exist only for a few atoms at a
time, small enough to stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["message_sums"]

_CACHE_BYTES = 2**20
_DEVICE_BYTES = 2**28

Groups = tuple[tuple[int, int], ...]


def message_sums(radial: Tensor, features: Tensor, harmonics: Tensor, groups: Groups) -> tuple[Tensor, ...]:
    """Sums over neighbours, one for each degree of the features; differentiable twice (not by forward mode).

    Parameters
    ----------
    radial
        Weights (N, M, paths of all groups, K).
    features
        Of the neighbours, (N, M, components of all groups, K).
    harmonics
        (N, D, M).
    groups
        (number of paths, number of components) of each degree.

    Returns
    -------
    tuple of Tensor
        (N, D * paths * components, K) of each group.
    """
    return _Sums.apply(radial, features, harmonics, groups)


class _Sums(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(radial: Tensor, features: Tensor, harmonics: Tensor, groups: Groups) -> tuple[Tensor, ...]:
        sums: list[list[Tensor]] = [[] for _ in groups]
        for part in _parts(radial, groups):
            y = harmonics[part]
            operands = zip(_split(radial[part], groups, 0), _split(features[part], groups, 1), strict=True)
            for found, (r, x) in zip(sums, operands, strict=True):
                found.append(_node_sum(y, _outer(r, x)))
        return tuple(_node_rows(found, radial.shape[-1]) for found in sums)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        radial, features, harmonics, groups = inputs
        ctx.save_for_backward(radial, features, harmonics)
        ctx.groups = groups

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        return *_SumsGradient.apply(*ctx.saved_tensors, ctx.groups, *grads), None


class _SumsGradient(torch.autograd.Function):
    """Gradients of `_Sums` with respect to radial, features and harmonics."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        radial: Tensor, features: Tensor, harmonics: Tensor, groups: Groups, *grads: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        to_radial, to_features, to_harmonics = [], [], []
        for part in _parts(radial, groups):
            y, on_radial, on_features, on_harmonics = harmonics[part], [], [], 0.0
            operands = zip(_split(radial[part], groups, 0), _split(features[part], groups, 1), strict=True)
            for grad, (r, x) in zip(grads, operands, strict=True):
                g = _flat_nodes(grad[part], y)
                u = _edge_values(g, y, r, x)
                on_radial.append(_over_components(u, x))
                on_features.append(_over_paths(u, r))
                on_harmonics = on_harmonics + g @ _outer(r, x)
            to_radial.append(_joined(on_radial))
            to_features.append(_joined(on_features))
            to_harmonics.append(on_harmonics)
        return torch.cat(to_radial), torch.cat(to_features), torch.cat(to_harmonics)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        radial, features, harmonics, groups, *grads = inputs
        ctx.save_for_backward(radial, features, harmonics, *grads)
        ctx.groups = groups

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_radial: Tensor, v_features: Tensor, v_harmonics: Tensor) -> tuple[Any, ...]:
        """Derivatives of the form that is linear in each operand: every one is replaced by its v in turn."""
        radial, features, harmonics, *grads = ctx.saved_tensors
        groups = ctx.groups
        to_radial, to_features, to_harmonics = [], [], []
        to_grads: list[list[Tensor]] = [[] for _ in groups]
        for part in _parts(radial, groups):
            y, vy, on_radial, on_features, on_harmonics = harmonics[part], v_harmonics[part], [], [], 0.0
            operands = zip(
                grads,
                to_grads,
                _split(radial[part], groups, 0),
                _split(v_radial[part], groups, 0),
                _split(features[part], groups, 1),
                _split(v_features[part], groups, 1),
                strict=True,
            )
            for grad, to_grad, r, vr, x, vx in operands:
                g = _flat_nodes(grad[part], y)
                u, vu = _edge_values(g, y, r, x), _edge_values(g, vy, r, x)
                turned = _outer(vr, x) + _outer(r, vx)
                to_grad.append(_node_sum(y, turned) + _node_sum(vy, _outer(r, x)))
                on_radial.append(_over_components(vu, x, _over_components(u, vx)))
                on_features.append(_over_paths(vu, r, _over_paths(u, vr)))
                on_harmonics = on_harmonics + g @ turned
            to_radial.append(_joined(on_radial))
            to_features.append(_joined(on_features))
            to_harmonics.append(on_harmonics)
        back = [_node_rows(found, radial.shape[-1]) for found in to_grads]
        return torch.cat(to_radial), torch.cat(to_features), torch.cat(to_harmonics), None, *back


def _parts(radial: Tensor, groups: Groups) -> Iterator[slice]:
    """Slices of atoms whose largest intermediate fits the cache; a graphics card takes many at once."""
    n_atoms, width, _, channels = radial.shape
    per_atom = max(paths * components for paths, components in groups) * channels * width
    limit = _DEVICE_BYTES if radial.is_cuda else _CACHE_BYTES
    step = max(1, limit // max(per_atom * radial.element_size(), 1))
    for first in range(0, n_atoms, step):
        yield slice(first, first + step)


def _split(values: Tensor, groups: Groups, which: int) -> tuple[Tensor, ...]:
    """(n, M, all, K) -> (n, own, K, M) of each group, contiguous, for wide inner loops."""
    n, width, count, channels = values.shape
    turned = values.flatten(2).transpose(1, 2).contiguous().reshape(n, count, channels, width)
    return turned.split([group[which] for group in groups], dim=1)


def _joined(values: Sequence[Tensor]) -> Tensor:
    """Reverse of `_split`."""
    joined = torch.cat(list(values), dim=1)
    n, count, channels, width = joined.shape
    return joined.flatten(1, 2).transpose(1, 2).contiguous().reshape(n, width, count, channels)


def _outer(r: Tensor, x: Tensor) -> Tensor:
    """(n, P, K, M) and (n, C, K, M) -> (n, P C K, M)."""
    return (r[:, :, None] * x[:, None]).flatten(1, 3)


def _node_sum(y: Tensor, messages: Tensor) -> Tensor:
    return y @ messages.transpose(1, 2)


def _node_rows(found: list[Tensor], channels: int) -> Tensor:
    whole = torch.cat(found)
    return whole.reshape(whole.shape[0], whole.shape[1] * whole.shape[2] // channels, channels)


def _flat_nodes(grad: Tensor, y: Tensor) -> Tensor:
    n, rows, channels = grad.shape
    return grad.reshape(n, y.shape[1], rows // y.shape[1] * channels)


def _edge_values(g: Tensor, y: Tensor, r: Tensor, x: Tensor) -> Tensor:
    """Gradient on every edge, (n, P, C, K, M)."""
    return (g.transpose(1, 2) @ y).reshape(r.shape[0], r.shape[1], x.shape[1], *r.shape[2:])


def _over_components(u: Tensor, x: Tensor, start: Tensor | None = None) -> Tensor:
    """Σ_c u_(p,c) x_c, added to `start`: (n, P, K, M)."""
    for c in range(x.shape[1]):
        start = (
            u[:, :, c] * x[:, None, c] if start is None else torch.addcmul(start, u[:, :, c], x[:, None, c])
        )
    return start


def _over_paths(u: Tensor, r: Tensor, start: Tensor | None = None) -> Tensor:
    """Σ_p u_(p,c) r_p, added to `start`: (n, C, K, M)."""
    for p in range(r.shape[1]):
        start = u[:, p] * r[:, None, p] if start is None else torch.addcmul(start, u[:, p], r[:, None, p])
    return start

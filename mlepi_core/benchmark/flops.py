"""Floating-point operations of a computation, counted as it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["count_flops"]

_MOVES = ("clone", "where", "masked_fill", "masked_fill_", "positive")
_REDUCTIONS = ("sum", "mean", "linalg_vector_norm", "index_add", "index_add_", "scatter_add", "cumsum")
_MULTIPLY_ADDS = ("addcmul", "addcmul_", "addcdiv", "addcdiv_")


def count_flops(call: Callable[[], Any]) -> int:
    """Floating-point operations of a call, with the backward passes in it.

    Counted are matrix products (einsum, linear layers and batched products are such) with 2 operations per
    multiply-add; elementwise arithmetic and functions with 1 per number that they give, fused multiply-adds
    with 2; sums over neighbours or axes with 1 per number that they take. Copies, gathers and changes of
    layout count nothing. The numbers depend on shapes only, not on the machine.
    """
    with FlopCounterMode(display=False) as products, _Elementwise() as rest:
        call()
    return products.get_total_flops() + rest.flops


class _Elementwise(TorchDispatchMode):
    """Adds up what `FlopCounterMode` does not see: all arithmetic but matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in _REDUCTIONS:
            self.flops += max(_numbers(value) for value in args)
        elif torch.Tag.pointwise in func.tags and name not in _MOVES:
            self.flops += _numbers(result) * (2 if name in _MULTIPLY_ADDS else 1)
        return result


def _numbers(value: Any) -> int:
    return value.numel() if isinstance(value, Tensor) and value.is_floating_point() else 0

"""Exponential moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["ExponentialAverage"]


class ExponentialAverage:
    """Shadow weights s <- d s + (1 - d) w with d = min(decay, (1 + n)/(10 + n)) at update n.

    The growing decay keeps the random start out of the average of a short training.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.shadow = {name: value.detach().clone() for name, value in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the shadow towards the model's present weights."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        names = list(self.shadow)
        present = dict(model.named_parameters())
        torch._foreach_lerp_([self.shadow[n] for n in names], [present[n].detach() for n in names], 1 - decay)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """The model carries the averaged weights inside the block and its own again after it."""
        own = {name: value.detach().clone() for name, value in model.named_parameters()}
        _assign(model, self.shadow)
        try:
            yield
        finally:
            _assign(model, own)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and counters for the restart file."""
        return {"updates": self.updates, "shadow": self.shadow}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.updates = state["updates"]
        for name, value in state["shadow"].items():
            self.shadow[name].copy_(value)


@torch.no_grad()
def _assign(model: nn.Module, values: dict[str, Tensor]) -> None:
    for name, parameter in model.named_parameters():
        parameter.copy_(values[name])

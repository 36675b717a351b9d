"""Settings of the training loop, its learning rate and optimiser."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn

from mlepi_core.artefacts import InputError

__all__ = ["LoopSettings", "learning_rate", "new_optimiser"]

SCHEDULES = ("cosine", "linear", "exponential", "constant")


@dataclass(frozen=True)
class LoopSettings:
    """Optimiser and bookkeeping; steps are optimiser steps.

    After `warmup_steps` of linear rise the rate falls from `learning_rate` to `final_learning_rate` at the
    last step by `schedule` (cosine, linear, exponential; constant: not at all). `clip` is the largest
    gradient norm (None: no clipping), `weight_decay` is decoupled, `ema_decay` = 0 switches averaging off.
    After `patience` validations in a row without a new best one the training ends (None: never).
    """

    steps: int
    learning_rate: float = 0.01
    schedule: str = "cosine"
    final_learning_rate: float = 1e-5
    warmup_steps: int = 50
    clip: float | None = 10.0
    ema_decay: float = 0.99
    weight_decay: float = 0.0
    validation_every: int = 100
    checkpoint_every: int = 200
    patience: int | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError("steps", f"{self.steps} is too few", "use at least 1")
        if self.schedule not in SCHEDULES:
            raise InputError(
                "schedule", f"{self.schedule!r} is unknown", f"use one of {', '.join(SCHEDULES)}"
            )

    @classmethod
    def from_section(cls, section: Any) -> LoopSettings:
        """Take the fields of the same names from a section of the configuration."""
        return cls(
            **{item.name: getattr(section, item.name) for item in fields(cls) if hasattr(section, item.name)}
        )


def learning_rate(step: int, settings: LoopSettings) -> float:
    """Learning rate of optimiser step 0, 1, ..."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    progress = min(1.0, (step - settings.warmup_steps) / max(1, settings.steps - 1 - settings.warmup_steps))
    high, low = settings.learning_rate, settings.final_learning_rate
    if settings.schedule == "cosine":
        return low + (high - low) * 0.5 * (1 + math.cos(math.pi * progress))
    if settings.schedule == "linear":
        return low + (high - low) * (1 - progress)
    if settings.schedule == "exponential":
        return high * (low / high) ** progress
    return high


def new_optimiser(model: nn.Module, settings: LoopSettings) -> torch.optim.Optimizer:
    """AdamW with amsgrad."""
    return torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, amsgrad=True, weight_decay=settings.weight_decay
    )

"""Learning-rate range test: a short training with a rising rate shows which rates make the loss fall.

L. N. Smith, Cyclical learning rates for training neural networks, WACV 2017, arXiv:1506.01186.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from mlepi_core.artefacts import InputError
from mlepi_core.progress import Progress, silent
from mlepi_core.training.loop import Task
from mlepi_core.training.schedule import LoopSettings, new_optimiser

__all__ = ["RangePoint", "rate_range", "suggested_rate"]

# The loss of a batch depends on its structures: it is averaged over about ten steps.
_MEMORY = 0.9
# A loss so many times the smallest one has diverged.
_DIVERGED = 4.0


@dataclass(frozen=True)
class RangePoint:
    """A step of the test: its rate, the loss of its batch, the mean loss of recent steps."""

    step: int
    lr: float
    loss: float
    smoothed_loss: float


def rate_range(
    task: Task,
    settings: LoopSettings,
    low: float,
    high: float,
    steps: int = 100,
    progress: Progress = silent,
) -> list[RangePoint]:
    """Train with a rate that rises exponentially from `low` to `high`; ends early when the loss diverges.

    The weights of the task's model are spoiled by it.

    Parameters
    ----------
    settings
        Clipping and weight decay are used.
    low, high
        Rates of the first and of the last step.

    Raises
    ------
    InputError
        If the range is empty or has fewer than 20 steps.
    """
    if not 0 < low < high:
        raise InputError("--lr-range", f"{low:g} {high:g} is not a range", "give two rates, 0 < LOW < HIGH")
    if steps < 20:
        raise InputError("--lr-steps", f"{steps} is too few", "use at least 20")
    optimiser = new_optimiser(task.model, settings)
    points: list[RangePoint] = []
    mean, smallest = 0.0, math.inf
    for step in range(steps):
        rate = low * (high / low) ** (step / (steps - 1))
        loss = _step(task, settings, optimiser, step, rate)
        if not math.isfinite(loss):
            break
        mean = _MEMORY * mean + (1 - _MEMORY) * loss
        smoothed = mean / (1 - _MEMORY ** (step + 1))
        points.append(RangePoint(step, rate, loss, smoothed))
        smallest = min(smallest, smoothed)
        progress(step + 1, steps, f"rate {rate:.2g}, loss {smoothed:.3g}")
        if smoothed > _DIVERGED * smallest:
            break
    return points


def _step(
    task: Task, settings: LoopSettings, optimiser: torch.optim.Optimizer, step: int, rate: float
) -> float:
    for group in optimiser.param_groups:
        group["lr"] = rate
    task.model.train()
    optimiser.zero_grad(set_to_none=True)
    loss = task.loss(task.batch(step))
    loss.backward()
    nn.utils.clip_grad_norm_(task.model.parameters(), settings.clip or math.inf)
    optimiser.step()
    return loss.item()


def suggested_rate(points: list[RangePoint]) -> float | None:
    """Rate at which the logarithm of the smoothed loss falls fastest with that of the rate; None if nowhere.

    Only rates below that of the smallest smoothed loss count; the slope is that of a line through eleven
    neighbouring steps.
    """
    end = int(np.argmin([point.smoothed_loss for point in points])) + 1 if points else 0
    if end < 11:
        return None
    rates = np.log([point.lr for point in points[:end]])
    losses = np.log([point.smoothed_loss for point in points[:end]])
    slopes = [np.polyfit(rates[k : k + 11], losses[k : k + 11], 1)[0] for k in range(end - 10)]
    steepest = int(np.argmin(slopes))
    return points[steepest + 5].lr if slopes[steepest] < 0 else None

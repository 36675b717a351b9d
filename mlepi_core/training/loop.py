"""The training loop that both networks share: a fixed number of steps, resumable, deterministic.

What differs between the networks is a `Task`: model, batches, loss, validation. A batch depends on the step
number only, so that a resumed training continues exactly where it stopped.
"""

from __future__ import annotations

import logging
import math
import os
import time
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mlepi_core.artefacts import InputError, MlepiError
from mlepi_core.progress import Progress, silent
from mlepi_core.training.checkpoint import RestartFile, TrainingLock
from mlepi_core.training.ema import ExponentialAverage
from mlepi_core.training.history import write_history

__all__ = ["LoopSettings", "Task", "Trainer", "TrainingPaths", "TrainingResult", "learning_rate"]

logger = logging.getLogger(__name__)

SCHEDULES = ("cosine", "linear", "exponential", "constant")


class Task(Protocol):
    """What the loop needs to know of a network."""

    name: str
    """Prefix of progress lines, e.g. ``train_phonon``."""
    validation_metric: str
    """Key of `validate`'s result that decides the best model; lower is better."""

    @property
    def model(self) -> nn.Module:
        """The network that is trained."""

    def batch(self, step: int) -> Any:
        """Training batch of step 0, 1, ...; a pure function of the step."""

    def loss(self, batch: Any) -> Tensor:
        """Scalar loss of a batch."""

    def validate(self) -> dict[str, float]:
        """Metrics of the model's present weights on the validation set."""

    def describe(self, metrics: dict[str, float]) -> str:
        """A few words for the progress line, e.g. ``val 14.2 meV``."""


@dataclass(frozen=True)
class LoopSettings:
    """Optimiser and bookkeeping; steps are optimiser steps.

    After `warmup_steps` of linear rise the rate falls from `learning_rate` to `final_learning_rate` at the
    last step by `schedule` (cosine, linear, exponential; constant: not at all). `clip` is the largest
    gradient norm (None: no clipping), `weight_decay` is decoupled, `ema_decay` = 0 switches averaging off.
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


@dataclass(frozen=True)
class TrainingPaths:
    """Where the loop writes; every one may be None. `restart` must lie outside a rule's declared outputs."""

    restart: str | os.PathLike[str] | None = None
    history: str | os.PathLike[str] | None = None


@dataclass
class TrainingResult:
    """Best averaged weights, the step and value of the best validation, all history rows."""

    state_dict: dict[str, Tensor]
    best_step: int
    best_value: float
    history: list[dict[str, Any]] = field(default_factory=list)


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


class Trainer:
    """Runs a task for a fixed number of steps.

    Parameters
    ----------
    task
        Model, batches, loss, validation.
    settings
        See `LoopSettings`.
    paths
        Restart file and history CSV.
    digest
        Of configuration, code and data: a restart file with another one is not used.
    progress
        Called with the steps done, their number and the last validation, see `mlepi_core.progress`.

    Notes
    -----
    Validation runs under the averaged weights, and the result is the average with the smallest validation
    metric. The loop leaves the number of threads alone; on one thread it is deterministic.
    """

    def __init__(
        self,
        task: Task,
        settings: LoopSettings,
        paths: TrainingPaths | None = None,
        *,
        digest: str = "",
        progress: Progress = silent,
    ) -> None:
        self.task, self.settings, self.paths = task, settings, paths or TrainingPaths()
        self.model = task.model
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(),
            lr=settings.learning_rate,
            amsgrad=True,
            weight_decay=settings.weight_decay,
        )
        self.average = ExponentialAverage(self.model, settings.ema_decay)
        self.step = 0
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] | None = None
        self.best_step, self.best_value = 0, math.inf
        self._digest, self._progress = digest, progress
        self._earlier_s = 0.0
        self._losses: list[float] = []

    def run(self) -> TrainingResult:
        """Train to the last step, from the restart file if there is a fitting one.

        Raises
        ------
        MlepiError
            If another trainer holds the restart file, or the loss is not finite.
        """
        if self.paths.restart is None:
            return self._run(None, None)
        restart = RestartFile(self.paths.restart, self._digest)
        with TrainingLock(f"{os.fspath(self.paths.restart)}.lock") as lock:
            return self._run(restart, lock)

    def discard_restart(self) -> None:
        """Remove the restart file: call it when the model file is written."""
        if self.paths.restart is not None:
            RestartFile(self.paths.restart, self._digest).remove()

    def _run(self, restart: RestartFile | None, lock: TrainingLock | None) -> TrainingResult:
        state = restart.load() if restart else None
        if state is not None:
            self._restore(state)
            logger.info("%s: resuming at step %d", self.task.name, self.step)
            if self.paths.history is not None and self.history:
                write_history(self.paths.history, self.history)
        self._began = time.monotonic()
        note = ""
        while self.step < self.settings.steps:
            self._losses.append(self._optimise())
            if self._due(self.settings.validation_every):
                note = self._validate()
            self._progress(self.step, self.settings.steps, note)
            if restart and self._due(self.settings.checkpoint_every):
                restart.save(self._state())
                lock.refresh()
        return TrainingResult(self.best, self.best_step, self.best_value, self.history)

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.settings.steps

    def _optimise(self) -> float:
        rate = learning_rate(self.step, self.settings)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.model.train()
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.task.loss(self.task.batch(self.step))
        value = loss.item()
        if not math.isfinite(value):
            raise MlepiError(
                f"{self.task.name}: the loss is {value} at step {self.step}; lower learning_rate or clip"
            )
        loss.backward()
        if self.settings.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self.optimiser.step()
        self.average.update(self.model)
        self.step += 1
        return value

    def _validate(self) -> str:
        self.model.eval()
        with self.average.applied(self.model):
            metrics = self.task.validate()
            value = metrics[self.task.validation_metric]
            if not math.isfinite(value):
                raise MlepiError(
                    f"{self.task.name}: validation gives {value} at step {self.step}; lower learning_rate"
                )
            if value < self.best_value:
                self.best_value, self.best_step = value, self.step
                self.best = {key: tensor.detach().clone() for key, tensor in self.model.state_dict().items()}
        row = {"step": self.step, "lr": learning_rate(self.step - 1, self.settings)}
        row |= {"train_loss": sum(self._losses) / len(self._losses)} | metrics
        row["wall_s"] = round(self._earlier_s + time.monotonic() - self._began, 2)
        self.history.append(row)
        self._losses = []
        if self.paths.history is not None:
            write_history(self.paths.history, self.history)
        note = self.task.describe(metrics)
        logger.info(
            "%s: step %d/%d, loss %.4g, %s",
            self.task.name,
            self.step,
            self.settings.steps,
            row["train_loss"],
            note,
        )
        return note

    def _state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average.state_dict(),
            "history": self.history,
            "losses": self._losses,
            "best": self.best,
            "best_step": self.best_step,
            "best_value": self.best_value,
            "wall_s": self._earlier_s + time.monotonic() - self._began,
            "torch_rng": torch.get_rng_state(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.load_state_dict(state["average"])
        self.step, self.history, self._losses = state["step"], state["history"], state["losses"]
        self.best, self.best_step, self.best_value = state["best"], state["best_step"], state["best_value"]
        self._earlier_s = state["wall_s"]
        torch.set_rng_state(state["torch_rng"])

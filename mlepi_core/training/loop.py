"""The training loop that both networks share: a given number of steps, resumable, deterministic.

What differs between the networks is a `Task`: model, batches, loss, validation. A batch depends on the step
number only, so that a resumed training continues exactly where it stopped.
"""

from __future__ import annotations

import logging
import math
import os
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mlepi_core.artefacts import MlepiError
from mlepi_core.progress import Progress, Throughput, silent
from mlepi_core.training import parallel
from mlepi_core.training.checkpoint import RestartFile, TrainingLock
from mlepi_core.training.ema import ExponentialAverage
from mlepi_core.training.history import write_history
from mlepi_core.training.scalars import ScalarLog
from mlepi_core.training.schedule import LoopSettings, learning_rate, new_optimiser

__all__ = ["LoopSettings", "Task", "Trainer", "TrainingPaths", "TrainingResult", "learning_rate"]

logger = logging.getLogger(__name__)


class Task(Protocol):
    """What the loop needs to know of a network."""

    name: str
    """Prefix of progress lines, e.g. ``train_phonon``."""
    validation_metric: str
    """Key of `validate`'s result that decides the best model; lower is better."""

    @property
    def model(self) -> nn.Module:
        """The network that is trained."""

    def batch(self, step: int, rank: int = 0, of: int = 1) -> Any | None:
        """What process `rank` of `of` takes of the batch of step 0, 1, ...; None: nothing. It is pure."""

    def loss(self, batch: Any) -> Tensor:
        """Contribution of a process' share to the scalar loss of the step's whole batch."""

    def atoms(self, step: int) -> int:
        """Atoms in the whole batch of a step."""

    def validate(self) -> dict[str, float]:
        """Metrics of the model's present weights on the validation set."""

    def describe(self, metrics: dict[str, float]) -> str:
        """A few words for the progress line, e.g. ``val 14.2 meV``."""


@dataclass(frozen=True)
class TrainingPaths:
    """Where the loop writes; every one may be None. `restart` must lie outside a rule's declared outputs.

    `tensorboard` is a folder of event files.
    """

    restart: str | os.PathLike[str] | None = None
    history: str | os.PathLike[str] | None = None
    tensorboard: str | os.PathLike[str] | None = None


@dataclass
class TrainingResult:
    """Best averaged weights, the step and value of the best validation, all history rows, the last step."""

    state_dict: dict[str, Tensor]
    best_step: int
    best_value: float
    history: list[dict[str, Any]] = field(default_factory=list)
    steps: int = 0


class Trainer:
    """Runs a task for a given number of steps, or until it no longer improves.

    Parameters
    ----------
    task
        Model, batches, loss, validation.
    settings
        See `LoopSettings`.
    paths
        Restart file, history CSV, folder of event files.
    digest
        Of configuration, code and data: a restart file with another one is not used.
    progress
        Called with the steps done, their number and the last validation, see `mlepi_core.progress`.

    Notes
    -----
    Validation runs under the averaged weights, and the result is the average with the smallest validation
    metric. The loop leaves the number of threads alone; on one thread it is deterministic.

    With several processes (`mlepi_core.training.parallel`) each computes the gradient of its share of a batch
    and all make the same step; the first one validates, writes and holds the lock. The number of processes
    is no setting: a training may go on with another one.
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
        self.model, self.processes = task.model, parallel.present()
        self.processes.same_weights(self.model)
        self.optimiser = new_optimiser(self.model, settings)
        self.average = ExponentialAverage(self.model, settings.ema_decay)
        self.step = 0
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] | None = None
        self.best_step, self.best_value = 0, math.inf
        self._digest, self._progress = digest, progress if self.processes.first else silent
        self._earlier_s = 0.0
        self._losses: list[float] = []
        self._throughput = Throughput()
        self._scalars: ScalarLog | None = None
        self._restart: RestartFile | None = None

    def run(self) -> TrainingResult:
        """Train to the last step, from the restart file if there is a fitting one.

        Raises
        ------
        MlepiError
            If another trainer holds the restart file, or the loss is not finite.
        """
        if self.paths.restart is None or not self.processes.first:
            return self._run(None)
        self._restart = RestartFile(self.paths.restart, self._digest)
        with TrainingLock(f"{os.fspath(self.paths.restart)}.lock") as lock:
            return self._run(lock)

    def discard_restart(self) -> None:
        """Remove the restart file: call it when the model file is written."""
        if self._restart is not None:
            self._restart.remove()

    def _run(self, lock: TrainingLock | None) -> TrainingResult:
        self._resume()
        if self.paths.tensorboard is not None and self.processes.first:
            self._scalars = ScalarLog(self.paths.tensorboard, self.step)
        self._began = time.monotonic()
        note, finished = "", self._finished()
        while not finished:
            loss = self._optimise()
            self._losses.append(loss)
            if self._due(self.settings.validation_every):
                note = self._validate() if self.processes.first else ""
                self._losses = []
                finished = self.processes.from_first(self._finished())
            total = self.step if finished else self.settings.steps
            texts = (f"loss {loss:.3g}", note, self._throughput.text())
            self._progress(self.step, total, ", ".join(filter(None, texts)))
            if lock and (finished or self._due(self.settings.checkpoint_every)):
                self._restart.save(self._state())
                lock.refresh()
        if self._scalars:
            self._scalars.close()
        result = TrainingResult(self.best, self.best_step, self.best_value, self.history, self.step)
        return self.processes.from_first(result)

    def _resume(self) -> None:
        state = self.processes.from_first(self._restart.load() if self._restart else None)
        if state is None:
            return
        self._restore(state)
        logger.info("%s: resuming at step %d", self.task.name, self.step)
        if self.paths.history is not None and self.history and self.processes.first:
            write_history(self.paths.history, self.history)

    def _finished(self) -> bool:
        """Whether the last step is done or `patience` is used up; only the first process knows the latter."""
        return self.step >= self.settings.steps or self._patience_left() == 0

    def _patience_left(self) -> int | None:
        if self.settings.patience is None:
            return None
        return max(0, self.settings.patience - sum(row["step"] > self.best_step for row in self.history))

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.settings.steps

    def _optimise(self) -> float:
        rate = learning_rate(self.step, self.settings)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.model.train()
        self.optimiser.zero_grad(set_to_none=True)
        with self._throughput.measured(self.task.atoms(self.step)):
            value = self._gradient()
            if not math.isfinite(value):
                raise MlepiError(
                    f"{self.task.name}: the loss is {value} at step {self.step}; lower learning_rate or clip"
                )
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip or math.inf)
            self.optimiser.step()
            self.average.update(self.model)
        self.step += 1
        if self._scalars:
            row = {"loss": value, "learning_rate": rate, "gradient_norm": float(norm)}
            self._scalars.write("train", self.step, row)
        return value

    def _gradient(self) -> float:
        """Leave the gradient of the step's whole batch in the model; return its loss."""
        processes = self.processes
        batch = self.task.batch(self.step, processes.rank, processes.size)
        if batch is None:
            loss = next(self.model.parameters()).new_zeros(())
        else:
            loss = self.task.loss(batch)
            loss.backward()
        return processes.sum_gradients(self.model, loss).item()

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
                weights = self.model.state_dict()
                self.best = {name: tensor.to("cpu", copy=True) for name, tensor in weights.items()}
        row = {"step": self.step, "lr": learning_rate(self.step - 1, self.settings)}
        row |= {"train_loss": sum(self._losses) / len(self._losses)} | metrics
        row["wall_s"] = round(self._earlier_s + time.monotonic() - self._began, 2)
        self.history.append(row)
        if (left := self._patience_left()) is not None:
            row["patience_left"] = left
        if self.paths.history is not None:
            write_history(self.paths.history, self.history)
        if self._scalars:
            self._scalars.write("validation", self.step, metrics | {"train_loss": row["train_loss"]})
        note = self.task.describe(metrics)
        logger.info(
            "%s: step %d/%d, loss %.4g, %s",
            self.task.name,
            self.step,
            self.settings.steps,
            row["train_loss"],
            note,
        )
        if left == 0 and self.step < self.settings.steps:
            logger.info(
                "%s: stops early, no better than at step %d in %d validations",
                self.task.name,
                self.best_step,
                self.settings.patience,
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

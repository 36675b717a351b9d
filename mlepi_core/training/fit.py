"""From a prepared training to a model file: what both networks share around the loop."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from mlepi_core.nn.model_file import ModelFile, save_model
from mlepi_core.progress import Progress, silent
from mlepi_core.training.loop import Task, Trainer, TrainingPaths, TrainingResult
from mlepi_core.training.schedule import LoopSettings

__all__ = ["Prepared", "fit"]


@dataclass(frozen=True)
class Prepared:
    """A training before its first step.

    `content` is the model file but for weights and history; `digest` covers settings, code and data.
    """

    task: Task
    settings: LoopSettings
    content: ModelFile
    digest: str


def fit(
    prepared: Prepared,
    out_model: str | os.PathLike[str],
    paths: TrainingPaths,
    progress: Progress = silent,
) -> TrainingResult:
    """Train, write the model file, remove the restart file."""
    trainer = Trainer(prepared.task, prepared.settings, paths, digest=prepared.digest, progress=progress)
    result = trainer.run()
    if trainer.processes.first:
        content = replace(prepared.content, state_dict=result.state_dict, history=result.history)
        save_model(out_model, content)
        trainer.discard_restart()
    return result

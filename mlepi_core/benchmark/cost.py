"""A training as a subject: parameters, floating-point operations, time and memory of one of its steps."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from mlepi_core.artefacts import InputError
from mlepi_core.basis.two_centre import TwoCentreTables
from mlepi_core.benchmark.flops import count_flops
from mlepi_core.benchmark.protocol import Worker
from mlepi_core.benchmark.subject import TorchSubject
from mlepi_core.config.training import ElectronTraining, PhononTraining
from mlepi_core.formats.store import LabelEntry
from mlepi_core.labels import Dataset
from mlepi_core.training.electron import prepare_electron
from mlepi_core.training.fit import Prepared
from mlepi_core.training.phonon import prepare_phonon

__all__ = ["TrainingCost", "largest_entry", "make", "measured_cost", "prepare_one"]

WARM_UP, ROUNDS = 3, 7
MIB = 2**20


class TrainingCost(TorchSubject):
    """Forward pass, and loss with its backward pass, of a prepared training with one structure.

    Not in a step: the update of the weights, which costs a few operations per parameter.
    """

    def __init__(self, prepared: Prepared, device: str = "cpu", threads: int = 1) -> None:
        super().__init__(device, threads)
        self.task = prepared.task
        self.batch = self.task.batch(0)
        #: The phonon task's batch comes with its share of a step.
        self.structures = getattr(self.batch, "batch", None) or self.batch.graph

    def info(self) -> dict[str, Any]:
        """Trainable numbers, operations of a forward pass and of a step, atoms."""
        parameters = self.task.model.parameters()
        return {
            "parameters": sum(each.numel() for each in parameters if each.requires_grad),
            "flops_forward": count_flops(self.forward),
            "flops_step": count_flops(self.step),
            "n_atoms": self.task.atoms(0),
        }

    def forward(self) -> None:
        """Energies and forces, or the Hamiltonian, as at inference."""
        with torch.no_grad():
            self.task.model(self.structures)

    def step(self) -> None:
        """Loss and its gradient with respect to the weights."""
        self.task.model.zero_grad(set_to_none=True)
        self.task.loss(self.batch).backward()


def make(spec: Mapping[str, Any]) -> TorchSubject:
    """Subject of a specification: ``kind``, ``section``, ``stores``, ``tables``, ``device``, ``threads``."""
    kind = spec["kind"]
    section = (PhononTraining if kind == "phonon" else ElectronTraining).model_validate(spec["section"])
    tables = None if spec["tables"] is None else TwoCentreTables.load(spec["tables"])
    prepared = prepare_one(kind, section, largest_entry(spec["stores"], kind), tables, spec["device"])
    return TrainingCost(prepared, spec["device"], spec["threads"])


def largest_entry(stores: Sequence[str | os.PathLike[str]], kind: str) -> LabelEntry:
    """The largest training structure, with the labels that a network needs; the first of several.

    Raises
    ------
    InputError
        If there is none.
    """
    data = Dataset(stores)
    items = data.select("train")
    sizes = [len(entry.atoms) for entry in data.read(items, blocks=False)]
    order = sorted(range(len(items)), key=lambda k: -sizes[k])
    for entry in data.read((items[k] for k in order), blocks=kind == "electron"):
        if entry.blocks is not None if kind == "electron" else entry.forces is not None:
            return entry
    wanted = "H and S" if kind == "electron" else "forces"
    raise InputError(
        ", ".join(map(str, stores)), f"no training structure with {wanted}", "check the splits of the entries"
    )


def prepare_one(
    kind: str, section: Any, entry: LabelEntry, tables: TwoCentreTables | None, device: str = "cpu"
) -> Prepared:
    """Training of a section on one structure; `tables`: of S, for the electron net."""
    if kind == "phonon":
        return prepare_phonon([entry], [entry], section, device=device)
    # The baseline is subtracted from the labels before the first step: it does not change a step's cost.
    section = section.model_copy(update={"delta": False})
    return prepare_electron([entry], [entry], section, tables, device=device)


def measured_cost(spec: Mapping[str, Any]) -> dict[str, Any]:
    """`TrainingCost.info` with ``step_ms`` and ``memory_step_MiB``, taken in a process of their own.

    Times are medians; on a CPU processor time, which other work of the machine hardly changes, with a device
    wall time. Memory is the peak above what was in use before the step.
    """
    with Worker(__name__, spec, spec["threads"]) as worker:
        for _ in range(WARM_UP):
            worker.time("step")
        clock = 0 if spec["device"].startswith("cuda") else 1
        seconds = statistics.median(worker.time("step")[clock] for _ in range(ROUNDS))
        growth = worker.memory("step")["growth"]
    return worker.info | {"step_ms": 1e3 * seconds, "memory_step_MiB": growth / MIB}

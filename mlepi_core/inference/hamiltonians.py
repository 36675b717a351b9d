"""Hamiltonians of many structures: batches in, label-store entries out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ase import Atoms

from mlepi_core.formats.store import LabelEntry
from mlepi_core.nn.hamiltonian import HamiltonianModel


@dataclass
class Task:
    """One structure to predict: name and attributes of its entry in the store."""

    name: str
    atoms: Atoms
    attrs: dict[str, Any] = field(default_factory=dict)


def predict_entries(
    model: HamiltonianModel, tasks: Iterable[Task], batch_size: int = 8
) -> Iterator[LabelEntry]:
    """Entries with H and S, one per task and in their order.

    Results do not depend on `batch_size` beyond rounding: norms are local, graphs of a batch are separate.
    """
    iterator = iter(tasks)
    while batch := list(islice(iterator, batch_size)):
        yield from _entries(model, batch)


def _entries(model: HamiltonianModel, batch: Sequence[Task]) -> Iterator[LabelEntry]:
    matrices = model.predict([task.atoms for task in batch])
    for task, matrix in zip(batch, matrices, strict=True):
        yield LabelEntry(task.name, task.atoms, blocks=matrix, attrs=task.attrs)

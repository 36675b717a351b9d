"""Hamiltonians of many structures: batches in, label-store entries out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ase import Atoms

from mlepi_core.formats.store import LabelEntry
from mlepi_core.inference.electron_spread import is_committee, member_models, predictions_with_spread
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
    """Entries with H and S, one per task and in their order; of a committee also with the spread of H.

    Results do not depend on `batch_size` beyond rounding: norms are local, graphs of a batch are separate.
    """
    iterator = iter(tasks)
    members = member_models(model) if is_committee(model) else None
    while batch := list(islice(iterator, batch_size)):
        yield from _entries(model, members, batch)


def _entries(
    model: HamiltonianModel, members: Sequence[HamiltonianModel] | None, batch: Sequence[Task]
) -> Iterator[LabelEntry]:
    structures = [task.atoms for task in batch]
    if members is None:
        predictions = [(matrix, None) for matrix in model.predict(structures)]
    else:
        predictions = predictions_with_spread(members, structures)
    for task, (matrix, spread) in zip(batch, predictions, strict=True):
        yield LabelEntry(task.name, task.atoms, blocks=matrix, block_spread=spread, attrs=task.attrs)

"""Training on some of the large structures, for learning curves."""

from __future__ import annotations

from collections.abc import Sequence

from mlepi_core.artefacts import InputError
from mlepi_core.formats.store import LabelEntry
from mlepi_core.randomness import stream
from mlepi_core.training.batches import large_and_small

# One order for all trainings: the cells of a smaller number are a part of those of a larger one.
_ORDER_SEED = 0


def some_cells(entries: Sequence[LabelEntry], number: int | None) -> list[LabelEntry]:
    """All small structures and `number` of the large ones (None: all), in the order of `entries`.

    Small are those with fewer than half the atoms of the largest. Which large ones are taken depends on
    their names and `number` only.

    Raises
    ------
    InputError
        If there are fewer large structures than `number`.
    """
    if number is None:
        return list(entries)
    large, small = large_and_small([len(entry.atoms) for entry in entries])
    if number > len(large):
        raise InputError(
            "train_cells",
            f"{number} is more than the {len(large)} large training structures that there are",
            f"use at most {len(large)}, or null for all",
        )
    by_name = sorted(large, key=lambda k: entries[k].name)
    order = stream(_ORDER_SEED, "train-cells", 0).permutation(len(large))
    chosen = {by_name[k] for k in order[:number]} | set(small)
    return [entry for k, entry in enumerate(entries) if k in chosen]

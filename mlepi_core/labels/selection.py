"""Which entries of a data set a split has, with strongly perturbed ones held out."""

from __future__ import annotations

import numpy as np

from mlepi_core.formats.store import LabelEntry
from mlepi_core.labels.dataset import Dataset, Item

EXTRAPOLATION = "extrapolation"
HELD_OUT_OF = ("train", "validation")


def rms_force(entry: LabelEntry) -> float | None:
    """Root mean square of all force components (eV/Å); None without forces."""
    return None if entry.forces is None else float(np.sqrt(np.mean(np.square(entry.forces))))


def select(data: Dataset, split: str | None, hold_out: float | None = None) -> list[Item]:
    """Converged entries of a split, of ``extrapolation``, or all (None).

    Parameters
    ----------
    hold_out
        Entries of the splits train and validation whose `rms_force` is larger (eV/Å) belong to
        ``extrapolation`` instead; None: nothing does. Entries without forces stay where they are.

    Raises
    ------
    InputError
        If there is no such split.
    """
    if split == EXTRAPOLATION:
        return [item for own in HELD_OUT_OF for item in _strong(data, data.select(own), hold_out)]
    items = data.select(split)
    if split not in HELD_OUT_OF:
        return items
    strong = set(_strong(data, items, hold_out))
    return [item for item in items if item not in strong]


def _strong(data: Dataset, items: list[Item], limit: float | None) -> list[Item]:
    if limit is None:
        return []
    forces = map(rms_force, data.read(items, blocks=False))
    return [item for item, force in zip(items, forces, strict=True) if force is not None and force > limit]

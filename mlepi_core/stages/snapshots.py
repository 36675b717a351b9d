"""The entries of label stores that hold snapshots of one temperature, one after the other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlepi_core.formats.store import LabelEntry


Stores = Sequence[str | os.PathLike[str]] | str | os.PathLike[str]


def n_snapshots(stores: Stores) -> int:
    """How many entries `snapshots` yields."""
    from mlepi_core.formats.store import LabelStore

    total = 0
    for path in _paths(stores):
        with LabelStore(path) as store:
            total += len(store.select())
    return total


def snapshots(stores: Stores, *, blocks: bool = True) -> Iterator[tuple[str | os.PathLike[str], LabelEntry]]:
    """All converged entries of label stores, each with the path of its store.

    Parameters
    ----------
    blocks
        Whether H and S are read.

    Raises
    ------
    InputError
        If a store has none, or entries of two temperatures meet.
    """
    from mlepi_core.artefacts import InputError
    from mlepi_core.formats.store import LabelStore

    seen: set[Any] = set()
    for path in _paths(stores):
        with LabelStore(path) as store:
            store.refuse_derivatives()
            names = store.select()
            if not names:
                raise InputError(path, "holds no converged entry", "give another store")
            for name in names:
                entry = store.read(name, blocks=blocks)
                seen.add(entry.attrs.get("temperature"))
                if len(seen) > 1:
                    known = ", ".join(sorted(map(str, seen)))
                    raise InputError(
                        path, f"{name}: entries of several temperatures: {known}", "give one temperature"
                    )
                yield path, entry


def _paths(stores: Stores) -> Sequence[str | os.PathLike[str]]:
    return [stores] if isinstance(stores, (str, os.PathLike)) else stores

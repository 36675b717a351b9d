"""Several label stores as one data set, with the refusals that training relies on."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlepi_core.artefacts import InputError
from mlepi_core.formats.store import SPLITS, LabelEntry, LabelStore
from mlepi_core.orbitals import Basis

TRAINING_SPLITS = ("train", "validation", "test")


def store_files(paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Label stores of a path or list of paths; a folder stands for its ``*.h5`` files.

    Raises
    ------
    InputError
        If a path is missing, a folder holds no store, or a file is named twice.
    """
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            found = sorted(path.glob("*.h5"))
            if not found:
                raise InputError(path, "holds no *.h5 label store", "check labels.path")
            files += found
        elif path.is_file():
            files.append(path)
        else:
            raise InputError(path, "no such label store", "check labels.path")
    if not files:
        raise InputError("labels.path", "names no label store")
    resolved = [path.resolve() for path in files]
    twice = [path for path, place in zip(files, resolved, strict=True) if resolved.count(place) > 1]
    if twice:
        raise InputError(twice[0], "is named twice", "name every label store once")
    return files


@dataclass(frozen=True)
class Item:
    """Address of one entry: its store and its name there."""

    path: Path
    name: str


class Dataset:
    """Entries of one or more label stores.

    Parameters
    ----------
    paths
        Stores, or folders of stores; see `store_files`.

    Raises
    ------
    InputError
        If the stores have different bases for one element, different spin, or name two entries alike.
    """

    def __init__(self, paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> None:
        self.files = store_files(paths)
        self.basis: Basis | None = None
        self.spin: str | None = None
        self._splits: dict[Item, str | None] = {}
        self._converged: dict[Item, bool | None] = {}
        seen: dict[str, Path] = {}
        for path in self.files:
            with LabelStore(path) as store:
                store.refuse_derivatives()
                self.basis = merge_bases(self.basis, store.basis, path)
                if store.basis is not None:
                    self.spin = merge_spins(self.spin, store.spin, path)
                splits, converged = store.splits(), store.converged()
                for name in store.names:
                    if name in seen:
                        raise InputError(
                            path, f"entry {name} is also in {seen[name]}", "give every entry its own name"
                        )
                    seen[name] = path
                    self._splits[Item(path, name)] = splits[name]
                    self._converged[Item(path, name)] = converged[name]

    def __len__(self) -> int:
        return len(self._splits)

    @property
    def items(self) -> list[Item]:
        """All entries, in the order of the files."""
        return list(self._splits)

    def counts(self) -> dict[str, int]:
        """Number of entries of every split that occurs."""
        counts = Counter(split or "none" for split in self._splits.values())
        return {split: counts[split] for split in (*SPLITS, "none") if counts[split]}

    def unconverged(self) -> list[Item]:
        """Entries marked as not converged."""
        return [item for item, flag in self._converged.items() if flag is False]

    def refuse_unconverged(self, splits: Sequence[str] = TRAINING_SPLITS) -> None:
        """Raise if an entry of these splits is marked as not converged: its labels are no ground state's."""
        for item in self.unconverged():
            if self._splits[item] in splits:
                raise InputError(
                    item.path,
                    f"the calculation of entry {item.name} is not converged",
                    "repeat it, or take the entry out of the store",
                )

    def select(self, split: str | None = None, *, converged_only: bool = True) -> list[Item]:
        """Entries of a split (None: all), without those marked as not converged; may be empty.

        Raises
        ------
        InputError
            If there is no such split.
        """
        if split is not None and split not in SPLITS:
            raise InputError("split", f"{split!r} is not one of {', '.join(SPLITS)}")
        return [
            item
            for item, own in self._splits.items()
            if split in (None, own) and not (converged_only and self._converged[item] is False)
        ]

    def read(self, items: Iterable[Item], blocks: bool = True) -> Iterator[LabelEntry]:
        """Read entries in the given order, opening each store as seldom as the order allows."""
        store: LabelStore | None = None
        try:
            for item in items:
                if store is None or store.path != item.path:
                    if store is not None:
                        store.close()
                    store = LabelStore(item.path)
                yield store.read(item.name, blocks=blocks)
        finally:
            if store is not None:
                store.close()


def merge_bases(one: Basis | None, other: Basis | None, where: str | os.PathLike[str]) -> Basis | None:
    """Basis of both; raises if an element has different shells in the two."""
    if one is None or other is None:
        return one or other
    for symbol in set(one.shells) & set(other.shells):
        if one.shells[symbol] != other.shells[symbol]:
            raise InputError(
                where,
                f"basis of {symbol} is {list(other.shells[symbol])}, elsewhere {list(one.shells[symbol])}",
                "use structures of one basis per element",
            )
    return Basis({**one.shells, **other.shells})


def merge_spins(one: str | None, other: str, where: str | os.PathLike[str]) -> str:
    """Spin of both stores; raises if they differ (None: no store yet)."""
    if one is not None and one != other:
        raise InputError(
            where, f"spin is {other!r}, elsewhere {one!r}", "use calculations of one kind of spin"
        )
    return other

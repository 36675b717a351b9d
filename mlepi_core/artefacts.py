"""Errors with a remedy, atomic writes, hashes: what every file of a run has in common."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class MlepiError(Exception):
    """Base of the errors that are reported as one line, without a traceback."""


class InputError(MlepiError):
    """Bad input: says where it is, what is wrong and what to do.

    Parameters
    ----------
    where
        File, field or argument, as the user knows it.
    problem
        What is wrong, with the offending value.
    remedy
        What to do about it; empty if the problem says it already.
    """

    def __init__(self, where: str | os.PathLike[str], problem: str, remedy: str = "") -> None:
        self.where = os.fspath(where)
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{self.where}: {problem}" + (f"; {remedy}" if remedy else ""))

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str]]:
        return type(self), (self.where, self.problem, self.remedy)


@contextmanager
def located(where: str | os.PathLike[str], *subjects: str) -> Iterator[None]:
    """Put `where`, the file of the user, before what an InputError raised inside names.

    With `subjects` only errors about these get it. Errors that name the file already, and subclasses, which
    callers tell apart, pass unchanged.
    """
    name = os.fspath(where)
    try:
        yield
    except InputError as error:
        named = error.where.startswith(name) or (subjects and error.where not in subjects)
        if named or type(error) is not InputError:
            raise
        place = name if name.endswith(error.where) else f"{name}: {error.where}"
        raise InputError(place, error.problem, error.remedy) from error


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; rename it to `path` on success.

    A reader therefore finds the old file, the whole new file or none. The folder is made if it
    is missing. On an exception the temporary file is removed.

    Raises
    ------
    InputError
        If `path` is a folder, or its own folder cannot be made or written.
    """
    target = Path(path)
    if target.is_dir():
        raise InputError(path, "is a folder", "name the file to write")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            path, f"its folder cannot be made ({error.strerror})", "choose another place"
        ) from None
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise InputError(path, "its folder cannot be written", "choose another place or get permission")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` (UTF-8) atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], obj: Any) -> None:
    """Write `obj` as indented JSON atomically; NaN and infinity are refused."""
    write_text(path, json.dumps(obj, indent=2, allow_nan=False, default=_jsonable) + "\n")


def write_csv(
    path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]], columns: Sequence[str]
) -> None:
    """Write `rows` with exactly `columns` atomically; a key outside `columns` is an error."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def sha256_file(path: str | os.PathLike[str]) -> str:
    """SHA-256 of the file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def canonical_json(obj: Any) -> str:
    """JSON text that is equal for equal content: sorted keys, no spaces, integers for whole floats."""
    return json.dumps(_canonical(obj), sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(obj: Any) -> str:
    """16 hexadecimal digits of the SHA-256 of `canonical_json(obj)`."""
    return hashlib.sha256(canonical_json(obj).encode()).hexdigest()[:16]


def _jsonable(obj: Any) -> Any:
    if hasattr(obj, "tolist"):
        return obj.tolist()
    if isinstance(obj, Path):
        return str(obj)
    raise TypeError(f"cannot write {type(obj).__name__} as JSON")


def _canonical(obj: Any) -> Any:
    if isinstance(obj, Mapping):
        return {str(key): _canonical(value) for key, value in obj.items()}
    if isinstance(obj, (list, tuple)):
        return [_canonical(value) for value in obj]
    if isinstance(obj, float) and obj.is_integer() and abs(obj) < 2**53:
        return int(obj)
    if obj is None or isinstance(obj, (bool, int, float, str)):
        return obj
    return _canonical(_jsonable(obj))

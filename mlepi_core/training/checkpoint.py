"""Restart file of a training, the lock on it, and the digest that says whether it may be used.

The restart file lies outside a rule's declared outputs, so that it survives a failed job. It is replaced
atomically; the lock keeps a second trainer (an orphan of a killed workflow) from writing it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import pickle
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

import mlepi_core
from mlepi_core.artefacts import MlepiError, atomic_path

__all__ = ["RestartFile", "TrainingLock", "source_digest"]

logger = logging.getLogger(__name__)

#: A lock of another machine that was not refreshed for so many seconds is taken for dead.
_FOREIGN_LOCK_LIFETIME = 900.0
_CODE = ("nn", "training", "basis", "graph.py", "randomness.py", "structures/neighbours.py")


def source_digest(parts: Iterable[str] = _CODE) -> str:
    """16 hexadecimal digits over the package's source files that decide a training's result."""
    root = Path(mlepi_core.__file__).parent
    total = hashlib.sha256()
    for part in parts:
        path = root / part
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            total.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    return total.hexdigest()[:16]


class RestartFile:
    """State of an interrupted training.

    Parameters
    ----------
    path
        The file.
    digest
        Of configuration, code and data; a file with another digest is not used.
    """

    def __init__(self, path: str | os.PathLike[str], digest: str) -> None:
        self.path, self.digest = Path(path), digest

    def load(self) -> dict[str, Any] | None:
        """The stored state, or None (with a log message saying why) if training starts afresh."""
        if not self.path.exists():
            return None
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
            logger.warning("%s cannot be read (%s): training starts afresh", self.path, error)
            return None
        if state.get("digest") != self.digest:
            logger.warning("%s is of other settings, code or data: training starts afresh", self.path)
            return None
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Replace the file atomically."""
        with atomic_path(self.path) as temporary:
            torch.save(state | {"digest": self.digest}, temporary)

    def remove(self) -> None:
        """Delete the file once the model is written."""
        self.path.unlink(missing_ok=True)


class TrainingLock:
    """Lock file with the trainer's pid; a context manager.

    A lock whose process is gone (or whose pid now belongs to a process started later) is taken over. A lock
    of another machine counts as dead when it was not refreshed for 15 minutes.

    Raises
    ------
    MlepiError
        If another trainer holds it; names its pid.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def __enter__(self) -> TrainingLock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._opened() as handle:
            holder = _parse(handle.read())
            if holder is not None and self._alive(holder):
                raise MlepiError(
                    f"{self.path}: another training (pid {holder['pid']} on {holder['host']}) writes here; "
                    "wait for it or end it"
                )
            if holder is not None:
                logger.warning("%s: taking over the lock of pid %s, which is gone", self.path, holder["pid"])
            handle.seek(0)
            handle.truncate()
            json.dump(_identity(), handle)
        return self

    def __exit__(self, *exc: object) -> None:
        with self._opened() as handle:
            if _parse(handle.read()) == _identity():
                self.path.unlink(missing_ok=True)

    def refresh(self) -> None:
        """Show other machines that the training lives."""
        os.utime(self.path)

    def _opened(self) -> Any:
        """The file, held under `flock` while it is read and rewritten, and not one unlinked meanwhile."""
        while True:
            handle = open(self.path, "a+", encoding="utf-8")  # noqa: SIM115 (closed by the caller's with)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
            except OSError:
                logger.debug("%s: this file system has no flock", self.path)
            if self.path.exists() and os.fstat(handle.fileno()).st_ino == self.path.stat().st_ino:
                handle.seek(0)
                return handle
            handle.close()

    def _alive(self, holder: dict[str, Any]) -> bool:
        if holder["host"] != socket.gethostname():
            return time.time() - self.path.stat().st_mtime < _FOREIGN_LOCK_LIFETIME
        started = _start_time(holder["pid"])
        return started is not None and started == holder["started"]


def _parse(text: str) -> dict[str, Any] | None:
    try:
        holder = json.loads(text)
    except json.JSONDecodeError:
        return None
    return holder if isinstance(holder, dict) and {"pid", "host", "started"} <= set(holder) else None


def _identity() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": socket.gethostname(), "started": _start_time(os.getpid())}


def _start_time(pid: int) -> str | None:
    """Start time of a living process (ticks since boot); "unknown" without /proc; None if it is gone."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    try:
        # The command name in field 2 may hold spaces: count from its closing bracket. Field 3 is the state.
        fields = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
    except OSError:
        return "unknown"
    return None if fields[0] == "Z" else fields[19]

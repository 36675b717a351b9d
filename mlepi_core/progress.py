"""How long work tells how far it is: a bar on a terminal, a line now and then in a log, or nothing.

Every stage takes a callable ``progress(done, total, text)`` with the steps done so far, their number and
a short text such as ``"val 14.2 meV"``.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

Progress = Callable[..., None]

_LOGGER = logging.getLogger("mlepi.progress")


def silent(done: int, total: int, text: str = "") -> None:
    """Say nothing."""


def terminal(name: str) -> Progress:
    """A bar if standard error is a terminal, else a line every 20 s."""
    return _bar(name) if sys.stderr.isatty() else lines(name)


def lines(name: str, stream: IO[str] | None = None, every_s: float = 20.0) -> Progress:
    """Prefixed lines ``[name] step 400/2000, text, 3 min left``.

    At most one line per `every_s` seconds goes to the log and to `stream` (default: standard error), and
    nothing of work that takes less.
    """
    start = time.monotonic()
    last = start
    first_done: int | None = None

    def report(done: int, total: int, text: str = "") -> None:
        nonlocal last, first_done
        first_done = done if first_done is None else first_done
        now = time.monotonic()
        line = f"step {done}/{total}" + (f", {text}" if text else "")
        if now - (start if done >= total else last) < every_s:
            return
        last = now
        left = _time_left(now - start, done - first_done, total - done)
        _LOGGER.info("%s%s", line, left)
        print(f"[{name}] {line}{left}", file=stream or sys.stderr, flush=True)

    return report


def _time_left(elapsed: float, done: int, remaining: int) -> str:
    if done <= 0 or remaining <= 0:
        return ""
    seconds = elapsed / done * remaining
    return f", {seconds:.0f} s left" if seconds < 90 else f", {seconds / 60:.0f} min left"


def _bar(name: str) -> Progress:
    from tqdm import tqdm

    bar: Any = None

    def report(done: int, total: int, text: str = "") -> None:
        nonlocal bar
        if bar is None:
            bar = tqdm(total=total, desc=name, initial=done, leave=True, unit="step", dynamic_ncols=True)
        bar.total = total
        bar.set_postfix_str(text, refresh=False)
        bar.update(done - bar.n)
        if done >= total:
            bar.refresh()
            bar.close()

    return report


class Rate:
    """Things done per minute since the object was made."""

    def __init__(self, noun: str) -> None:
        self._noun, self._start = noun, time.monotonic()

    def text(self, done: int) -> str:
        """For example ``58 samples/min``."""
        elapsed = time.monotonic() - self._start
        return f"{60 * done / elapsed:.3g} {self._noun}/min" if elapsed > 0 else ""


class Throughput:
    """Atoms per second of recent steps: a running mean over about the last twenty."""

    def __init__(self) -> None:
        self._atoms = self._seconds = 0.0

    @contextmanager
    def measured(self, atoms: int) -> Iterator[None]:
        """Time the body as a step with so many atoms."""
        began = time.perf_counter()
        yield
        self._atoms = 0.95 * self._atoms + atoms
        self._seconds = 0.95 * self._seconds + time.perf_counter() - began

    def text(self) -> str:
        """For example ``1240 atoms/s`` or ``3.7 atoms/s``; empty before the first step."""
        if not self._seconds:
            return ""
        rate = self._atoms / self._seconds
        return f"{rate:.0f} atoms/s" if rate >= 100 else f"{rate:.2g} atoms/s"

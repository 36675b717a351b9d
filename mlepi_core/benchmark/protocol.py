"""Subjects of a measurement in processes of their own, asked in turns over pipes.

Only one subject computes at a time, so that several share one machine without disturbing each other, and
whatever else disturbs the machine hits all. The module loads nothing but the standard library: a subject may
live in another virtual environment.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from mlepi_core.artefacts import InputError, MlepiError
from mlepi_core.benchmark.memory import peak_growth

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
START = "import sys; sys.path.append({root!r}); from {protocol} import serve; serve({module!r})"

KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(2**36), "MALLOC_MMAP_THRESHOLD_": str(2**35)}
"""Tells glibc not to give freed memory back: otherwise large tensors cost page faults at every use."""


class Subject(Protocol):
    """What a process measures: `info` describes it, every name in `actions` is a method to time."""

    actions: tuple[str, ...]

    def info(self) -> dict[str, Any]:
        """Numbers that do not depend on time: edges, parameters."""

    def synchronize(self) -> None:
        """Wait for the device."""

    def layers(self) -> dict[str, float]:
        """Seconds per layer of one pass."""

    def device_peak(self, action: str) -> int | None:
        """Peak of the memory of an accelerator during an action, bytes; None on a CPU."""


def serve(module: str) -> None:
    """Let ``make`` of a module build what the first line of standard input describes; answer the others.

    Answers go to the original standard output, which nothing else writes to: libraries print when loaded.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(content: Mapping[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    try:
        subject: Subject = importlib.import_module(module).make(json.loads(sys.stdin.readline()))
        answer(subject.info())
        for line in sys.stdin:
            kind, _, action = line.strip().partition(" ")
            answer(_reply(subject, kind, action))
    except MlepiError as error:
        answer({"error": str(error)})


def _reply(subject: Subject, kind: str, action: str) -> dict[str, Any]:
    if kind == "layers":
        return {"layers": subject.layers()}
    if action not in subject.actions:
        raise InputError("benchmark", f"{action!r} is not measured here")
    if kind == "memory":
        times: dict[str, float] = {}
        memory = peak_growth(lambda: times.update(_timed(subject, action)))
        on_device = subject.device_peak(action)
        return times | memory | ({} if on_device is None else {"growth": on_device})
    return _timed(subject, action)


def _timed(subject: Subject, action: str) -> dict[str, float]:
    gc.collect()
    subject.synchronize()
    start, start_cpu = time.perf_counter(), time.process_time()
    getattr(subject, action)()
    subject.synchronize()
    return {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - start_cpu}


class Worker:
    """A subject in a process of its own.

    Parameters
    ----------
    module
        Dotted name of a module with ``make(spec)``.
    spec
        JSON-able description of the subject.
    threads
        Threads of its numerical libraries.
    python
        Interpreter; the package is found by it even where it is not installed.

    Raises
    ------
    InputError
        If the subject cannot be built; the text is the last line of its error output.
    """

    def __init__(
        self, module: str, spec: Mapping[str, Any], threads: int, python: str = sys.executable
    ) -> None:
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        code = START.format(root=str(PACKAGE_ROOT), module=module, protocol=__name__)
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in `close`)
        self._process = subprocess.Popen(
            [python, "-W", "ignore", "-c", code],
            env=os.environ | dict.fromkeys(names, str(threads)) | KEEP_MEMORY | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.info = self._ask(json.dumps(dict(spec)))

    def time(self, action: str) -> tuple[float, float]:
        """Wall time and processor time (of all threads) of one run of an action, s."""
        reply = self._ask(f"time {action}")
        return float(reply["seconds"]), float(reply["cpu_seconds"])

    def memory(self, action: str) -> dict[str, Any]:
        """One run: ``growth``, its peak above what was in use before, and ``peak`` of the process, in bytes.

        Growth is that of the accelerator's memory where the subject runs on one. Times as in `time`.
        """
        return self._ask(f"memory {action}")

    def layers(self) -> dict[str, float]:
        """Seconds per layer of one pass."""
        return self._ask("layers")["layers"]

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                stream.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            reply = self._process.stdout.readline()
        except BrokenPipeError:
            reply = ""
        content = json.loads(reply) if reply else {"error": self._last_words()}
        if "error" in content:
            self.close()
            raise InputError("benchmark", content["error"])
        return content

    def _last_words(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        lines = [line for line in self._errors.read().splitlines() if line.strip()]
        if code < 0:
            return f"a process was ended by signal {-code}, perhaps for lack of memory"
        return lines[-1].strip() if lines else f"a process ended with code {code}"

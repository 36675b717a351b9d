"""Peak memory of a call, as the operating system counts it."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")


def peak_growth(call: Callable[[], Any]) -> dict[str, int]:
    """Run `call` and give the growth of resident memory: ``growth`` above the start, ``peak`` of the process.

    Freed memory is handed back to the system before, so that what an earlier call left over does not hide
    what this one needs. Bytes. On systems without ``/proc`` the start counts as the peak until then.
    """
    gc.collect()
    _hand_back()
    _reset_peak()
    before = _resident()
    call()
    peak = _peak()
    return {"growth": max(peak - before, 0), "peak": peak}


def _hand_back() -> None:
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _reset_peak() -> None:
    try:
        RESET.write_text("5")
    except OSError:
        return


def _resident() -> int:
    return _status("VmRSS") or _peak()


def _peak() -> int:
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return _status("VmHWM") or usage * (1 if sys.platform == "darwin" else 1024)


def _status(key: str) -> int:
    """Entry of the process's status in bytes; 0 where there is none."""
    if not STATUS.is_file():
        return 0
    for line in STATUS.read_text(encoding="ascii", errors="ignore").splitlines():
        if line.startswith(key + ":"):
            return 1024 * int(line.split()[1])
    return 0

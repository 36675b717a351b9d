"""The machine that a benchmark ran on, and the environment of its peers."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from mlepi_core.artefacts import InputError
from mlepi_core.provenance import library_versions

DEFAULT_PEERS = Path(".venv-peers")
_CPU_INFO = Path("/proc/cpuinfo")


def usable_processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def hardware(device: str) -> dict[str, Any]:
    """Processor, memory (bytes), accelerator, system and versions."""
    import torch

    cuda = device.startswith("cuda")
    return {
        "processor": _processor(),
        "processors": usable_processors(),
        "memory_bytes": _memory(),
        "device": torch.cuda.get_device_name() if cuda else "CPU",
        "system": platform.platform(),
        "versions": library_versions(),
    }


def _processor() -> str:
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text(encoding="utf-8", errors="ignore").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def peer_python(folder: str | os.PathLike[str] | None) -> Path | None:
    """Interpreter of the environment with mace-torch; None if the default one is not there.

    Raises
    ------
    InputError
        If a folder is given that is no virtual environment.
    """
    python = Path(folder or DEFAULT_PEERS) / "bin" / "python"
    if python.is_file():
        return python.absolute()
    if folder is None:
        return None
    raise InputError(folder, "is no virtual environment", "make one with `make peers`")

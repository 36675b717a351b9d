"""Where labels come from: finished stores today, engines that compute them later."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Loaded on first use: the Snakefile needs the checksums at every parse, and not what reads HDF5.
_HOME = {
    "Dataset": "dataset",
    "read_sums": "checksums",
    "store_files": "dataset",
    "verify_checksums": "checksums",
    "write_sums": "checksums",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

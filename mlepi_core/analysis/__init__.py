"""Figures, tables and the report page of a run, made from its CSV tables and nothing else.

Names are loaded on first use, because matplotlib and pandas take a second to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "FIGURES": "registry",
    "FigureKind": "registry",
    "draw": "registry",
    "read_table": "data",
    "write_report": "report",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

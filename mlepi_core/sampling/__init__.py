"""Thermal displacements of a harmonic supercell: policies for soft modes, samples, sample files.

Names are loaded on first use, because the modes behind them import phonopy.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "POLICIES": "policy",
    "ModePolicy": "policy",
    "apply_policy": "policy",
    "ThermalSampler": "thermal",
    "mode_variance": "thermal",
    "mode_numbers": "thermal",
    "SCHEMES": "schemes",
    "independent_groups": "schemes",
    "members": "schemes",
    "SampleSet": "samples",
    "draw_samples": "samples",
    "entry_name": "samples",
    "read_samples": "samples",
    "write_samples": "samples",
    "AnharmonicSettings": "anharmonic",
    "AnharmonicResult": "anharmonic",
    "NotConvergedWarning": "anharmonic",
    "self_consistent_phonons": "anharmonic",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

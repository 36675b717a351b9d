"""Phonons of a force model: relaxation, force constants, bands, modes of large cells, DFT reference.

Everything works with any ASE calculator; nothing here knows networks. Names are loaded on first use,
because phonopy takes half a second to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "relax_structure": "relax",
    "run_phonons": "run",
    "imaginary_modes": "run",
    "rigid_layer_table": "run",
    "ImaginaryModesWarning": "run",
    "Phonons": "storage",
    "read_phonons": "storage",
    "write_phonons": "storage",
    "impose_sum_rules": "sum_rules",
    "sum_rule_violation": "sum_rules",
    "invariant_basis": "sum_rules",
    "ForceConstantSpace": "space",
    "force_constant_space": "space",
    "gamma_m_k_gamma": "bands",
    "phonon_bands": "bands",
    "frequencies_at": "bands",
    "commensurate_points": "reference",
    "BAND_COLUMNS": "bands",
    "SupercellModes": "modes",
    "supercell_modes": "modes",
    "contains_sampling_cell": "modes",
    "rigid_layer_modes": "rigid_layers",
    "rigid_layer_weights": "rigid_layers",
    "load_phonopy": "reference",
    "compare": "reference",
    "COMPARISON_COLUMNS": "reference",
    "slip_reference": "slip",
    "SLIP_COLUMNS": "slip",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

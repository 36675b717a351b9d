"""Structures of the benchmarks: bilayers without symmetry, and overlap tables that need no data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from ase import Atoms

from mlepi_core.artefacts import InputError
from mlepi_core.basis.radial_table import RadialTable, radial_functions
from mlepi_core.basis.two_centre import TwoCentreTables
from mlepi_core.orbitals import Basis
from mlepi_core.structures import build_ab, build_supercell, build_twisted, rattle

DISPLACEMENT = 0.03
"""Å per coordinate."""
SUPPORT = 6.35
"""Å; where orbitals of radius 6 bohr cease to overlap."""
FIRST_KNOT, N_KNOTS = 0.9, 40


def bilayer(n_atoms: int) -> Atoms:
    """n × n cells of AB bilayer graphene with random displacements; `n_atoms` = 4 n².

    Raises
    ------
    InputError
        If no square cell has that many atoms.
    """
    n = math.isqrt(max(n_atoms, 0) // 4)
    if n < 1 or 4 * n * n != n_atoms:
        raise InputError(
            "sizes", f"there is no {n_atoms}-atom cell", "give 4 n²: 4, 16, 64, 256, 576, 1024, 2304 …"
        )
    return rattle(build_supercell(build_ab(), (n, n, 1)), DISPLACEMENT, seed=1)


def twisted_bilayer(index: int) -> Atoms:
    """Twisted bilayer of 4(3m² + 3m + 1) atoms with random displacements; m = 30: 1.08 degrees."""
    return rattle(build_twisted((index, 1)), DISPLACEMENT, seed=1)


def synthetic_overlap(shells: Sequence[int]) -> TwoCentreTables:
    """Smooth overlap tables of carbon with the given shells: cheap as real ones, and of equal support."""
    basis = Basis({"C": tuple(shells)})
    functions = radial_functions(tuple(shells), tuple(shells), same_species=True)
    spacing = (SUPPORT - FIRST_KNOT) / N_KNOTS
    decay = np.exp(-1.5 * spacing * np.arange(N_KNOTS + 3))
    decay[-3:] = 0.0
    coefficients = 0.1 * decay[:, None] * np.ones(len(functions))
    table = RadialTable(FIRST_KNOT, spacing, coefficients, np.ones(N_KNOTS, dtype=np.int64), smoothed=True)
    onsite = np.eye(basis.n_orbitals("C"))
    return TwoCentreTables("overlap", basis, {("all", 6, 6): table}, {6: onsite}, {})

"""Acceptance test 6, its last part: cells of n = 3m against n = 3m ± 1."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from scipy.linalg import eigvalsh
from scipy.optimize import minimize

from mlepi_core.electrons import BlochHamiltonian, VelocitySpec, evaluate_entry, merge, reduce_velocity
from mlepi_core.electrons.dirac import DiracCone
from mlepi_core.structures import build_monolayer, build_supercell
from tests.electrons.tight_binding import displaced, tight_binding

SIGMA = 0.04
SPEC = VelocitySpec(
    estimators=("manifold", "operator"), windows=((0.02, 0.06),), naive_windows=((0.0, 0.05),), k_points=3
)
PAIRS = {3: 48, 4: 28, 5: 18, 6: 12}
"""About as many displaced atoms for each n."""


GRID = np.linspace(-0.05, 0.05, 7)


def evaluated(atoms: Atoms, **attrs):
    bloch = BlochHamiltonian.from_atoms(atoms, tight_binding(atoms, 0.1))
    return evaluate_entry(atoms, bloch, SPEC, n_electrons=len(atoms), attrs=attrs)


def gap_at_cone(atoms: Atoms) -> float:
    """Distance (eV) of the two states in the middle, smallest over |k - K| < 0.05 1/Å."""
    bloch = BlochHamiltonian.from_atoms(atoms, tight_binding(atoms, 0.1))
    cone = DiracCone.from_atoms(atoms, len(atoms))
    middle = len(atoms) // 2

    def gap(offset: np.ndarray) -> float:
        k = np.asarray(cone.point) + bloch.fractional(np.append(offset, 0.0))
        energies = eigvalsh(*bloch.matrices(k))
        return energies[middle] - energies[middle - 1]

    start = min(((x, y) for x in GRID for y in GRID), key=lambda at: gap(np.array(at)))
    return float(minimize(gap, start, method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-6}).fun)


@pytest.fixture(scope="module")
def ratios() -> dict[tuple[int, str], dict]:
    found = {}
    for n, pairs in PAIRS.items():
        cell = build_supercell(build_monolayer(), n)
        parts = [
            evaluated(displaced(cell, SIGMA, pair, sign), pair=pair, sign=sign, temperature=0.0)
            for pair in range(pairs)
            for sign in (1, -1)
        ]
        still = evaluated(cell)
        for name in SPEC.estimators:
            found[n, name] = reduce_velocity(merge(parts), still, name)
    return found


@pytest.mark.parametrize("n", PAIRS)
def test_manifold_and_operator_agree_for_every_n(ratios, n: int) -> None:
    """One valley or both at the folded K: the estimators without artefact say the same."""
    manifold, operator = ratios[n, "manifold"], ratios[n, "operator"]
    error = np.hypot(manifold["ratio_se"], operator["ratio_se"])
    assert abs(manifold["ratio"] - operator["ratio"]) < 3 * error + 0.002
    assert manifold["ratio"] < 1 - 5 * manifold["ratio_se"], "displacements slow the electrons down"


@pytest.mark.parametrize("name", SPEC.estimators)
@pytest.mark.parametrize("n", [4, 5])
def test_cells_with_one_valley_have_the_velocity_of_the_others(ratios, n: int, name: str) -> None:
    """No jump between n = 3m and n = 3m ± 1 beyond the errors and the slow drift with n."""
    one, both = ratios[n, name], ratios[6, name]
    assert abs(one["ratio"] - both["ratio"]) < 3 * np.hypot(one["ratio_se"], both["ratio_se"]) + 0.002


def test_only_cells_with_both_valleys_lose_the_cone() -> None:
    """The phonon at K joins the valleys and can open a gap: in cells of n = 3m only.

    It does where its mass is larger than the shift of the cones against each other; otherwise they cross.
    """
    gaps = {
        n: [gap_at_cone(displaced(build_supercell(build_monolayer(), n), SIGMA, seed)) for seed in range(3)]
        for n in (3, 4, 5, 6)
    }
    assert max(gaps[4] + gaps[5]) < 1e-4
    assert min(max(gaps[3]), max(gaps[6])) > 0.1

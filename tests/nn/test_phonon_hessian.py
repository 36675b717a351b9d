"""Hessian of the phonon net by automatic differentiation, whole and in rows."""

from __future__ import annotations

import numpy as np
import pytest

from mlepi_core.inference.calculator import PhononCalculator
from tests.nn.phonon_cases import bilayer, net


@pytest.fixture(scope="module", params=["late", "layerwise", "homo"])
def case(request):
    variant = {"relations": "homo"} if request.param == "homo" else {"fusion": request.param}
    calculator = PhononCalculator(net(cutoff_intra=2.8, cutoff_inter=4.0, **variant))
    atoms = bilayer(1)
    return calculator, atoms, calculator.hessian(atoms)


def from_forces(calculator, atoms, displacement, atom, axis):
    """Row of the force constants by central differences."""
    forces = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[atom, axis] += sign * displacement
        moved.calc = calculator
        forces.append(moved.get_forces())
    return (forces[1] - forces[0]) / (2 * displacement)


def test_symmetry_and_acoustic_sum_rule(case):
    _, atoms, hessian = case
    size = 3 * len(atoms)
    square = hessian.reshape(size, size)
    largest = np.abs(square).max()
    assert np.abs(square - square.T).max() < 1e-11 * largest
    assert np.abs(hessian.sum(axis=2)).max() < 1e-10 * largest


def test_rows_and_chunks_do_not_matter(case):
    calculator, atoms, hessian = case
    np.testing.assert_allclose(
        calculator.hessian(atoms, rows=[3, 1], chunk=4), hessian[[3, 1]], atol=1e-12 * np.abs(hessian).max()
    )


def test_force_constants_converge_to_it(case):
    """The error of a finite displacement falls as its square, to 1e-6 of the largest element at 1e-3 Å."""
    calculator, atoms, hessian = case
    errors = [
        np.abs(from_forces(calculator, atoms, step, 2, 1) - hessian[2, 1]).max() / np.abs(hessian).max()
        for step in (0.02, 0.01, 0.001, 0.0001)
    ]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(100, rel=0.2)
    assert errors[3] < 1e-6

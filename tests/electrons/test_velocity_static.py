"""Fermi velocities of undisplaced cells: closed form, true DFT matrices, agreement of the estimators."""

import numpy as np
import pytest

from mlepi_core.electrons import (
    METRES_PER_SECOND,
    BlochHamiltonian,
    VelocitySpec,
    evaluate_entry,
    evaluate_static,
    reduce_velocity,
)
from mlepi_core.structures import build_supercell
from tests.electrons.tight_binding import CONE, tight_binding

WINDOWS = ((0.03, 0.10), (0.0, 0.03), (0.0, 0.05), (0.0, 0.10))


def static_velocity(samples, estimator, window=None):
    return reduce_velocity(samples, samples, estimator, window)["v_m_per_s"]


def test_unit_of_velocity():
    assert pytest.approx(1.51927e5, rel=1e-5) == METRES_PER_SECOND


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_tight_binding_cone(graphene, n):
    """hbar v = sqrt(3)/2 a t for any folding; the fit's error is that of trigonal warping, (k a)^2."""
    atoms = build_supercell(graphene, n)
    spec = VelocitySpec(estimators=("manifold", "operator"), windows=((0.0, 0.02), (0.03, 0.10)))
    bloch = BlochHamiltonian.from_atoms(atoms, tight_binding(atoms))
    samples = evaluate_entry(atoms, bloch, spec, n_electrons=len(atoms))
    exact = CONE * METRES_PER_SECOND
    assert static_velocity(samples, "operator") == pytest.approx(exact, rel=1e-9)
    assert static_velocity(samples, "manifold", (0.0, 0.02)) == pytest.approx(exact, rel=1e-4)
    assert static_velocity(samples, "manifold", (0.03, 0.10)) == pytest.approx(exact, rel=3e-3)


def test_estimators_agree_with_overlap(graphene_3x3):
    """E1 and E3 to 1e-3 where dS/dk matters: without it the operator would be off by E dS/dk."""
    atoms = graphene_3x3
    bloch = BlochHamiltonian.from_atoms(atoms, tight_binding(atoms, overlap=0.1))
    spec = VelocitySpec(estimators=("manifold", "operator"), windows=((0.01, 0.03),))
    samples = evaluate_entry(atoms, bloch, spec, n_electrons=len(atoms))
    operator = static_velocity(samples, "operator")
    assert static_velocity(samples, "manifold") == pytest.approx(operator, rel=1e-3)


def test_true_monolayer(dft_monolayer):
    """Reference for this basis: 0.8643 to 0.8632e6 m/s over windows from 0 to 0.03 … 0.10 1/Å."""
    spec = VelocitySpec(
        estimators=("naive", "manifold", "operator"), windows=WINDOWS, naive_windows=((0.06, 0.1),)
    )
    samples = evaluate_static(dft_monolayer, 3, spec)
    values = [static_velocity(samples, "manifold", window) for window in WINDOWS]
    assert 0.8630e6 < min(values) < max(values) < 0.8644e6
    assert static_velocity(samples, "operator") == pytest.approx(0.8643e6, abs=200)
    assert 0.86e6 < static_velocity(samples, "naive", (0.06, 0.1)) < 0.89e6
    primitive = evaluate_static(dft_monolayer, None, spec)
    for window, value in zip(WINDOWS, values, strict=True):
        assert static_velocity(primitive, "manifold", window) == pytest.approx(value, rel=1e-4)


def test_true_bilayer(dft_bilayer):
    """All eight states of the manifold: 0.8623 to 0.8613e6 m/s; the estimators differ by up to 1 %."""
    spec = VelocitySpec(estimators=("manifold", "bilayer", "operator"), windows=WINDOWS)
    samples = evaluate_static(dft_bilayer, 3, spec)
    values = {window: static_velocity(samples, "manifold", window) for window in WINDOWS}
    assert values[0.0, 0.03] == pytest.approx(0.8623e6, abs=100)
    assert values[0.0, 0.10] == pytest.approx(0.8613e6, abs=100)
    assert all(0.861e6 < value < 0.863e6 for value in values.values())
    for other in (static_velocity(samples, "bilayer"), static_velocity(samples, "operator")):
        assert other == pytest.approx(values[0.03, 0.10], rel=0.01)
    primitive = evaluate_static(dft_bilayer, None, spec)
    assert static_velocity(primitive, "operator") == pytest.approx(
        static_velocity(samples, "operator"), rel=1e-9
    )
    assert np.ptp(samples.cone_energies[0, 2:6]) < 0.02, "AB: four states touch at K"

"""Gain of antithetic pairs: known answers for odd, even and mixed observables."""

from __future__ import annotations

import numpy as np
import pytest

from mlepi_core.electrons import VelocitySamples, VelocitySpec
from mlepi_core.electrons.pilot import pair_gain

PAIRS = 400


def made(odd: float, even: float) -> VelocitySamples:
    """Operator-estimator samples whose squared velocity is 1 + odd x + even (x^2 − 1), x = ±xi."""
    xi = np.random.default_rng(5).normal(size=PAIRS)
    sign = np.tile([1, -1], PAIRS)
    x = np.repeat(xi, 2) * sign
    return VelocitySamples(
        spec=VelocitySpec.single("operator"),
        cone_n=3,
        layers=2,
        lattice_constant=2.46,
        energies=np.zeros((2 * PAIRS, 1, 0, 8)),
        cone_energies=np.zeros((2 * PAIRS, 8)),
        velocity_squared=1 + odd * x + even * (x**2 - 1),
        pair=np.repeat(np.arange(PAIRS), 2),
        sign=sign,
    )


@pytest.mark.parametrize(
    ("odd", "even", "ratio"),
    [(0.01, 0.0, 0.0), (0.0, 0.01, 2.0), (0.01, 0.01 / np.sqrt(2), 1.0)],
)
def test_known_gains(odd: float, even: float, ratio: float) -> None:
    """Pairs remove odd orders (0), double the cost of even ones (2), and are neutral for equal parts."""
    gain = pair_gain(made(odd, even), "operator")
    assert gain is not None
    assert gain.ratio == pytest.approx(ratio, abs=0.2)
    assert gain.low - 1e-3 <= ratio <= gain.high + 1e-3
    assert gain.n_evaluations == 2 * PAIRS


def test_nothing_to_say_without_scatter() -> None:
    assert pair_gain(made(0.0, 0.0), "operator") is None


def test_the_same_for_the_same_samples() -> None:
    samples = made(0.01, 0.002)
    assert pair_gain(samples, "operator") == pair_gain(samples, "operator")

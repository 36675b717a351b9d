"""Reweighting between temperatures and its guard (acceptance test 4)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.sampling import ThermalSampler, apply_policy, mode_variance
from mlepi_core.sampling.reweighting import (
    check_effective,
    effective_samples,
    expected_share,
    log_density,
    relative_weights,
)

FREQUENCIES = np.array([1.2, 3.0, 9.0, 25.0, 47.0])
M = 100_000


@pytest.fixture(scope="module")
def numbers():
    return np.random.default_rng(2).standard_normal((M, len(FREQUENCIES)))


@pytest.mark.parametrize(("start", "wanted"), [(300.0, 250.0), (300.0, 330.0)])
def test_weighted_means_are_those_of_the_other_temperature(numbers, start, wanted):
    variance, target = mode_variance(FREQUENCIES, start), mode_variance(FREQUENCIES, wanted)
    weights = relative_weights(numbers, variance, target)
    assert weights.mean() == pytest.approx(1, abs=5 * weights.std() / np.sqrt(M))
    squares = (numbers**2 * variance).T @ weights / weights.sum()
    assert squares == pytest.approx(target, rel=0.03)
    # The soft modes do move: the samples' own means differ by more.
    assert abs(variance[0] / target[0] - 1) > 0.08


def test_effective_samples_are_as_expected(numbers):
    variance, target = mode_variance(FREQUENCIES, 300.0), mode_variance(FREQUENCIES, 200.0)
    weights = relative_weights(numbers, variance, target)
    share = expected_share(variance, target)
    assert 0.3 < share < 0.95
    assert effective_samples(weights) / M == pytest.approx(share, rel=0.02)
    # For a small step exp(-2 sum (d ln sigma)^2).
    near = mode_variance(FREQUENCIES, 295.0)
    step = np.log(near / variance) / 2
    assert np.log(expected_share(variance, near)) == pytest.approx(-2 * np.sum(step**2), rel=0.05)
    assert expected_share(target, 3 * target) == 0.0


def test_too_few_effective_samples_are_refused(numbers):
    variance = mode_variance(FREQUENCIES, 300.0)
    weights = relative_weights(numbers[:200], variance, mode_variance(FREQUENCIES, 30.0))
    with pytest.raises(InputError, match=r"200 samples of 300 K are worth .* at 30 K"):
        check_effective(weights, 300.0, 30.0)
    near = relative_weights(numbers[:200], variance, mode_variance(FREQUENCIES, 290.0))
    assert check_effective(near, 300.0, 290.0) > 190


def test_the_same_temperature_changes_nothing(numbers):
    variance = mode_variance(FREQUENCIES, 300.0)
    assert np.ptp(relative_weights(numbers, variance, variance)) == 0


def test_densities_of_displacements_give_the_same_weights(modes):
    policy = apply_policy(modes)
    warm, cold = (ThermalSampler(modes, policy, temperature) for temperature in (300.0, 290.0))
    displacements = np.array([warm.displacement(5, pair) for pair in range(6)])
    numbers = np.array([warm.numbers(5, pair)[1] for pair in range(6)])
    ratio = np.exp(
        log_density(modes, cold.variance, displacements) - log_density(modes, warm.variance, displacements)
    )
    assert ratio == pytest.approx(relative_weights(numbers, warm.variance, cold.variance), rel=1e-9)


def test_densities_do_not_depend_on_polarisations_of_equal_modes(modes):
    """Modes of one frequency in any basis have the same density, with the same translations left out."""
    variance = np.full(len(modes.eigenvalues), 0.3)
    turned = np.linalg.qr(np.random.default_rng(4).standard_normal((len(variance),) * 2))[0]
    other = replace(modes, eigenvectors=modes.eigenvectors @ turned)
    displacements = np.random.default_rng(5).standard_normal((3, len(modes.reference), 3))
    moved = displacements + [0.1, -0.2, 0.3]
    expected = log_density(modes, variance, displacements)
    assert log_density(other, variance, displacements) == pytest.approx(expected, rel=1e-10)
    assert log_density(modes, variance, moved) == pytest.approx(expected, rel=1e-10)

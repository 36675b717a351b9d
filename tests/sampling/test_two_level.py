"""Two-level estimates against known means and variances (acceptance test 10)."""

from __future__ import annotations

import numpy as np
import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.sampling.two_level import two_level

TRIALS = 2000


def reference(x: np.ndarray) -> np.ndarray:
    """Mean 1/2 for a standard normal x."""
    return np.sin(x) + x**2 / 2


def model(x: np.ndarray) -> np.ndarray:
    """Deliberately biased, with most of the scatter right."""
    return 0.9 * reference(x) + 0.3 + 0.05 * x**3


@pytest.mark.parametrize("nested", [False, True])
def test_mean_is_that_of_the_reference_and_the_error_is_true(nested):
    values, errors = [], []
    for trial in range(TRIALS):
        x = np.random.default_rng(trial).standard_normal(80)
        few = x[:16] if nested else x[64:]
        many = x[:64]
        places = np.arange(16) if nested else None
        result = two_level(model(many), reference(few) - model(few), places)
        values.append(result.value)
        errors.append(result.error)
    spread = np.std(values, ddof=1)
    assert np.mean(values) == pytest.approx(0.5, abs=4 * spread / np.sqrt(TRIALS))
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(spread, rel=0.06)
    # The model alone is far off.
    x = np.random.default_rng(0).standard_normal(200_000)
    assert abs(model(x).mean() - 0.5) > 0.2


def test_error_of_disjoint_sets_is_the_sum_of_both():
    x = np.random.default_rng(1).standard_normal(100)
    result = two_level(model(x[:80]), reference(x[80:]) - model(x[80:]))
    expected = result.model_spread**2 / 80 + result.difference_spread**2 / 20
    assert result.error**2 == pytest.approx(expected)
    assert result.correction_error == pytest.approx(result.difference_spread / np.sqrt(20))
    assert (result.n_model, result.n_reference) == (80, 20)


def test_allocation_is_the_cheapest():
    x = np.random.default_rng(2).standard_normal(400)
    result = two_level(model(x), reference(x) - model(x), np.arange(400))
    cost_ratio, error = 400.0, 0.02
    m1, m2 = result.samples_for(error, cost_ratio)
    assert m1 / m2 == pytest.approx(result.best_ratio(cost_ratio))

    def cost(m2: float) -> float:
        m1 = result.model_spread**2 / (error**2 - result.difference_spread**2 / m2)
        return m1 + cost_ratio * m2

    assert result.model_spread**2 / m1 + result.difference_spread**2 / m2 == pytest.approx(error**2)
    assert cost(m2) <= min(cost(1.1 * m2), cost(m2 / 1.1))


def test_a_perfect_model_needs_no_reference():
    x = np.random.default_rng(2).standard_normal(30)
    result = two_level(model(x), np.zeros(4), np.arange(4))
    assert result.value == pytest.approx(model(x).mean())
    assert result.samples_for(0.1, 100.0)[1] == 0


def test_too_few_samples_are_refused():
    with pytest.raises(InputError, match="4 model and 1 reference"):
        two_level(np.zeros(4), np.zeros(1))

"""Quadratic control variates with cross-fitting (acceptance test 2)."""

from __future__ import annotations

import numpy as np
import pytest

from mlepi_core.sampling.control_variates import controlled, mode_controls

EIGENVALUES = np.repeat(np.arange(1.0, 13.0), [2, 4, 2, 1, 4, 2, 2, 4, 2, 1, 4, 2])
COEFFICIENTS = np.repeat(np.linspace(1, 0.2, 12), [2, 4, 2, 1, 4, 2, 2, 4, 2, 1, 4, 2])


def observable(xi: np.ndarray) -> np.ndarray:
    """Mostly diagonal, with couplings between modes that no control takes up."""
    return xi**2 @ COEFFICIENTS / 2 + 0.4 * xi[:, 0] * xi[:, 5] + 0.3 * xi[:, 9] * xi[:, 20]


def test_controls_are_one_per_frequency_with_mean_zero():
    xi = np.random.default_rng(0).standard_normal((20_000, len(EIGENVALUES)))
    controls = mode_controls(xi, EIGENVALUES)
    assert controls.shape == (20_000, 12)
    sizes = np.unique(EIGENVALUES, return_counts=True)[1]
    assert np.abs(controls.mean(axis=0)).max() < 5 * np.sqrt(2 * sizes.max() / 20_000)
    assert controls.var(axis=0) == pytest.approx(2 * sizes, rel=0.1)
    # The scatter of the last digits in degenerate eigenvalues does not split them.
    noisy = EIGENVALUES * (1 + 1e-9 * np.random.default_rng(1).normal(size=len(EIGENVALUES)))
    assert mode_controls(xi[:3], noisy).shape == (3, 12)


def test_scatter_shrinks_and_the_mean_stays_unbiased():
    means, before, after = [], [], []
    for trial in range(400):
        xi = np.random.default_rng(trial).standard_normal((64, len(EIGENVALUES)))
        values = observable(xi)
        better = controlled(values, mode_controls(xi, EIGENVALUES))
        means.append(better.mean())
        before.append(values.var(ddof=1))
        after.append(better.var(ddof=1))
    exact = COEFFICIENTS.sum() / 2
    spread = np.std(means, ddof=1)
    assert np.mean(means) == pytest.approx(exact, abs=4 * spread / 20)
    # Couplings of 0.4 and 0.3 leave 0.25; the diagonal part had 7.6.
    assert np.mean(after) < 0.1 * np.mean(before)
    # The error bar that the corrected values have is the true scatter of their mean.
    assert np.sqrt(np.mean(after) / 64) == pytest.approx(spread, rel=0.15)


def test_in_sample_fitting_would_be_too_optimistic():
    """Why cross-fitting: without it few samples lose their scatter to many coefficients."""
    xi = np.random.default_rng(5).standard_normal((16, len(EIGENVALUES)))
    noise = np.random.default_rng(6).standard_normal(16)
    controls = mode_controls(xi, EIGENVALUES)
    fitted = noise - controls @ np.linalg.lstsq(controls, noise - noise.mean(), rcond=None)[0]
    assert fitted.var() < 0.5 * noise.var()
    assert controlled(noise, controls).var() > 0.8 * noise.var()


def test_useless_controls_do_no_harm():
    generator = np.random.default_rng(3)
    values, controls = generator.standard_normal(64), generator.standard_normal((64, 12))
    assert controlled(values, controls).var() < 1.3 * values.var()
    assert controlled(values[:2], controls[:2]) == pytest.approx(values[:2])
    assert controlled(values, np.zeros((64, 3))) == pytest.approx(values)

"""Precision and stopping: half widths, and acceptance test 11, the coverage of an automatic stop."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mlepi_core.config.sampling import LEAST_FIRST_STAGE, SamplingSection
from mlepi_core.sampling.stopping import Precision, half_width

RUNS = 3000


def test_half_width_of_few_samples_is_students() -> None:
    assert half_width(1.0, 2) == pytest.approx(12.7062, abs=1e-4)
    assert half_width(2.0, 10**6) == pytest.approx(2 * 1.959964, rel=1e-5)
    assert half_width(1.0, 1) == np.inf


def test_relative_and_absolute_targets() -> None:
    assert Precision(200.0, 1.0, 10**6, relative=0.01).met
    assert not Precision(-190.0, 1.0, 10**6, relative=0.01).met
    assert Precision(-190.0, 1.0, 10**6, absolute=1.97).met
    assert not Precision(None, None, 10**6, absolute=1e9).met
    assert not Precision(5.0, None, 1, relative=0.5).met


def normal(generator: np.random.Generator, size: int) -> np.ndarray:
    return generator.standard_normal(size)


def skewed(generator: np.random.Generator, size: int) -> np.ndarray:
    """A sum of squares, as second order in the displacements gives: 20 modes, skewness 0.63."""
    return (generator.chisquare(20, size) - 20) / np.sqrt(40)


@pytest.mark.parametrize("draw", [normal, skewed])
@pytest.mark.parametrize("wanted", [0.3, 0.2, 0.12])
def test_11_coverage_of_the_automatic_stop(
    draw: Callable[[np.random.Generator, int], np.ndarray], wanted: float
) -> None:
    """Intervals of nominally 95 % hold the true mean in at least 93 % of the runs that stop by themselves."""
    stages = SamplingSection(
        pairs=LEAST_FIRST_STAGE, max_pairs=1024, target_error={"velocity_manifold": {"absolute": wanted}}
    ).stage_pairs
    assert stages == [32, 64, 128, 256, 512, 1024]
    held, used = 0, []
    for run in range(RUNS):
        values = draw(np.random.default_rng(run), stages[-1])
        for count in stages:
            part = values[:count]
            now = Precision(part.mean(), part.std(ddof=1) / np.sqrt(count), count, absolute=wanted)
            if now.met:
                break
        assert now.met
        held += abs(now.value) <= now.reached
        used.append(count)
    assert len(set(used)) > 1  # the stop does depend on the samples
    assert held / RUNS >= 0.93

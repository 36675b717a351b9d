"""Cost of schemes of sampling relative to plain samples: known answers."""

from __future__ import annotations

import numpy as np
import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.electrons import VelocitySamples, VelocitySpec
from mlepi_core.electrons.efficiency import (
    Groups,
    cost_ratio,
    observables_of,
    sample_values,
)
from mlepi_core.electrons.estimators import METRES_PER_SECOND

COUNT = 800


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def plain_groups(values: np.ndarray) -> Groups:
    return Groups.of(values, np.arange(len(values)))


@pytest.mark.parametrize(("odd", "even", "ratio"), [(1.0, 0.0, 0.0), (0.0, 1.0, 2.0), (1.0, 0.5**0.5, 1.0)])
def test_pairs(odd: float, even: float, ratio: float) -> None:
    """Pairs take out odd orders (0), double the cost of even ones (2), and are neutral for equal parts."""

    def value(x: np.ndarray) -> np.ndarray:
        return 5 + odd * x + even * (x**2 - 1)

    x = normal(1, COUNT // 2)
    pairs = Groups.of(value(np.stack([x, -x], axis=1).ravel()), np.repeat(np.arange(COUNT // 2), 2))
    found, low, high = cost_ratio(pairs, plain_groups(value(normal(2, COUNT))))
    assert found == pytest.approx(ratio, abs=0.35)
    assert low - 1e-12 <= ratio <= high + 1e-12


def test_intervals_cover() -> None:
    """95 % intervals of a true ratio 1/4 hold it in about 95 of 100 cases."""
    held = 0
    for trial in range(200):
        a, b = normal(trial, 2, 200)
        _, low, high = cost_ratio(plain_groups(0.5 * a), plain_groups(b), seed=trial)
        held += low <= 0.25 <= high
    assert held >= 180


def test_samples_of_one_set_are_resampled_together() -> None:
    """The ratio of a value and a multiple of it is known without error."""
    values = plain_groups(normal(3, 50))
    half = plain_groups(0.5 * values.means)
    assert cost_ratio(half, values, same_samples=True) == pytest.approx((0.25, 0.25, 0.25))
    _, low, high = cost_ratio(half, values)
    assert high - low > 0.1


def test_evaluations_for_one_percent() -> None:
    groups = Groups.of(10 + np.tile([0.5, -0.5], 50), np.repeat(np.arange(50), 2)[::-1])
    assert groups.evaluations_wanted == pytest.approx(0.0)
    single = plain_groups(10 + np.tile([0.5, -0.5], 50))
    assert single.evaluations_wanted == pytest.approx(0.25 * 100 / 99 / 0.1**2)
    assert single.error == pytest.approx(np.sqrt(0.25 * 100 / 99 / 100))


@pytest.mark.parametrize("groups", [np.array([0, 0, 1, 1]), np.array([0, 0, 1, 2, 2])])
def test_unequal_or_few_groups_are_refused(groups: np.ndarray) -> None:
    with pytest.raises(InputError, match="at least three groups of one size"):
        Groups.of(np.ones(len(groups)), groups)


def test_values_of_the_observables() -> None:
    squares = np.array([1.0, 4.0, 9.0, 2.0])
    energies = np.tile([-2.0, -1.0, 0.5, 3.0], (4, 1)) + 0.1 * np.arange(4)[:, None]
    energies[3, 2] += 0.25
    samples = VelocitySamples(
        spec=VelocitySpec.single("operator"),
        cone_n=3,
        layers=1,
        lattice_constant=2.46,
        energies=np.zeros((4, 1, 0, 4)),
        cone_energies=energies,
        velocity_squared=squares,
        pair=np.arange(4),
        sign=np.ones(4, dtype=int),
    )
    assert observables_of(samples) == {"velocity_operator": "m/s", "gap": "eV"}
    # A constant that H is free to have drops out of the gap.
    assert sample_values(samples, "gap") == pytest.approx([1.5, 1.5, 1.5, 1.75])
    velocities = sample_values(samples, "velocity_operator")
    others = [np.sqrt(np.delete(squares, row).mean()) for row in range(4)]
    expected = METRES_PER_SECOND * (4 * np.sqrt(squares.mean()) - 3 * np.array(others))
    assert velocities == pytest.approx(expected)

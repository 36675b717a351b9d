"""Schemes of sampling: means and variances that are known (acceptance test 2), nesting, gauge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.phonons import supercell_modes
from mlepi_core.phonons.modes import SupercellModes
from mlepi_core.sampling import SCHEMES, ThermalSampler, apply_policy, members
from mlepi_core.sampling.schemes import (
    SOBOL_REPLICATES,
    canonical_modes,
    independent_groups,
    special_signs,
    unit_numbers,
)
from mlepi_core.stages.sample import sample

STATISTICAL = tuple(scheme for scheme in SCHEMES if scheme != "special")
UNITS = 1024


@pytest.fixture(scope="module")
def numbers(modes):
    """xi (UNITS, modes) of every scheme that has statistics, through displacements at 300 K."""
    found = {}
    for scheme in STATISTICAL:
        thermal = ThermalSampler(modes, apply_policy(modes), 300.0, scheme)
        root = np.sqrt(modes.reference.get_masses())[:, None]
        moved = np.array([(thermal.displacement(5, unit) * root).ravel() for unit in range(UNITS)])
        vectors = thermal.canonical.eigenvectors
        found[scheme] = moved @ vectors / np.sqrt(thermal.variance)
    return found


@pytest.fixture(scope="module")
def quadratic(modes):
    """A = a.xi + xi B xi/2 with matrices of a definite size."""
    generator = np.random.default_rng(0)
    n = len(modes.eigenvalues)
    matrix = generator.normal(size=(n, n)) / n
    matrix = matrix + matrix.T + np.diag(generator.uniform(0.5, 1.0, n))
    return generator.normal(size=n), matrix


def unit_values(scheme: str, xi: np.ndarray, function) -> np.ndarray:
    """Mean over the members of every unit."""
    return np.mean([function(sign * xi) for sign in (1, -1)[: members(scheme)]], axis=0)


def standard_error(scheme: str, values: np.ndarray) -> float:
    groups = independent_groups(scheme, np.arange(len(values)))
    means = np.array([values[groups == g].mean() for g in np.unique(groups)])
    return float(means.std(ddof=1) / np.sqrt(len(means)))


@pytest.mark.parametrize("scheme", STATISTICAL)
def test_covariance_is_thermal(numbers, scheme):
    xi = numbers[scheme]
    deviation = xi.T @ xi / UNITS - np.eye(xi.shape[1])
    if scheme == "sobol":  # some pairs of dimensions are correlated within a scrambling
        deviation = np.diag(deviation)
    # Five standard errors of the off-diagonal elements; diagonal ones have kurtosis 1 to 3.
    assert np.abs(deviation).max() < 5 * np.sqrt(2 / UNITS)
    assert np.abs(xi.mean(axis=0)).max() < 5 / np.sqrt(UNITS)


@pytest.mark.parametrize("scheme", STATISTICAL)
def test_mean_of_a_quadratic_is_exact_within_its_error(numbers, quadratic, scheme):
    a, matrix = quadratic
    values = unit_values(
        scheme, numbers[scheme], lambda xi: xi @ a + np.einsum("ui,ij,uj->u", xi, matrix, xi) / 2
    )
    assert abs(values.mean() - np.trace(matrix) / 2) < 4 * standard_error(scheme, values)


def test_variances_of_units_are_those_of_theory(numbers, quadratic):
    a, matrix = quadratic
    off = matrix - np.diag(np.diag(matrix))
    expected = {
        "plain": a @ a + np.sum(matrix**2) / 2,
        "antithetic": np.sum(matrix**2) / 2,
        "signs": np.sum(off**2) / 2,
        # (kurtosis - 1)/4 of each diagonal element: 3 - 1 of the normal, 3 - 1 of {0, +-sqrt 3}
        "gauss_hermite": np.sum(matrix**2) / 2,
    }
    for scheme, variance in expected.items():
        values = unit_values(
            scheme, numbers[scheme], lambda xi: xi @ a + np.einsum("ui,ij,uj->u", xi, matrix, xi) / 2
        )
        # Relative error of a variance of 1024 nearly normal values: 4.4 %.
        assert values.var(ddof=1) == pytest.approx(variance, rel=0.2), scheme


def test_signs_leave_no_scatter_of_decoupled_modes(numbers):
    xi = numbers["signs"]
    weights = np.linspace(0.3, 2, xi.shape[1])
    assert np.ptp(xi**2 @ weights) < 1e-9


@pytest.mark.parametrize(("scheme", "moments"), [("signs", (1, 1, 1)), ("gauss_hermite", (1, 3, 9))])
def test_moments(scheme, moments):
    xi = np.array([unit_numbers(scheme, 200, 3, unit) for unit in range(500)])
    for order, moment in zip((2, 4, 6), moments, strict=True):
        assert np.mean(xi**order) == pytest.approx(moment, rel=0.03)


@pytest.mark.parametrize("scheme", ["plain", "antithetic", "sobol"])
def test_exponential_average(numbers, scheme):
    """<exp a.u> = exp(a C a/2), all orders."""
    xi = numbers[scheme]
    a = np.zeros(xi.shape[1])
    a[[0, 7, 40]] = 0.5, -0.4, 0.3
    values = unit_values(scheme, xi, lambda xi: np.exp(xi @ a))
    assert abs(values.mean() - np.exp(a @ a / 2)) < 4 * standard_error(scheme, values)


@pytest.mark.parametrize("scheme", ["signs", "gauss_hermite"])
def test_bias_of_quadratures_is_that_of_their_moments(scheme):
    """cos and cosh: <exp(a xi)> is a product of cosh a, and of (2 + cosh(sqrt3 a))/3."""
    a = np.array([0.8, 0.6])
    exact = {"signs": np.cosh(a), "gauss_hermite": (2 + np.cosh(np.sqrt(3) * a)) / 3}[scheme].prod()
    xi = np.array([unit_numbers(scheme, 2, 1, unit) for unit in range(40_000)])
    values = np.cosh(xi @ a)
    assert values.mean() == pytest.approx(exact, abs=5 * values.std() / 200)
    assert abs(exact - np.exp(a @ a / 2)) > (5 * values.std() / 200 if scheme == "signs" else 0)


def test_sobol_beats_independent_pairs_on_a_smooth_function(numbers):
    """Few important modes: the scatter between scramblings is far below that of as many random pairs."""

    def smooth(xi: np.ndarray) -> np.ndarray:
        return np.exp(-((xi[:, :3] * [0.6, 0.5, 0.4]) ** 2).sum(axis=1))

    errors = {
        scheme: standard_error(scheme, unit_values(scheme, numbers[scheme], smooth))
        for scheme in ("antithetic", "sobol")
    }
    assert errors["sobol"] < errors["antithetic"] / 2
    exact = np.prod(1 / np.sqrt(1 + 2 * np.array([0.6, 0.5, 0.4]) ** 2))
    mean = unit_values("sobol", numbers["sobol"], smooth).mean()
    assert abs(mean - exact) < 5 * errors["sobol"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_displacements_do_not_depend_on_the_eigensolver(modes, scheme):
    vectors = modes.eigenvectors.copy()
    vectors[:, 5:50] *= -1.0
    cosine, sine = np.cos(0.4), np.sin(0.4)
    vectors[:, :2] = vectors[:, :2] @ np.array([[cosine, -sine], [sine, cosine]])
    other = SupercellModes(modes.reference, modes.eigenvalues, vectors)
    one, two = (
        ThermalSampler(basis, apply_policy(basis), 300.0, scheme).displacement(1, 0)
        for basis in (modes, other)
    )
    assert two == pytest.approx(one, abs=1e-8)


def test_canonical_modes_are_the_same_modes(modes):
    basis = canonical_modes(modes).eigenvectors
    assert basis.T @ basis == pytest.approx(np.eye(basis.shape[1]), abs=1e-10)
    dynamical = modes.eigenvectors * modes.eigenvalues @ modes.eigenvectors.T
    assert basis * modes.eigenvalues @ basis.T == pytest.approx(dynamical, abs=1e-6)


def test_special_signs_bring_correlations_nearer_than_a_random_set(dft_phonons):
    modes = supercell_modes(dft_phonons.phonon, dft_phonons.reference, (6, 6, 1))
    thermal = ThermalSampler(modes, apply_policy(modes), 300.0, "special")
    signs, deviation = special_signs(thermal.canonical, thermal.variance, 1)
    assert set(np.unique(signs)) == {-1.0, 1.0}
    atoms = modes.reference
    order = np.lexsort((atoms.arrays["kappa"], *atoms.arrays["cell_index"].T))
    covariance = thermal.covariance().reshape(144, 3, 144, 3)
    exact = sum(
        covariance[np.ix_(cell, range(3), cell, range(3))].reshape(12, 12) for cell in order.reshape(36, 4)
    )
    white = np.linalg.inv(np.linalg.cholesky(exact))

    def distance(moved: np.ndarray) -> float:
        products = moved[order].reshape(36, 12) @ white.T
        return np.linalg.norm(products.T @ products - np.eye(12)) / np.sqrt(12)

    assert distance(thermal.displacement(1, 0)) == pytest.approx(deviation)
    random = replace(thermal, scheme="signs")
    assert deviation < 0.75 * min(distance(random.displacement(1, unit)) for unit in range(20))
    with pytest.raises(InputError, match="has one pair"):
        thermal.displacement(1, 1)


def test_sobol_points_are_nested_and_belong_to_replicates():
    points = [unit_numbers("sobol", 30, 2, unit) for unit in range(3 * SOBOL_REPLICATES)]
    assert len({point.tobytes() for point in points}) == len(points)
    groups = independent_groups("sobol", np.arange(len(points)))
    assert np.bincount(groups).tolist() == [3] * SOBOL_REPLICATES
    # The first two points of a sequence lie in different halves in every dimension.
    first, second = points[0], points[SOBOL_REPLICATES]
    assert (np.sign(first) != np.sign(second)).all()
    assert independent_groups("signs", np.arange(4)).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_sample_file_holds_its_scheme(folder, tmp_path, scheme):
    from mlepi_core.sampling import read_samples

    units = 1 if scheme == "special" else 2
    arguments = (folder, (3, 3, 1), 100.0, units, 1)
    sample(*arguments, tmp_path / "s.h5", scheme=scheme)
    samples = read_samples(tmp_path / "s.h5")
    assert samples.scheme == scheme
    assert samples.sign.tolist() == [1, -1][: members(scheme)] * units
    mean = (samples.positions - samples.reference.positions).reshape(units, members(scheme), -1).sum(axis=1)
    assert (np.abs(mean).max() < 1e-12) == (scheme != "plain")
    if units == 2:
        later = sample(*arguments[:3], 1, 1, tmp_path / "t.h5", scheme=scheme, first_pair=1)
        assert later.positions == pytest.approx(samples.positions[members(scheme) :], abs=0)


def test_unknown_schemes_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match="scheme: 'thermal_lines' is unknown"):
        sample(folder, (3, 3, 1), 100.0, 2, 1, tmp_path / "s.h5", scheme="thermal_lines")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="mode by mode"):
        unit_numbers("plain", 3, 1, 0)


def test_plain_and_antithetic_share_their_numbers(modes):
    thermal = ThermalSampler(modes, apply_policy(modes), 300.0)
    assert np.array_equal(thermal.displacement(4, 2), replace(thermal, scheme="plain").displacement(4, 2))

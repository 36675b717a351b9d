"""Thermal means at one temperature from samples drawn at another."""

from __future__ import annotations

import numpy as np

from mlepi_core.artefacts import InputError
from mlepi_core.phonons.modes import SupercellModes

#: Smallest share of effective samples that is accepted.
LEAST_SHARE = 0.5
#: Schemes whose numbers are normal, so that a ratio of densities exists.
NORMAL_SCHEMES = ("antithetic", "plain", "sobol")


def relative_weights(numbers: np.ndarray, variance: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Densities of the target distribution over those that samples were drawn from.

    w = prod_mu (sigma0/sigma) exp[-xi^2 (sigma0^2/sigma^2 - 1)/2] for Q = sigma0 xi.

    Parameters
    ----------
    numbers
        xi (M, n) of the sampled modes.
    variance, target
        sigma0^2 and sigma^2 (n,), of the temperature of the samples and of the wanted one; both positive.

    Returns
    -------
    ndarray
        (M,), mean one in the limit of many samples; the same for both members of a pair, being even in xi.
    """
    ratio = np.asarray(variance) / np.asarray(target)
    return np.exp(0.5 * np.log(ratio).sum() - 0.5 * np.square(numbers) @ (ratio - 1))


def log_density(modes: SupercellModes, variance: np.ndarray, displacements: np.ndarray) -> np.ndarray:
    """Logarithm of the density of a harmonic supercell at given displacements, up to a common constant.

    -sum_mu [Q_mu^2/(2 sigma_mu^2) + ln sigma_mu] with Q_mu = sum_i sqrt(M_i) e_(i,mu) u_i. Differences
    between modes of the same atoms are meaningful whatever their polarisations: all span the complement of
    the translations.

    Parameters
    ----------
    modes
        Polarisations and masses of N atoms.
    variance
        sigma^2 (3N - 3), amu A^2, all positive.
    displacements
        (M, N, 3), A.

    Returns
    -------
    ndarray
        (M,).
    """
    masses = np.repeat(modes.reference.get_masses(), 3)
    coordinates = (displacements.reshape(len(displacements), -1) * np.sqrt(masses)) @ modes.eigenvectors
    return -0.5 * (np.square(coordinates) @ (1 / variance) + np.log(variance).sum())


def expected_share(variance: np.ndarray, target: np.ndarray) -> float:
    """Expected effective samples per sample, 1/<w^2> = prod_mu sqrt(2 r^2 - 1)/r^2 with r = sigma0/sigma.

    Zero where some r^2 <= 1/2: the weights then have no variance. Samples of a higher temperature serve a
    lower one better than the other way round.
    """
    square = np.asarray(variance) / np.asarray(target)
    if (square <= 0.5).any():
        return 0.0
    return float(np.exp(np.sum(0.5 * np.log(2 * square - 1) - np.log(square))))


def effective_samples(weights: np.ndarray) -> float:
    """(sum w)^2 / sum w^2 (Kong 1992)."""
    return float(weights.sum() ** 2 / np.sum(weights**2))


def check_effective(weights: np.ndarray, from_kelvin: float, to_kelvin: float) -> float:
    """Effective samples of weights, refused where they are too few for a mean and its error to be trusted.

    Raises
    ------
    InputError
        If their share is below `LEAST_SHARE`.
    """
    effective = effective_samples(weights)
    if effective < LEAST_SHARE * len(weights):
        raise InputError(
            "temperature",
            f"{len(weights)} samples of {from_kelvin:g} K are worth {effective:.1f} at {to_kelvin:g} K",
            f"sample at a temperature nearer to {to_kelvin:g} K",
        )
    return effective

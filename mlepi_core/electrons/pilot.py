"""What antithetic pairs gain over independent samples, measured on the pairs of a run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlepi_core.electrons.estimators import Window, feature, velocity_of_mean
from mlepi_core.electrons.quantities import VelocitySamples
from mlepi_core.randomness import stream

N_RESAMPLES = 1000
_INTERVAL = (2.5, 97.5)


@dataclass(frozen=True)
class PairGain:
    """Evaluations that pairs (u, −u) need relative to independent samples for the same error.

    `ratio` is 1 + ρ with ρ = corr(A(u), A(−u)): below 1 pairs pay, 1 is neutral, 2 is all lost.
    `low` and `high` are the 95 % bootstrap interval over pairs.
    """

    ratio: float
    low: float
    high: float
    n_evaluations: int


def pair_gain(
    samples: VelocitySamples, estimator: str, window: Window | None = None, *, seed: int = 0
) -> PairGain | None:
    """Gain of the pairs of a run for one velocity estimator.

    A velocity is a non-linear function of mean features, so its variance is that of the jackknife
    pseudo-values of single snapshots (Efron and Stein 1981, doi:10.1214/aos/1176345462).

    Returns
    -------
    PairGain or None
        None with fewer than three whole pairs or without any scatter.
    """
    pseudo = pseudo_velocities(samples, estimator, window)
    _, counts = np.unique(samples.pair, return_counts=True)
    if len(counts) < 3 or (counts != 2).any() or not np.isfinite(pseudo).all() or np.ptp(pseudo) == 0:
        return None
    pairs = np.argsort(samples.pair, kind="stable").reshape(-1, 2)
    values = pseudo[pairs]
    generator = stream(seed, "pair gain", 0)
    chosen = generator.integers(len(values), size=(N_RESAMPLES, len(values)))
    spread = [_cost_ratio(values[rows]) for rows in chosen]
    low, high = np.nanpercentile(spread, _INTERVAL)
    return PairGain(_cost_ratio(values), float(low), float(high), pseudo.size)


def pseudo_velocities(samples: VelocitySamples, estimator: str, window: Window | None = None) -> np.ndarray:
    """Jackknife pseudo-values (S,) in m/s: what each snapshot contributes to the velocity of the mean.

    NaN where the bands do not rise with |k|, and for a single snapshot.

    Parameters
    ----------
    window
        1/Å; None takes the estimator's default.
    """
    window = samples.spec.windows_of(estimator)[0] if window is None else window
    radii = np.empty(0) if window is None else samples.spec.radii_of(window)
    columns = samples.columns(radii)
    features = np.array([feature(estimator, sample, columns) for sample in samples.each()])
    count, mean = len(features), features.mean(axis=0)
    if count < 2:
        return np.full(count, np.nan)
    whole = velocity_of_mean(estimator, mean, radii)
    parts = [velocity_of_mean(estimator, (count * mean - row) / (count - 1), radii) for row in features]
    return count * whole - (count - 1) * np.array(parts)


def _cost_ratio(pairs: np.ndarray) -> float:
    """2 var(pair means)/var(single values) of values (M, 2), about the common mean."""
    centred = pairs - pairs.mean()
    variance = np.mean(centred**2)
    return float(2 * np.mean(centred.mean(axis=1) ** 2) / variance) if variance > 0 else np.nan

"""From the numbers of many snapshots to a velocity with its static value, ratio and error bar."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlepi_core.artefacts import InputError
from mlepi_core.electrons.estimators import (
    WINDOWLESS,
    Window,
    feature,
    linear_form,
    velocity_of_slope,
)
from mlepi_core.electrons.notes import FiniteSizeWarning, finite_size_warning, note_of
from mlepi_core.electrons.quantities import VelocitySamples
from mlepi_core.sampling.control_variates import controlled

VELOCITY_COLUMNS = (
    "estimator",
    "supercell_n",
    "temperature_K",
    "window_lo_per_A",
    "window_hi_per_A",
    "v_m_per_s",
    "v_se_m_per_s",
    "v_static_m_per_s",
    "ratio",
    "ratio_se",
    "n_pairs",
    "n_evaluations",
    "seed",
)
# An ideal AB bilayer has E_low = 0 at K; AA and other stackings do not.
_LARGEST_LOW_TO_HIGH = 0.25


class NoDiracCone(InputError):
    """The bands of the samples or of the static cell do not rise with |k| as those of a cone do."""


@dataclass(frozen=True)
class Estimate:
    """Mean and standard error of a function of pair means."""

    value: float
    error: float | None


def jackknife(
    pair_values: np.ndarray,
    function: Callable[[np.ndarray], np.ndarray],
    weights: np.ndarray | None = None,
) -> Estimate:
    """Function of the mean over pairs, with its delete-one-pair jackknife error.

    Parameters
    ----------
    pair_values
        (M,) mean over the snapshots of each pair: a pair is one statistical sample.
    function
        Elementwise function of the mean. For a linear one the error is the standard error of the mean.
    weights
        (M,) of the pairs in the mean; None: equal ones.

    Returns
    -------
    Estimate
        The error is None for one pair.
    """
    m = len(pair_values)
    shares = np.ones(m) if weights is None else weights
    total = shares @ pair_values
    value = float(function(np.array(total / shares.sum())))
    if m < 2:
        return Estimate(value, None)
    others = function((total - shares * pair_values) / (shares.sum() - shares))
    return Estimate(value, float(np.sqrt((m - 1) / m * np.sum((others - others.mean()) ** 2))))


def means_over_pairs(features: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Features (S, F) averaged over the snapshots of each pair (M, F), in ascending order of pair."""
    _, inverse, counts = np.unique(pairs, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), features.shape[1]))
    np.add.at(sums, inverse, features)
    return sums / counts[:, None]


def reduce_velocity(
    samples: VelocitySamples,
    static: VelocitySamples,
    estimator: str,
    window: Window | None = None,
    *,
    controls: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> dict[str, Any]:
    """Velocity of one estimator and window.

    Parameters
    ----------
    samples
        Snapshots of one temperature.
    static
        The undisplaced cell, with the same n, directions and radii.
    estimator, window
        Window in 1/Å; None takes the estimator's default. Ignored by `operator`.
    controls
        (S, G) control variates of the snapshots, with mean zero in the thermal distribution
        (`mlepi_core.sampling.control_variates`).
    weights
        (S,) relative weights of the snapshots (`mlepi_core.sampling.reweighting`).

    Returns
    -------
    dict
        The columns of velocity.csv (`VELOCITY_COLUMNS`; errors are None for one pair) and ``layers``,
        ``gauge``, ``directions``, ``note``, ``warnings``, ``n_projected``, ``convergence`` (running mean
        and error over pairs) and ``curve`` (mean feature over |k|, of snapshots and of the static cell).

    Raises
    ------
    InputError
        If the two do not belong together.
    NoDiracCone
        If the bands do not disperse like a Dirac cone; the error of a jackknife replica counts too.
    """
    samples.check_same_setting(static)
    spec = samples.spec
    window = spec.windows_of(estimator)[0] if window is None or estimator in WINDOWLESS else window
    radii = np.empty(0) if window is None else spec.radii_of(window)
    if estimator == "bilayer":
        _check_ab_stacking(static)
    features, bare = (_features(group, estimator, radii) for group in (samples, static))
    form = linear_form(estimator, radii)
    groups = samples.independent
    pair_means = means_over_pairs(features, groups)
    slopes = pair_means @ form
    if controls is not None:
        slopes = controlled(slopes, means_over_pairs(controls, groups))
    shares = None if weights is None else means_over_pairs(weights[:, None], groups)[:, 0]

    def velocity(slope: np.ndarray) -> np.ndarray:
        return velocity_of_slope(estimator, slope)

    v_static = float(velocity(bare.mean(axis=0) @ form))
    estimate = jackknife(slopes, velocity, shares)
    if not (np.isfinite([estimate.value, estimate.error or 0.0]).all() and v_static > 0):
        problem = f"{estimator}: the bands do not rise with |k| in the window {window} of all pairs"
        raise NoDiracCone("velocity", problem, "check H and S, or take more pairs")
    warning = finite_size_warning(samples.cone_n, window[0]) if estimator == "naive" else None
    if warning is not None:
        warnings.warn(warning, FiniteSizeWarning, stacklevel=2)
    row = {
        "estimator": estimator,
        "supercell_n": samples.cone_n,
        "temperature_K": samples.temperature,
        "window_lo_per_A": None if window is None else float(window[0]),
        "window_hi_per_A": None if window is None else float(window[1]),
        "v_m_per_s": estimate.value,
        "v_se_m_per_s": estimate.error,
        "v_static_m_per_s": v_static,
        "ratio": estimate.value / v_static,
        "ratio_se": None if estimate.error is None else estimate.error / v_static,
        "n_pairs": len(np.unique(samples.pair)),
        "n_evaluations": len(features),
        "seed": samples.seed,
    }
    return row | {
        "layers": samples.layers,
        "gauge": spec.gauge if estimator == "operator" else None,
        "directions": None if window is None else spec.directions,
        "note": note_of(estimator, samples.layers),
        "warnings": [] if warning is None else [warning],
        "n_projected": samples.n_projected,
        "convergence": convergence(slopes, velocity, v_static, shares, len(set(samples.pair)) // len(slopes)),
        "curve": _curve(estimator, radii, pair_means, bare),
    }


def snapshot_slopes(samples: VelocitySamples, estimator: str, window: Window | None = None) -> np.ndarray:
    """The linear quantity (S,) of every snapshot whose mean is the slope that `velocity_of_slope` takes.

    Parameters
    ----------
    window
        1/Å; None takes the estimator's default.
    """
    window = samples.spec.windows_of(estimator)[0] if window is None or estimator in WINDOWLESS else window
    radii = np.empty(0) if window is None else samples.spec.radii_of(window)
    return _features(samples, estimator, radii) @ linear_form(estimator, radii)


def undefined_velocity(
    samples: VelocitySamples, estimator: str, window: Window | None, reason: str
) -> dict[str, Any]:
    """The result of `reduce_velocity` where it raised `NoDiracCone`: no values, the reason as a warning."""
    row = dict.fromkeys(VELOCITY_COLUMNS) | {
        "estimator": estimator,
        "supercell_n": samples.cone_n,
        "temperature_K": samples.temperature,
        "window_lo_per_A": None if window is None else float(window[0]),
        "window_hi_per_A": None if window is None else float(window[1]),
        "n_pairs": len(set(samples.pair.tolist())),
        "n_evaluations": len(samples),
        "seed": samples.seed,
    }
    return row | {"layers": samples.layers, "warnings": [reason], "convergence": []}


def _features(samples: VelocitySamples, estimator: str, radii: np.ndarray) -> np.ndarray:
    """Features (S, F) of all snapshots on the radii of a window."""
    columns = samples.columns(radii)
    features = np.array([feature(estimator, snapshot, columns) for snapshot in samples.each()])
    if not np.isfinite(features).all():
        raise InputError(
            "velocity", f"the samples were made without {estimator!r}", "evaluate them again with it"
        )
    return features


def convergence(
    pair_values: np.ndarray,
    velocity: Callable[[np.ndarray], np.ndarray],
    v_static: float,
    weights: np.ndarray | None = None,
    group_size: int = 1,
) -> list[dict[str, float | int | None]]:
    """Velocity (m/s), ratio and their errors from the first 1, 2, … groups of `group_size` pairs.

    The running mean with its error, not the distance to the final mean, which is zero at the end by
    construction.
    """
    rows = []
    for count in range(1, len(pair_values) + 1):
        estimate = jackknife(pair_values[:count], velocity, None if weights is None else weights[:count])
        error = estimate.error
        rows.append(
            {
                "n_pairs": count * group_size,
                "v_m_per_s": _finite(estimate.value),
                "v_se_m_per_s": _finite(error),
                "ratio": _finite(estimate.value / v_static),
                "ratio_se": None if error is None else _finite(error / v_static),
            }
        )
    return rows


def _finite(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def _curve(
    estimator: str, radii: np.ndarray, pair_means: np.ndarray, bare: np.ndarray
) -> dict[str, Any] | None:
    """Fitted curve over |k| for figures; None for a windowless estimator."""
    if not len(radii):
        return None
    m = len(pair_means)
    error = pair_means.std(axis=0, ddof=1) / np.sqrt(m) if m > 1 else None
    return {
        "k_per_A": radii.tolist(),
        "quantity": "energy_eV" if estimator == "naive" else "energy_squared_eV2",
        "mean": pair_means.mean(axis=0).tolist(),
        "se": None if error is None else error.tolist(),
        "static": bare.mean(axis=0).tolist(),
    }


def _check_ab_stacking(static: VelocitySamples) -> None:
    """`bilayer` assumes two bands that touch at K and two split by gamma_1."""
    if static.layers != 2:
        raise InputError("velocity.estimators", "bilayer needs two layers", "use manifold or operator")
    energies = static.cone_energies[0]
    half = len(energies) // 2
    gaps = (energies[half:] - energies[half - 1 :: -1]) / 2
    low, high = gaps[: half // 2].mean(), gaps[half // 2 :].mean()
    if low > _LARGEST_LOW_TO_HIGH * high:
        raise InputError(
            "velocity.estimators",
            f"bilayer needs AB stacking; the static cell has E_low = {low:.3f}, E_high = {high:.3f} eV at K",
            "use manifold or operator",
        )

"""Control variates: functions of the modes whose thermal mean is known take scatter out of an observable.

A quadratic function f of the modes that resembles the observable A, with known <f>, gives the mean of
A - f + <f> with the scatter of A - f. The functions here are what second-order theory leaves of a totally
symmetric observable: sums of xi^2 over the modes of one frequency, since stars of q and degenerate branches
have one frequency. Coefficients are fitted on other samples than those they are applied to (cross-fitting),
which keeps the mean unbiased.
"""

from __future__ import annotations

import numpy as np

FOLDS = 8
# Modes whose eigenvalues differ by less than this fraction of the largest one count as one frequency.
_DEGENERATE = 1e-6
_RIDGES = np.logspace(-3, 3, 25)


def mode_controls(numbers: np.ndarray, eigenvalues: np.ndarray) -> np.ndarray:
    """Sum over the modes of each frequency of xi^2 - 1: (M, G), mean zero.

    Parameters
    ----------
    numbers
        xi (M, n).
    eigenvalues
        (n,) ascending, of the modes.
    """
    limit = _DEGENERATE * np.abs(eigenvalues).max()
    first = np.concatenate([[0], np.flatnonzero(np.diff(eigenvalues) > limit) + 1])
    return np.add.reduceat(np.square(numbers) - 1, first, axis=1)


def controlled(values: np.ndarray, controls: np.ndarray, folds: int = FOLDS) -> np.ndarray:
    """Values with their fitted part taken out; their mean estimates that of the values without bias.

    Parameters
    ----------
    values
        (M,) of independent samples.
    controls
        (M, G) with known mean zero.
    folds
        Parts for cross-fitting: coefficients for a part come from the others, by ridge regression whose
        penalty generalised cross-validation chooses (Golub, Heath and Wahba 1979,
        doi:10.1080/00401706.1979.10489751).

    Returns
    -------
    ndarray
        (M,).
    """
    values, controls = np.asarray(values, dtype=float), np.asarray(controls, dtype=float)
    part = np.arange(len(values)) % min(folds, len(values))
    result = values.copy()
    for fold in np.unique(part):
        own = part == fold
        if (~own).sum() > 2:
            result[own] -= controls[own] @ _ridge(values[~own], controls[~own])
    return result


def _ridge(values: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """Coefficients (G,) of a ridge regression with a free constant."""
    scale = np.sqrt(np.mean(controls**2, axis=0))
    scale = np.where(scale > 0, scale, 1.0)
    x, y = controls / scale, values - values.mean()
    u, s, vt = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    rotated, count = u.T @ y, len(y)
    best, chosen = np.inf, np.zeros_like(rotated)
    for penalty in _RIDGES * count:
        kept = s**2 / (s**2 + penalty)
        residual = y @ y - np.sum((1 - (1 - kept) ** 2) * rotated**2)
        score = residual / (count - 1 - kept.sum()) ** 2
        if score < best:
            best, chosen = score, rotated * s / (s**2 + penalty)
    return vt.T @ chosen / scale

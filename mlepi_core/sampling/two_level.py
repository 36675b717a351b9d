"""Two-level estimates: many samples of a cheap model, corrected by a few of the reference that it stands for.

<A>_ref = mean over m1 samples of A_model + mean over m2 samples of (A_ref - A_model): the level of the
reference (DFT) without bias, whatever the error of the model, with the scatter of the difference in place of
that of A (two levels of multilevel Monte Carlo, Giles 2008, doi:10.1287/opre.1070.0496).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlepi_core.artefacts import InputError


@dataclass(frozen=True)
class TwoLevel:
    """A two-level mean.

    Attributes
    ----------
    value, error
        Mean at the level of the reference and its standard error.
    model_value, correction, correction_error
        Mean of the model, mean difference and its standard error: how biased the model is.
    model_spread, difference_spread
        Standard deviations s1 of A_model and s2 of the difference.
    n_model, n_reference
        m1 and m2.
    """

    value: float
    error: float
    model_value: float
    correction: float
    correction_error: float
    model_spread: float
    difference_spread: float
    n_model: int
    n_reference: int

    def best_ratio(self, cost_ratio: float) -> float:
        """m1/m2 with the smallest error for a given cost, (s1/s2) sqrt(c2/c1).

        Parameters
        ----------
        cost_ratio
            c2/c1: cost of a reference sample, with its model evaluation, over that of a model sample.
        """
        if self.difference_spread == 0:
            return np.inf
        return self.model_spread / self.difference_spread * float(np.sqrt(cost_ratio))

    def samples_for(self, error: float, cost_ratio: float) -> tuple[float, float]:
        """m1 and m2 that reach a standard error at the least cost, were both sets disjoint."""
        ratio = self.best_ratio(cost_ratio)
        if not np.isfinite(ratio):
            return self.model_spread**2 / error**2, 0.0
        m2 = (self.model_spread**2 / ratio + self.difference_spread**2) / error**2
        return ratio * m2, m2


def two_level(model: np.ndarray, difference: np.ndarray, places: np.ndarray | None = None) -> TwoLevel:
    """Two-level mean of independent samples.

    Parameters
    ----------
    model
        (m1,) values of the model.
    difference
        (m2,) reference minus model, of the same quantity.
    places
        (m2,) where the samples of `difference` stand among those of `model`: then both means depend on each
        other, which the error takes into account. None: they are other samples.

    Raises
    ------
    InputError
        With fewer than two samples on either level.
    """
    model, difference = np.asarray(model, dtype=float), np.asarray(difference, dtype=float)
    m1, m2 = len(model), len(difference)
    if min(m1, m2) < 2:
        raise InputError(
            "two-level estimate", f"has {m1} model and {m2} reference samples", "give two of each or more"
        )
    influence = (model - model.mean()) / np.sqrt(m1 * (m1 - 1))
    own = (difference - difference.mean()) / np.sqrt(m2 * (m2 - 1))
    if places is None:
        variance = influence @ influence + own @ own
    else:
        influence[np.asarray(places)] += own
        variance = influence @ influence
    return TwoLevel(
        value=float(model.mean() + difference.mean()),
        error=float(np.sqrt(variance)),
        model_value=float(model.mean()),
        correction=float(difference.mean()),
        correction_error=float(difference.std(ddof=1) / np.sqrt(m2)),
        model_spread=float(model.std(ddof=1)),
        difference_spread=float(difference.std(ddof=1)),
        n_model=m1,
        n_reference=m2,
    )

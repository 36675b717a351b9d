"""How many Hamiltonians a scheme of sampling needs, relative to independent samples.

The cost of a scheme is the number of evaluations for a given standard error. With groups of k evaluations
that are independent of each other (one sample, a pair, the points of one scrambling) it is proportional to k
times the variance of the group means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlepi_core.artefacts import InputError
from mlepi_core.electrons.pilot import pseudo_velocities
from mlepi_core.electrons.quantities import VelocitySamples
from mlepi_core.randomness import stream

N_RESAMPLES = 2000
_INTERVAL = (2.5, 97.5)
#: Relative standard error that evaluations are counted for.
WANTED = 0.01


def observables_of(samples: VelocitySamples) -> dict[str, str]:
    """Observables that samples hold, with their units: ``velocity_<estimator>`` and ``gap``.

    ``gap`` is the distance between the highest occupied and the lowest empty state at the folded K.
    """
    wanted = [e for e in samples.spec.estimators if e != "bilayer" or samples.layers == 2]
    return {f"velocity_{estimator}": "m/s" for estimator in wanted} | {"gap": "eV"}


def sample_values(samples: VelocitySamples, observable: str) -> np.ndarray:
    """Values (S,) of the snapshots whose mean is the observable, in the first window of an estimator.

    A velocity is a function of mean features. It is replaced by jackknife pseudo-values, whose mean has the
    variance of the velocity to leading order (Efron and Stein 1981, doi:10.1214/aos/1176345462).

    Raises
    ------
    InputError
        If some value is not finite: the bands do not rise with |k|.
    """
    if observable == "gap":
        half = samples.cone_energies.shape[1] // 2
        return samples.cone_energies[:, half] - samples.cone_energies[:, half - 1]
    values = pseudo_velocities(samples, observable.removeprefix("velocity_"))
    if not np.isfinite(values).all():
        raise InputError(observable, "the bands do not rise with |k|", "give more samples")
    return values


@dataclass(frozen=True)
class Groups:
    """Means of the independent groups of a scheme, and the evaluations in each.

    Attributes
    ----------
    means
        (G,).
    size
        Evaluations per group.
    """

    means: np.ndarray
    size: int

    @classmethod
    def of(cls, values: np.ndarray, groups: np.ndarray) -> Groups:
        """Means of `values` (S,) over equal numbers `groups` (S,).

        Raises
        ------
        InputError
            If groups differ in size or there are fewer than three.
        """
        _, index, counts = np.unique(groups, return_inverse=True, return_counts=True)
        if len(counts) < 3 or len(set(counts.tolist())) > 1:
            raise InputError(
                "samples",
                f"{len(counts)} groups of {min(counts)} to {max(counts)} evaluations",
                "give at least three groups of one size",
            )
        return cls(np.bincount(index, weights=values) / counts, int(counts[0]))

    @property
    def cost(self) -> float:
        """Evaluations times squared standard error of the mean."""
        return self.size * float(self.means.var(ddof=1))

    @property
    def mean(self) -> float:
        """Mean over all evaluations."""
        return float(self.means.mean())

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return float(self.means.std(ddof=1) / np.sqrt(len(self.means)))

    @property
    def evaluations_wanted(self) -> float:
        """Evaluations for a standard error of `WANTED` of the mean."""
        return self.cost / (WANTED * self.mean) ** 2

    def resampled(self, generator: np.random.Generator) -> np.ndarray:
        """Numbers (N_RESAMPLES, G) of the groups of bootstrap samples."""
        return generator.integers(len(self.means), size=(N_RESAMPLES, len(self.means)))


def cost_ratio(
    groups: Groups, plain: Groups, *, same_samples: bool = False, seed: int = 0
) -> tuple[float, float, float]:
    """Cost of a scheme over that of independent samples, and its 95 % bootstrap interval over groups.

    Parameters
    ----------
    same_samples
        Whether group j of both is made of the same sample, as with control variates: they are then resampled
        together. The coefficients of the variates are those of the whole set.
    """
    generator = stream(seed, "cost ratio", 0)
    chosen = groups.resampled(generator)
    chosen_plain = chosen if same_samples else plain.resampled(generator)
    costs = groups.size * groups.means[chosen].var(axis=1, ddof=1)
    plain_costs = plain.size * plain.means[chosen_plain].var(axis=1, ddof=1)
    usable = plain_costs > 0
    low, high = np.percentile(costs[usable] / plain_costs[usable], _INTERVAL)
    return groups.cost / plain.cost, float(low), float(high)

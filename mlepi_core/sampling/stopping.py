"""When there are enough samples: confidence intervals against the precision that is asked for.

Stopping at the first moment at which an interval is short enough favours samples that happen to scatter
little, so that intervals cover less than they say (Chow and Robbins 1965, doi:10.1214/aoms/1177700156). The
workflow therefore makes the test a few times only, after every doubling of the samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import t

CONFIDENCE = 0.95


def half_width(error: float, groups: int, confidence: float = CONFIDENCE) -> float:
    """Half width of the confidence interval of a mean, t(groups - 1) times its standard error.

    Parameters
    ----------
    error
        Standard error of the mean.
    groups
        Independent samples (pairs) that it rests on; infinite for fewer than two.
    """
    if groups < 2:
        return np.inf
    return float(t.ppf((1 + confidence) / 2, groups - 1) * error)


@dataclass(frozen=True)
class Precision:
    """How precise an observable is, and how precise it is wanted.

    Attributes
    ----------
    value, error
        Mean and its standard error; None where samples give none.
    groups
        Independent samples.
    relative, absolute
        Half width that is wanted: part of the value or in its unit; the other one is None.
    """

    value: float | None
    error: float | None
    groups: int
    relative: float | None = None
    absolute: float | None = None

    @property
    def reached(self) -> float:
        """Half width of the confidence interval, in the unit of the value; infinite where it is unknown."""
        if self.value is None or self.error is None:
            return np.inf
        return half_width(self.error, self.groups)

    @property
    def wanted(self) -> float:
        """Half width that is asked for, in the unit of the value."""
        if self.absolute is not None:
            return self.absolute
        return 0.0 if self.value is None else abs(self.value) * float(self.relative or 0.0)

    @property
    def met(self) -> bool:
        """Whether the interval is short enough."""
        return self.reached <= self.wanted

"""Radial functions of one species pair: uniform cubic B-splines with their coverage."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.interpolate import BSpline

from mlepi_core.artefacts import InputError

__all__ = ["DEGREE", "RadialTable", "radial_functions", "uniform_knots"]

DEGREE = 3
# Enough to fix a cubic.
_PER_INTERVAL = 4


def radial_functions(
    shells_i: tuple[int, ...], shells_j: tuple[int, ...], same_species: bool
) -> list[tuple[int, int, int]]:
    """Independent functions f^ab_|m| of a species pair as (a, b, |m|); a <= b for equal species."""
    return [
        (a, b, m)
        for a, l1 in enumerate(shells_i)
        for b, l2 in enumerate(shells_j)
        if a <= b or not same_species
        for m in range(min(l1, l2) + 1)
    ]


def uniform_knots(lower: float, spacing: float, n_intervals: int) -> np.ndarray:
    """Knots (n_intervals + 7,) in Å, three of them beyond either end."""
    return lower + spacing * np.arange(-DEGREE, n_intervals + DEGREE + 1)


@dataclass(frozen=True)
class RadialTable:
    """Uniform cubic B-splines of all radial functions of one species pair.

    Parameters
    ----------
    lower, spacing
        First distance covered and knot spacing in Å; knots lie at lower + n spacing.
    coefficients
        (n_intervals + 3, F) B-spline coefficients. The last three are zero, so that value, slope and
        curvature vanish at the end of support.
    counts
        (n_intervals,) fitted distances per knot interval.
    smoothed
        True if the fit was asked to bridge intervals without data; else evaluation there is an error.
    """

    lower: float
    spacing: float
    coefficients: np.ndarray
    counts: np.ndarray
    smoothed: bool
    _cache: dict[tuple[torch.dtype, torch.device], torch.Tensor] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def support(self) -> float:
        """Distance from which on the functions are zero, Å."""
        return self.lower + self.spacing * len(self.counts)

    def sampled(self) -> np.ndarray:
        """Distances (Å) that stand for the fitted ones: `_PER_INTERVAL` in every interval that had any."""
        places = (0.5 + np.arange(_PER_INTERVAL)) / _PER_INTERVAL
        return (self.lower + self.spacing * (np.flatnonzero(self.counts)[:, None] + places)).ravel()

    def gaps(self) -> list[tuple[float, float]]:
        """Ranges of distance (Å) without any fitted sample, adjacent intervals joined."""
        ranges, start = [], 0
        for empty, members in itertools.groupby(self.counts == 0):
            stop = start + len(list(members))
            if empty:
                ranges.append((self.lower + start * self.spacing, self.lower + stop * self.spacing))
            start = stop
        return ranges

    def check(self, distances: np.ndarray, where: str) -> None:
        """Raise for distances the fit does not cover.

        Raises
        ------
        InputError
            Naming the first uncovered distance and the gap around it.
        """
        inside = distances < self.support
        interval = np.floor((distances - self.lower) / self.spacing).astype(np.int64)
        bad = inside & (interval < 0)
        if not self.smoothed:
            covered = self.counts[np.clip(interval, 0, len(self.counts) - 1)] > 0
            bad |= inside & ~covered
        if not bad.any():
            return
        distance = float(distances[bad].min())
        if distance < self.lower:
            gap = f"below {self.lower:.3f} Å, the shortest distance of the fit"
        else:
            low, high = next(g for g in self.gaps() if g[0] - 1e-9 <= distance <= g[1] + 1e-9)
            gap = f"in the gap {low:.3f}-{high:.3f} Å, where the fit has no data"
        raise InputError(
            where,
            f"distance {distance:.4f} Å lies {gap}",
            "fit with structures that sample it, or ask for a smoothing that bridges gaps",
        )

    def values(self, distances: torch.Tensor) -> torch.Tensor:
        """All functions (E, F) at distances (E,); unchecked, zero beyond the support.

        Differentiable in the distances, C2.
        """
        pieces = self._pieces(distances.dtype, distances.device)
        inside = distances < self.support
        interval = ((distances.detach() - self.lower) / self.spacing).floor().long()
        interval = interval.clamp(0, len(self.counts) - 1)
        # An integer tensor times a float would be float32.
        offset = (distances - (self.lower + self.spacing * interval.to(distances.dtype)))[:, None]
        third, second, first, value = pieces[interval].unbind(dim=1)
        result = ((third * offset + second) * offset + first) * offset + value
        return torch.where(inside[:, None], result, torch.zeros_like(result))

    def _pieces(self, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """Polynomial coefficients (n_intervals, 4, F), highest power first."""
        if (dtype, device) not in self._cache:
            spline = BSpline(
                uniform_knots(self.lower, self.spacing, len(self.counts)), self.coefficients, DEGREE
            )
            left = self.lower + self.spacing * np.arange(len(self.counts))
            taylor = [spline(left, nu=n) / math.factorial(n) for n in range(DEGREE, -1, -1)]
            self._cache[dtype, device] = torch.from_numpy(np.stack(taylor, axis=1)).to(device, dtype)
        return self._cache[dtype, device]

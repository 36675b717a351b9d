"""Calibration of a committee: how well the spread of its members tells the true error."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

__all__ = ["COLUMNS", "SUMMARY", "Points", "calibration_rows"]

COLUMNS = (
    "model",
    "quantity",
    "split",
    "unit",
    "bin",
    "spread_lo",
    "spread_hi",
    "spread_mean",
    "error_rms",
    "n",
    "spearman",
    "scale",
    "within_1",
    "within_2",
)
SUMMARY = "all"  # value of `bin` in the row over all points of a split
BINS = 10
# The split that fixes the scale; it must not be the one that judges it.
SCALE_SPLIT = "validation"

Points = tuple[np.ndarray, np.ndarray]
"""Spreads (n,) and errors (n,) of the same points."""


def calibration_rows(model: str, quantity: str, unit: str, splits: dict[str, Points]) -> list[dict[str, Any]]:
    """Rows of calibration.csv for one quantity: `BINS` bins of equal counts per split, and a summary.

    Parameters
    ----------
    splits
        Points per split, in `unit`.

    Returns
    -------
    list of dict
        Bins: edges and mean of the spread, rms error, number of points. Summary (``bin`` = "all"): the same
        over all, Spearman's rank correlation of spread and error, the factor that makes the rms spread of the
        validation split equal to its rms error, and the fractions of errors within one and two scaled spreads
        (the last three are empty without a validation split).
    """
    scale = _scale(*splits[SCALE_SPLIT]) if SCALE_SPLIT in splits else float("nan")
    common = {"model": model, "quantity": quantity, "unit": unit}
    rows = []
    for split, (spread, error) in splits.items():
        rows += [common | {"split": split} | row for row in _bins(spread, error)]
        rows.append(common | {"split": split, "bin": SUMMARY} | _summary(spread, error, scale))
    return [{key: _blank(row.get(key, "")) for key in COLUMNS} for row in rows]


def _bins(spread: np.ndarray, error: np.ndarray) -> Iterable[dict[str, Any]]:
    order = np.argsort(spread, kind="stable")
    for number, members in enumerate(np.array_split(order, min(BINS, len(order)))):
        yield {"bin": number} | _statistics(spread[members], error[members])


def _statistics(spread: np.ndarray, error: np.ndarray) -> dict[str, Any]:
    return {
        "spread_lo": float(spread.min()),
        "spread_hi": float(spread.max()),
        "spread_mean": float(spread.mean()),
        "error_rms": _rms(error),
        "n": len(spread),
    }


def _summary(spread: np.ndarray, error: np.ndarray, scale: float) -> dict[str, Any]:
    within = {
        f"within_{k}": float((np.abs(error) <= k * scale * spread).mean()) if np.isfinite(scale) else scale
        for k in (1, 2)
    }
    return _statistics(spread, error) | {"spearman": _spearman(spread, error), "scale": scale} | within


def _scale(spread: np.ndarray, error: np.ndarray) -> float:
    return _rms(error) / _rms(spread) if spread.any() else float("nan")


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _spearman(spread: np.ndarray, error: np.ndarray) -> float:
    """Rank correlation; undefined (NaN) where either does not vary."""
    from scipy.stats import spearmanr

    if len(spread) < 2 or np.ptp(spread) == 0 or np.ptp(np.abs(error)) == 0:
        return float("nan")
    return float(spearmanr(spread, np.abs(error)).statistic)


def _blank(value: Any) -> Any:
    """An empty cell for a number that does not exist."""
    return "" if isinstance(value, float) and np.isnan(value) else value

"""Calibration numbers of points whose spread and error are known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from mlepi_core.inference.calibration import BINS, COLUMNS, calibration_rows


def points(seed: int, count: int = 4000, factor: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Errors that are Gaussian with a width of `factor` times the spread."""
    generator = np.random.default_rng(seed)
    spread = generator.lognormal(0, 0.5, count)
    return spread, factor * spread * generator.standard_normal(count)


def rows_of(**splits: tuple[np.ndarray, np.ndarray]) -> list[dict]:
    return calibration_rows("phonon", "force_component", "meV/Å", splits)


def summary(rows: list[dict], split: str) -> dict:
    (row,) = (row for row in rows if row["split"] == split and row["bin"] == "all")
    return row


def test_scale_of_the_validation_split_makes_gaussian_errors_fit() -> None:
    rows = rows_of(validation=points(1), test=points(2))
    found = summary(rows, "test")
    assert found["scale"] == summary(rows, "validation")["scale"] == pytest.approx(3, rel=0.1)
    assert found["within_1"] == pytest.approx(0.683, abs=0.04)
    assert found["within_2"] == pytest.approx(0.954, abs=0.02)
    assert 0.3 < found["spearman"] < 0.8
    assert all(tuple(row) == COLUMNS for row in rows)


def test_bins_hold_equal_numbers_and_follow_the_spread() -> None:
    spread, error = points(3)
    bins = [row for row in rows_of(test=(spread, error)) if row["bin"] != "all"]
    assert len(bins) == BINS
    assert {row["n"] for row in bins} == {len(spread) // BINS}
    assert bins[0]["spread_lo"] == spread.min()
    assert bins[-1]["spread_hi"] == spread.max()
    for left, right in pairwise(bins):
        assert left["spread_hi"] <= right["spread_lo"]
        assert left["spread_mean"] < right["spread_mean"]
    total = sum(row["n"] * row["error_rms"] ** 2 for row in bins) / len(error)
    assert total == pytest.approx(np.mean(error**2))
    for row in bins[1:-1]:
        assert row["error_rms"] == pytest.approx(3 * row["spread_mean"], rel=0.2)


def test_perfect_and_absent_relations() -> None:
    spread = np.linspace(1, 2, 50)
    assert summary(rows_of(test=(spread, -2 * spread)), "test")["spearman"] == pytest.approx(1)
    assert summary(rows_of(test=(spread, 1 / spread)), "test")["spearman"] == pytest.approx(-1)
    assert summary(rows_of(test=(spread, np.ones(50))), "test")["spearman"] == ""


def test_without_validation_there_is_no_scale() -> None:
    found = summary(rows_of(test=points(4)), "test")
    assert [found[key] for key in ("scale", "within_1", "within_2")] == ["", "", ""]


def test_members_that_agree_have_no_scale() -> None:
    error = points(5)[1]
    rows = rows_of(validation=(np.zeros_like(error), error), test=(np.zeros_like(error), error))
    assert summary(rows, "test")["scale"] == ""


def test_fewer_points_than_bins() -> None:
    rows = rows_of(test=(np.array([1.0, 2.0]), np.array([0.5, 0.7])))
    assert [row["n"] for row in rows] == [1, 1, 2]

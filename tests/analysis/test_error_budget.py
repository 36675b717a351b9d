"""Error budget: each source against numbers that are easy to see, and runs that do not fit their role."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlepi_core.analysis.error_budget import BUDGET_COLUMNS, error_budget
from mlepi_core.artefacts import InputError
from mlepi_core.stages.budget import budget

WINDOWS = {"manifold": [(0.03, 0.10), (0.05, 0.10)], "operator": [(np.nan, np.nan)]}


def run(name: str, n: int = 3, shift: float = 0.0, error: float = 3e-3, pairs: int = 33) -> pd.DataFrame:
    rows = [
        {
            "estimator": estimator,
            "temperature_K": temperature,
            "window_lo_per_A": low,
            "window_hi_per_A": high,
            "supercell_n": n,
            "v_static_m_per_s": 8.6e5,
            "ratio": 0.98 + shift - 0.002 * place,
            "ratio_se": error,
            "n_pairs": pairs,
            "run": name,
        }
        for estimator, windows in WINDOWS.items()
        for place, (low, high) in enumerate(windows)
        for temperature in (0.0, 300.0)
    ]
    return pd.DataFrame(rows)


def picked(table: pd.DataFrame, source: str, estimator: str) -> pd.Series:
    rows = table[(table["source"] == source) & (table["estimator"] == estimator)]
    assert sorted(rows["temperature_K"]) == [0, 300]
    return rows.iloc[0]


def test_every_source() -> None:
    table = error_budget(
        run("main"),
        sizes=[run("six", 6, -0.01), run("nine", 9, -0.015, error=4e-3, pairs=5)],
        anharmonic=run("warm", shift=0.004),
        networks=[run("a", shift=0.001), run("b", shift=-0.001)],
    )
    assert tuple(table.columns) == BUDGET_COLUMNS
    statistical = picked(table, "statistical", "manifold")
    assert statistical["error"] == 3e-3
    assert statistical["uncertainty"] == pytest.approx(3e-3 / 8)  # 1/sqrt(2 · 32)
    assert picked(table, "fit window", "manifold")["error"] == pytest.approx(-0.002)
    assert "fit window" not in set(table.loc[table["estimator"] == "operator", "source"])
    for estimator in WINDOWS:
        size = picked(table, "supercell", estimator)
        assert (size["error"], size["uncertainty"]) == pytest.approx((-0.015, 5e-3))
        assert (size["n_pairs"], size["basis"]) == (5, "9×9 against 3×3 cell")
        assert picked(table, "harmonic", estimator)["error"] == pytest.approx(0.004)
        assert picked(table, "networks", estimator)["error"] == pytest.approx(1e-3)


def test_sources_without_runs_are_left_out() -> None:
    assert set(error_budget(run("main"))["source"]) == {"statistical", "fit window"}


def test_runs_that_do_not_fit_their_role() -> None:
    with pytest.raises(InputError, match="six: has the same 3×3 sampling cell"):
        error_budget(run("main"), sizes=[run("six", 3)])
    with pytest.raises(InputError, match="nets: has another sampling cell than 3×3"):
        error_budget(run("main"), networks=[run("nets", 6)])
    other = run("other", 6).assign(temperature_K=50.0)
    with pytest.raises(InputError, match="in common"):
        error_budget(run("main"), sizes=[other])


def test_stage_reads_runs_and_draws(tmp_path: Path) -> None:
    for name, n in (("main", 3), ("six", 6)):
        (tmp_path / name / "tables").mkdir(parents=True)
        run(name, n).drop(columns="run").to_csv(tmp_path / name / "tables/velocity.csv", index=False)
    table = budget(tmp_path / "main", tmp_path / "out", sizes=[tmp_path / "six"])
    assert picked(table, "supercell", "operator")["error"] == pytest.approx(0, abs=1e-12)
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"budget.csv", "sizes.csv", "error_budget.png", "size_series.svg"} <= written
    with pytest.raises(InputError, match=r"velocity\.csv"):
        budget(tmp_path / "none", tmp_path / "out")

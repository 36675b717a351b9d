"""Error budget of a velocity ratio: which errors there are, how large, and what each estimate rests on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlepi_core.analysis.data import read_table
from mlepi_core.artefacts import InputError

_KEY = ["estimator", "temperature_K", "window_lo_per_A", "window_hi_per_A"]
_NUMBERS = [*_KEY[1:], "supercell_n", "v_static_m_per_s", "ratio", "ratio_se", "n_pairs"]
BUDGET_COLUMNS = ("source", *_KEY, "error", "uncertainty", "n_pairs", "basis")


def read_velocity(folder: str | os.PathLike[str]) -> pd.DataFrame:
    """velocity.csv of a run with the path of its folder in the column `run`.

    Raises
    ------
    InputError
        If the table is missing or lacks a column.
    """
    table = read_table(Path(folder) / "tables" / "velocity.csv", [*_KEY, *_NUMBERS], numeric=_NUMBERS)
    return table.assign(run=os.fspath(folder)).dropna(subset=["ratio"])


def error_budget(
    run: pd.DataFrame,
    *,
    sizes: Sequence[pd.DataFrame] = (),
    anharmonic: pd.DataFrame | None = None,
    networks: Sequence[pd.DataFrame] = (),
) -> pd.DataFrame:
    """Errors of v(T)/v(static) of a run, one row per source, estimator and temperature.

    Parameters
    ----------
    run
        Table of `read_velocity`; the first window of each estimator is judged.
    sizes
        The same of runs that differ in the sampling cell.
    anharmonic
        Of a run with force constants that contain anharmonicity.
    networks
        Of runs that differ in the networks only (other seeds, or members of a committee).

    Returns
    -------
    DataFrame
        `BUDGET_COLUMNS`. ``error`` is in units of the ratio: of ``statistical`` the standard error, of
        ``networks`` the standard deviation over all of them, else the signed change of the ratio when the
        approximation is improved or the choice is changed. ``uncertainty`` is the standard error of that,
        empty where both values share their samples. Sources without runs to judge them are left out.

    Raises
    ------
    InputError
        If a run has no value in common with the first one, or does not differ in the way that its role says.
    """
    first = run.drop_duplicates(["estimator", "temperature_K"])
    rows = [*_statistical(first), *_windows(run, first)]
    n = int(run["supercell_n"].iloc[0])
    if networks:
        rows += _networks(first, [_beside(first, other, n) for other in networks])
    if sizes:
        largest = max(sizes, key=lambda table: int(table["supercell_n"].iloc[0]))
        size = int(largest["supercell_n"].iloc[0])
        if size == n:
            raise InputError(
                largest["run"].iloc[0], f"has the same {n}×{n} sampling cell", "give a run of another size"
            )
        rows += _changes("supercell", first, _beside(first, largest), f"{size}×{size} against {n}×{n} cell")
    if anharmonic is not None:
        rows += _changes("harmonic", first, _beside(first, anharmonic, n), "anharmonic force constants")
    return pd.DataFrame(rows, columns=list(BUDGET_COLUMNS))


def _beside(first: pd.DataFrame, other: pd.DataFrame, n: int | None = None) -> pd.DataFrame:
    """Rows of `other` in the order of `first`, NaN where it has none."""
    name = other["run"].iloc[0]
    if n is not None and int(other["supercell_n"].iloc[0]) != n:
        raise InputError(name, f"has another sampling cell than {n}×{n}", "compare runs of one size")
    # NaN windows of the operator would not match each other
    left, right = (table.fillna(dict.fromkeys(_KEY[2:], -1.0)) for table in (first, other))
    found = left[_KEY].merge(right.drop_duplicates(_KEY), on=_KEY, how="left")
    if found["ratio"].isna().all():
        raise InputError(name, "has no estimator, window and temperature in common with the first run")
    return found


def _row(source: str, row: Any, error: float, uncertainty: float, pairs: float, basis: str) -> dict[str, Any]:
    key = {name: getattr(row, name) for name in _KEY}
    return {"source": source, **key, "error": error, "uncertainty": uncertainty} | {
        "n_pairs": int(pairs),
        "basis": basis,
    }


def _statistical(first: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for row in first.itertuples(index=False):
        relative = 1 / np.sqrt(2 * (row.n_pairs - 1)) if row.n_pairs > 1 else np.nan
        yield _row("statistical", row, row.ratio_se, row.ratio_se * relative, row.n_pairs, "jackknife")


def _windows(run: pd.DataFrame, first: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The largest change by another window."""
    for row in first.itertuples(index=False):
        same = run[(run["estimator"] == row.estimator) & (run["temperature_K"] == row.temperature_K)]
        if len(same) < 2:
            continue
        change = same["ratio"] - row.ratio
        place = change.abs().idxmax()
        window = f"{same.loc[place, _KEY[2]]:.2f}–{same.loc[place, _KEY[3]]:.2f} 1/Å"
        yield _row("fit window", row, change[place], np.nan, row.n_pairs, f"window {window}")


def _networks(first: pd.DataFrame, others: Sequence[pd.DataFrame]) -> Iterator[dict[str, Any]]:
    ratios = np.array([first["ratio"], *(other["ratio"] for other in others)])
    spread = ratios.std(axis=0, ddof=1)
    for row, error in zip(first.itertuples(index=False), spread, strict=True):
        if np.isfinite(error):
            uncertainty = error / np.sqrt(2 * (len(ratios) - 1))
            basis = f"{len(ratios)} pairs of networks"
            yield _row("networks", row, error, uncertainty, row.n_pairs, basis)


def _changes(source: str, first: pd.DataFrame, other: pd.DataFrame, basis: str) -> Iterator[dict[str, Any]]:
    for row, new in zip(first.itertuples(index=False), other.itertuples(index=False), strict=True):
        if np.isfinite(new.ratio):
            error = float(np.hypot(row.ratio_se, new.ratio_se))
            yield _row(source, row, new.ratio - row.ratio, error, min(row.n_pairs, new.n_pairs), basis)

"""The few numbers that stand at the top of the report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mlepi_core.analysis.numbers import fixed, significant, with_error
from mlepi_core.analysis.results import Results
from mlepi_core.analysis.tables import value_lookup, window_words

#: The estimator that stands for the run: the first of these that it has.
_PREFERRED = ("manifold", "operator", "bilayer", "naive")


@dataclass(frozen=True)
class Card:
    """One number with what it is and what to compare it with."""

    title: str
    value: str
    note: str


def main_rows(velocity: pd.DataFrame) -> pd.DataFrame:
    """Rows of the estimator and window that stand for the run, in ascending temperature."""
    estimator = next(
        name for name in (*_PREFERRED, velocity["estimator"].iloc[0]) if name in set(velocity["estimator"])
    )
    rows = velocity[velocity["estimator"] == estimator]
    window = ["window_lo_per_A", "window_hi_per_A"]
    same = (rows[window].fillna(-1) == rows[window].iloc[0].fillna(-1)).all(axis=1)
    return rows[same].sort_values("temperature_K")


def sentence(results: Results) -> str:
    """The result in one sentence."""
    rows = main_rows(results.tables["velocity"])
    first, last = rows.iloc[0], rows.iloc[-1]
    low, high = (f"{row['temperature_K']:g} K" for row in (first, last))
    window = window_words(first["window_lo_per_A"], first["window_hi_per_A"])
    where = f" in the window {window} 1/Å" if window[0].isdigit() else ""
    text = f"Lattice vibrations change the Fermi velocity of this structure by {_percent(first)} at {low}"
    if len(rows) > 1:
        text += f" and by {_percent(last)} at {high}"
    n, pairs = int(first["supercell_n"]), int(rows["n_pairs"].min())
    return (
        f"{text}, relative to {fixed(first['v_static_m_per_s'] / 1e6, 3)}×10⁶ m/s of the static lattice "
        f"(estimator {first['estimator']}{where}; {n}×{n} sampling cell, {pairs} pairs per temperature)."
    )


def cards(results: Results) -> list[Card]:
    """Velocity, errors of the networks, phonons and bands."""
    rows = main_rows(results.tables["velocity"])
    found = []
    for _, row in {0: rows.iloc[0], len(rows) - 1: rows.iloc[-1]}.items():
        title = f"v(T)/v(static), {row['temperature_K']:g} K"
        note = f"{row['estimator']}: {with_error(row['v_m_per_s'] / 1e6, row['v_se_m_per_s'] / 1e6)} ×10⁶ m/s"
        found.append(Card(title, with_error(row["ratio"], row["ratio_se"]), note))
    return found + _network_cards(results.tables["errors"]) + _band_cards(results)


def _network_cards(errors: pd.DataFrame) -> list[Card]:
    value = value_lookup(errors, "test")
    force, size = value("phonon", "force_mae"), value("phonon", "force_rms")
    h, baseline = value("electron", "hamiltonian_mae"), value("two_centre", "hamiltonian_mae")
    found = []
    if np.isfinite(force):
        note = f"{significant(100 * force / size, 2)} % of the rms force {size:.0f} meV/Å" if size > 0 else ""
        found.append(Card("forces, test MAE", f"{significant(force)} meV/Å", note))
    if np.isfinite(h):
        note = f"{baseline / h:.1f} times below the two-centre baseline" if h > 0 else ""
        found.append(Card("H, test MAE", f"{significant(h)} meV", note if np.isfinite(baseline) else ""))
    return found


def _band_cards(results: Results) -> list[Card]:
    found = []
    phonons = results.tables["phonon_errors"]
    rows = phonons[(phonons["table"] == "commensurate") & (phonons["group"] == "all")]
    if len(rows):
        text = f"{significant(rows['rms_cm1'].iloc[0])} cm⁻¹"
        found.append(Card("phonons, rms difference", text, "from DFT, commensurate q points"))
    bands = results.tables["band_errors"]
    tests = bands[bands["split"] == "test"]
    if len(tests):
        worst, limit = tests["rms_meV"].max(), tests["window_eV"].iloc[0]
        note = f"worst test cell, ±{limit:g} eV around E_F"
        found.append(Card("bands, rms difference", f"{significant(worst)} meV", note))
    return found


def _percent(row: pd.Series) -> str:
    change, error = 100 * (row["ratio"] - 1), 100 * row["ratio_se"]
    return f"({with_error(change, error, 2)}) %"

"""Acceptance test 13: the naive v_F(T) with its window as a parameter, beside robust values, against n.

DFT force constants of the AB bilayer, quantum samples, and tight binding whose layers are not coupled, so
that the cones are linear. What the published -34 % are is not known; no value of it is a target.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ase import Atoms

from mlepi_core.config.observables import VelocitySection
from mlepi_core.stages.budget import budget
from mlepi_core.stages.measure import measure_store, tabulate
from mlepi_core.stages.predict import sources
from mlepi_core.stages.sample import sample
from mlepi_core.structures import build_supercell
from tests.stages.thermal import write_dft_phonons, write_snapshots

TEMPERATURES = (0.0, 300.0)
PAIRS = {3: 24, 6: 12}
SECTION = VelocitySection(
    estimators=["naive", "manifold", "operator"],
    windows=[(0.03, 0.10), (0.05, 0.10)],
    naive_windows=[(0.0, 0.02), (0.0, 0.03), (0.0, 0.05), (0.05, 0.10)],
    directions=1,
    k_points=3,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::mlepi_core.electrons.notes.FiniteSizeWarning"),
    pytest.mark.filterwarnings("ignore:q points of the"),
]


def run_of(path: Path, reference: Atoms, n: int) -> Path:
    """What a run with n x n sampling cells leaves of its velocities."""
    run, files = path / f"n{n}", []
    (run / "tables").mkdir(parents=True)
    for temperature in TEMPERATURES:
        drawn, store = run / f"T{temperature:g}.h5", run / f"T{temperature:g}-H.h5"
        sample(path / "phonons", (n, n, 1), temperature, PAIRS[n], 1, drawn)
        write_snapshots(store, ((task.name, task.atoms, task.attrs) for task in sources(drawn)))
        files.append(run / f"T{temperature:g}-q.h5")
        measure_store(store, files[-1], SECTION, device="cpu")
    write_snapshots(run / "static-H.h5", [("static", build_supercell(reference, n), {})])
    measure_store(run / "static-H.h5", run / "static-q.h5", SECTION, device="cpu")
    names = ("velocity.csv", "velocity.json", "convergence.csv", "estimators.csv")
    tabulate(files, run / "static-q.h5", *(run / "tables" / name for name in names), SECTION)
    return run


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("figure")
    reference = write_dft_phonons(path / "phonons")
    runs = [run_of(path, reference, n) for n in PAIRS]
    budget(runs[1], path / "budget", sizes=runs[:1])
    return path / "budget"


@pytest.fixture(scope="module")
def ratios(series: Path) -> pd.Series:
    """By estimator, n, temperature and lower and upper end of the window."""
    table = pd.read_csv(series / "size_series.csv")
    table = table.fillna({"window_lo_per_A": -1, "window_hi_per_A": -1})
    return table.set_index(
        ["estimator", "supercell_n", "temperature_K", "window_lo_per_A", "window_hi_per_A"]
    )


def naive(ratios: pd.DataFrame, n: int, temperature: float) -> list[float]:
    return [ratios.loc[("naive", n, temperature, *window), "ratio"] for window in SECTION.naive_windows]


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_naive_value_is_what_window_and_cell_make_it(ratios: pd.DataFrame, temperature: float) -> None:
    """From a half to nearly one by the choice of the window alone, and always more in the larger cell."""
    small, large = naive(ratios, 3, temperature), naive(ratios, 6, temperature)
    assert small == sorted(small)
    assert large == sorted(large)
    assert large[0] < 0.65 < 0.93 < large[-1]
    assert all(np.array(large[:3]) > np.array(small[:3]) + 0.05)


@pytest.mark.parametrize("n", PAIRS)
def test_naive_value_hardly_depends_on_temperature(ratios: pd.DataFrame, n: int) -> None:
    """Flat between 0 and 300 K, like the published curve: the phonons behind it are frozen out."""
    cold, warm = (ratios.loc[("naive", n, t, 0.0, 0.05)] for t in TEMPERATURES)
    assert abs(cold["ratio"] - warm["ratio"]) < 3 * np.hypot(cold["ratio_se"], warm["ratio_se"]) + 0.02


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_robust_values_depend_on_neither(ratios: pd.DataFrame, temperature: float) -> None:
    """A few per cent at most, the same for both windows, both estimators and both cells up to 0.015."""
    found = [
        ratios.loc[(*which, temperature, *window), "ratio"]
        for which, window in (
            (("manifold", 3), (0.03, 0.10)),
            (("manifold", 3), (0.05, 0.10)),
            (("operator", 3), (-1, -1)),
            (("manifold", 6), (0.03, 0.10)),
            (("manifold", 6), (0.05, 0.10)),
            (("operator", 6), (-1, -1)),
        )
    ]
    for part in (found[:3], found[3:]):
        assert np.ptp(part) < 0.004
    assert np.ptp(found) < 0.015
    assert 0.95 < min(found) < max(found) < 1.0


def test_figures_are_drawn(series: Path) -> None:
    for name in ("size_series", "error_budget"):
        assert all((series / f"{name}.{kind}").stat().st_size > 200 for kind in ("png", "svg", "csv"))
    sources_of_error = set(pd.read_csv(series / "budget.csv")["source"])
    assert sources_of_error == {"statistical", "fit window", "supercell"}

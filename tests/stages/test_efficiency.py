"""Comparison of schemes: samples of real phonons, tight-binding Hamiltonians, tables that agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.config.observables import VelocitySection
from mlepi_core.stages.efficiency import EFFICIENCY_COLUMNS, VALUE_COLUMNS, compare_schemes
from mlepi_core.stages.measure import measure_store
from mlepi_core.stages.predict import sources
from mlepi_core.stages.sample import sample
from tests.stages.thermal import write_dft_phonons, write_snapshots

EVALUATIONS = 96
pytestmark = pytest.mark.filterwarnings("ignore:q points of the")


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> Path:
    """Folder with phonons, quantities of some schemes at 0 K and the tables that compare them."""
    path = tmp_path_factory.mktemp("efficiency")
    write_dft_phonons(path / "phonons")
    files = {scheme: [quantities(path, scheme)] for scheme in ("plain", "signs", "sobol")}
    compare_schemes(files, path / "phonons", path / "estimators.csv", path / "values.csv")
    return path


def quantities(path: Path, scheme: str) -> Path:
    units = EVALUATIONS // (1 if scheme == "plain" else 2)
    drawn, store = path / f"{scheme}.samples.h5", path / f"{scheme}.store.h5"
    sample(path / "phonons", (3, 3, 1), 0.0, units, 3, drawn, scheme=scheme)
    write_snapshots(store, [(task.name, task.atoms, task.attrs) for task in sources(drawn)])
    measure_store(store, path / f"{scheme}.h5", VelocitySection(estimators=["operator"]), device="cpu")
    return path / f"{scheme}.h5"


def test_signs_and_control_variates_pay(compared: Path) -> None:
    """The scatter of a symmetric observable is mostly that of the modes one by one, which both take out."""
    table = pd.read_csv(compared / "estimators.csv").set_index(["observable", "scheme"])
    assert list(pd.read_csv(compared / "estimators.csv").columns) == list(EFFICIENCY_COLUMNS)
    velocity = table.loc["velocity_operator"]
    assert set(velocity.index) == {"plain", "signs", "sobol", "control_variate"}
    assert velocity.loc["plain", ["cost_ratio_to_plain", "ratio_lo", "ratio_hi"]].tolist() == [1, 1, 1]
    assert velocity.loc["signs", "ratio_hi"] < 0.5
    assert velocity.loc["control_variate", "ratio_hi"] < 0.5
    assert (velocity["n_evaluations"] == EVALUATIONS).all()
    spread = velocity["mean"] - velocity.loc["signs", "mean"]
    error = np.hypot(velocity["mean_se"], velocity.loc["signs", "mean_se"])
    assert (spread.abs() <= 4 * error).all()


def test_table_follows_from_the_values(compared: Path) -> None:
    values = pd.read_csv(compared / "values.csv")
    assert list(values.columns) == list(VALUE_COLUMNS)
    means = values.groupby(["scheme", "observable", "group"])["value"].agg(["mean", "size"]).reset_index()
    for (scheme, observable), part in means.groupby(["scheme", "observable"]):
        plain = means[(means["scheme"] == "plain") & (means["observable"] == observable)]
        ratio = part["size"].iloc[0] * part["mean"].var() / plain["mean"].var()
        table = pd.read_csv(compared / "estimators.csv").set_index(["scheme", "observable"])
        assert table.loc[(scheme, observable), "cost_ratio_to_plain"] == pytest.approx(ratio)
    assert values[values["scheme"] == "sobol"]["group"].nunique() == 8


def test_plain_samples_are_needed(compared: Path, tmp_path: Path) -> None:
    files = {"signs": [compared / "signs.h5"]}
    with pytest.raises(InputError, match="plain is not among them"):
        compare_schemes(files, compared / "phonons", tmp_path / "a.csv", tmp_path / "b.csv")
    assert not list(tmp_path.iterdir())

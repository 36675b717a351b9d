"""Tables that the figures of a study draw."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from mlepi_core.analysis import draw
from mlepi_core.analysis.figures_study import (
    draw_ablation,
    draw_learning_curve_time,
    prepare_ablation,
    prepare_learning_curve_cells,
    prepare_learning_curve_time,
)
from mlepi_core.analysis.style import styled
from mlepi_core.artefacts import InputError
from mlepi_core.config.figures import FiguresSection
from tests.analysis.synthetic_study import history_table, study_table


def written(folder: Path, table: pd.DataFrame) -> Path:
    path = folder / "table.csv"
    table.to_csv(path, index=False)
    return path


def test_ablation_has_every_seed_and_the_mean(tmp_path: Path) -> None:
    data = prepare_ablation({"study": written(tmp_path, study_table())})
    assert set(data["quantity"]) == {"force_mae", "hamiltonian_mae"}
    assert set(data["split"]) == {"test", "extrapolation", "reference"}
    rows = data[(data["variant"] == "mace-4") & (data["split"] == "test")]
    assert list(rows["seed"]) == [1, 2]
    assert list(rows["value"]) == [19.0, 21.0]
    assert set(rows["mean"]) == {20.0}
    assert not rows["is_first"].any()
    assert set(data.loc[data["is_first"], "variant"]) == {"late", "cells-4"}
    # a variant of two comparisons stands in both
    assert set(data.loc[data["variant"] == "late", "comparison"]) == {"parameters", "flops"}


def test_ablation_panels(tmp_path: Path) -> None:
    data = prepare_ablation({"study": written(tmp_path, study_table())})
    with styled():
        axes = draw_ablation(data, FiguresSection()).axes
    assert len(axes) == 6
    labels = [label.get_text().replace("\N{NO-BREAK SPACE}", " ") for label in axes[0].get_yticklabels()]
    assert labels[1] == "MACE-like, 4 layers,\n14 channels"
    assert axes[3].get_ylim()[0] > axes[3].get_ylim()[1]  # first variant on top
    only_test = data[(data["split"] == "test") & (data["network"] == "electron")]
    with styled():
        assert len(draw_ablation(only_test, FiguresSection()).axes) == 1


def test_learning_curve_has_its_power_law(tmp_path: Path) -> None:
    data = prepare_learning_curve_cells({"study": written(tmp_path, study_table())})
    assert set(data["comparison"]) == {"cells"}
    curve = data[(data["network"] == "phonon") & (data["split"] == "extrapolation")]
    assert list(curve["train_cells"]) == [4, 4, 8, 8, 16, 16]
    assert curve["exponent"].iloc[0] == pytest.approx(0.5)
    assert curve["halving_cells"].iloc[0] == pytest.approx(64)
    assert curve["prefactor"].iloc[0] == pytest.approx(120, rel=1e-3)
    flat = data[data["network"] == "electron"]
    assert flat["exponent"].abs().max() < 1e-12
    assert flat["halving_cells"].isna().all()


def test_study_of_equal_cells_has_no_such_curve(tmp_path: Path) -> None:
    table = study_table()
    path = written(tmp_path, table[table["comparison"] != "cells"])
    with pytest.raises(InputError, match="its tables hold nothing to draw"):
        draw("learning_curve_cells", {"study": path}, tmp_path / "out", FiguresSection())


def test_time_has_every_training_once(tmp_path: Path) -> None:
    table = history_table()
    data = prepare_learning_curve_time({"history": written(tmp_path, table)})
    assert set(data["quantity"]) == {"force_mae", "hamiltonian_mae"}
    one = data[(data["network"] == "phonon") & (data["variant"] == "late") & (data["seed"] == 1)]
    assert list(one["step"]) == list(range(250, 2001, 250))
    expected = table[(table["variant"] == "late") & (table["network"] == "phonon") & (table["seed"] == 1)]
    expected = expected[(expected["comparison"] == "flops") & (expected["quantity"] == "force_mae")]
    assert list(one["value"]) == pytest.approx(list(expected["value"]))


def test_time_has_a_line_per_training_and_a_label_per_variant(tmp_path: Path) -> None:
    data = prepare_learning_curve_time({"history": written(tmp_path, history_table())})
    with styled():
        phonon, electron = draw_learning_curve_time(data, FiguresSection()).axes
    assert len(phonon.lines) == 2 * 7
    assert len(phonon.get_legend().get_texts()) == 7
    assert len(electron.lines) == 2 * 5
    assert phonon.lines[0].get_color() == phonon.lines[1].get_color() != phonon.lines[2].get_color()
    assert phonon.lines[0].get_xdata()[-1] == pytest.approx(0.05 * 2000 / 60)


@pytest.mark.parametrize(
    ("name", "key", "column"),
    [("ablation", "study", "train_cells"), ("learning_curve_time", "history", "wall_s")],
)
def test_missing_column_is_named(name: str, key: str, column: str, tmp_path: Path) -> None:
    table = study_table() if key == "study" else history_table()
    path = written(tmp_path, table.drop(columns=column))
    with pytest.raises(InputError, match=f"has no column '{column}'"):
        draw(name, {key: path}, tmp_path / "out", FiguresSection())


def test_training_without_test_error_is_named(tmp_path: Path) -> None:
    table = study_table()
    lacking = (table["variant"] == "mace-4") & (table["seed"] == 2) & (table["split"] == "test")
    with pytest.raises(InputError, match="variant 'mace-4', seed 2"):
        prepare_ablation({"study": written(tmp_path, table[~lacking])})

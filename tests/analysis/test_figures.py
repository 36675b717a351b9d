"""Figures: drawn from their own CSV alone, never blank, the same bytes for the same tables."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from mlepi_core.analysis import FIGURES, draw
from mlepi_core.analysis.style import styled
from mlepi_core.artefacts import InputError
from mlepi_core.config.figures import FiguresSection, VelocityFigure
from mlepi_core.stages.figures import figure
from tests.analysis.synthetic import FIGURE_TABLES, figure_inputs

SMALL = FiguresSection(dpi=60)


def pixels(path: Path) -> np.ndarray:
    return matplotlib.image.imread(path)[..., :3]


@pytest.mark.parametrize("name", FIGURES)
def test_three_files_and_a_picture(name: str, run_folder: Path) -> None:
    folder = run_folder / "figures"
    image = pixels(folder / f"{name}.png")
    assert image.std() > 0.05
    # something coloured, not only axes and text
    assert (np.ptp(image, axis=2) > 0.2).mean() > 2e-3
    # the border stays white: nothing runs out of the figure
    edge = np.concatenate(
        [image[:2].ravel(), image[-2:].ravel(), image[:, :2].ravel(), image[:, -2:].ravel()]
    )
    assert edge.min() > 0.95
    svg = (folder / f"{name}.svg").read_text(encoding="utf-8")
    assert svg.rstrip().endswith("</svg>")
    assert not re.search(r"<dc:date>", svg)
    assert not pd.read_csv(folder / f"{name}.csv").empty


@pytest.mark.parametrize("name", FIGURES)
def test_csv_is_what_is_drawn(name: str, run_folder: Path, tmp_path: Path) -> None:
    """The figure drawn anew from the CSV file is the same picture; from other numbers it is another one."""
    data = pd.read_csv(run_folder / "figures" / f"{name}.csv")
    moved = data.copy()
    for column in moved.select_dtypes("floating").columns:
        moved.loc[moved.index[-max(1, len(moved) // 4) :], column] *= 0.9
    for stem, table in (("again", data), ("moved", moved)):
        with styled():
            FIGURES[name].draw(table, SMALL).savefig(tmp_path / f"{stem}.png", dpi=SMALL.dpi)
    image = pixels(run_folder / "figures" / f"{name}.png")
    np.testing.assert_array_equal(pixels(tmp_path / "again.png"), image)
    other = pixels(tmp_path / "moved.png")
    assert other.shape != image.shape or not np.array_equal(other, image)


@pytest.mark.parametrize("name", ["velocity", "parity_phonon"])
def test_same_tables_give_the_same_bytes(name: str, tables: dict[str, Path], tmp_path: Path) -> None:
    for stem in ("a", "b"):
        figure(name, figure_inputs(tables, name), tmp_path / stem, SMALL)
    for kind in ("png", "svg", "csv"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


@pytest.mark.parametrize(
    ("name", "table", "column"),
    [
        ("velocity", "velocity", "ratio_se"),
        ("parity_phonon", "phonon_parity", "predicted"),
        ("phonon_bands", "phonon_errors", "frequency_cm1"),
        ("learning_curves", "history_electron", "mae_meV"),
        ("timing", "timing", "max_rss_mb"),
    ],
)
def test_missing_column_is_named(
    name: str, table: str, column: str, tables: dict[str, Path], tmp_path: Path
) -> None:
    pd.read_csv(tables[table]).drop(columns=column).to_csv(tmp_path / "cut.csv", index=False)
    inputs = {
        key: tmp_path / "cut.csv" if path == tables[table] else path
        for key, path in figure_inputs(tables, name).items()
    }
    with pytest.raises(InputError, match=rf"cut\.csv: has no column '{column}'"):
        figure(name, inputs, tmp_path / "out", SMALL)
    assert not list(tmp_path.glob("out*"))


def test_text_instead_of_a_number(tables: dict[str, Path], tmp_path: Path) -> None:
    broken = tables["velocity"].read_text(encoding="utf-8").replace("300.0", "warm", 1)
    (tmp_path / "velocity.csv").write_text(broken, encoding="utf-8")
    with pytest.raises(InputError, match=r"column 'temperature_K' holds 'warm'"):
        figure("velocity", {"velocity": tmp_path / "velocity.csv"}, tmp_path / "out")


def test_empty_and_missing_tables(tables: dict[str, Path], tmp_path: Path) -> None:
    header = tables["velocity"].read_text(encoding="utf-8").splitlines()[0]
    (tmp_path / "velocity.csv").write_text(header + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="has no rows"):
        figure("velocity", {"velocity": tmp_path / "velocity.csv"}, tmp_path / "out")
    with pytest.raises(InputError, match="no such file"):
        figure("velocity", {"velocity": tmp_path / "none.csv"}, tmp_path / "out")
    with pytest.raises(InputError, match="no table 'errors'"):
        figure("bands", {"bands": tables["bands"]}, tmp_path / "out")
    with pytest.raises(InputError, match="'cake' is unknown"):
        figure("cake", {}, tmp_path / "out")


def test_settings_as_the_workflow_gives_them(tables: dict[str, Path], tmp_path: Path) -> None:
    cfg = {"figures.dpi": 50, "figures.width": 10.0, "figures.velocity": VelocityFigure(show_naive=False)}
    figure("velocity", figure_inputs(tables, "velocity"), tmp_path / "v", cfg)
    assert pixels(tmp_path / "v.png").shape[1] == pytest.approx(10 / 2.54 * 50, abs=1)


def test_naive_slope_stands_apart(tables: dict[str, Path], tmp_path: Path) -> None:
    data = FIGURES["velocity"].prepare(figure_inputs(tables, "velocity"))
    for show, panels in ((True, 2), (False, 1)):
        settings = FiguresSection(velocity=VelocityFigure(show_naive=show))
        with styled():
            axes = FIGURES["velocity"].draw(data, settings).axes
        assert len(axes) == panels
        titles = [place.get_title(loc="left") for place in axes]
        assert ["finite-size artefact" in title for title in titles] == [False, True][:panels]


def test_first_window_stands_for_its_estimator(tables: dict[str, Path]) -> None:
    data = FIGURES["velocity"].prepare(figure_inputs(tables, "velocity"))
    first = data[data["first_window"]]
    assert len(first) == 4 * len(set(data["temperature_K"]))
    assert set(first.loc[first["estimator"] == "manifold", "window_hi_per_A"]) == {0.1}
    assert set(first.loc[first["estimator"] == "naive", "window_hi_per_A"]) == {0.03}
    convergence = FIGURES["convergence"].prepare(figure_inputs(tables, "convergence"))
    assert set(convergence.loc[convergence["estimator"] == "naive", "window_hi_per_A"]) == {0.03}


def test_one_temperature_and_one_pair(tables: dict[str, Path], tmp_path: Path) -> None:
    """Runs of the smallest kind have neither lines nor error bars, and are drawn all the same."""
    for name in ("velocity", "convergence", "displacements"):
        table = pd.read_csv(tables[name])
        table = table[table["temperature_K"] == 0]
        if name == "convergence":
            table = table[table["n_pairs"] == 1]
        for column in ("ratio_se", "rms_se_A", "exact_rms_A"):
            if column in table:
                table[column] = np.nan
        table.to_csv(tmp_path / f"{name}.csv", index=False)
        figure(name, {name: tmp_path / f"{name}.csv"}, tmp_path / "out" / name, SMALL)
        assert pixels(tmp_path / "out" / f"{name}.png").std() > 0.03


def test_phonons_without_reference(tables: dict[str, Path], tmp_path: Path) -> None:
    bands = pd.read_csv(tables["phonon_bands"])
    bands[bands["source"] == "model"].to_csv(tmp_path / "bands.csv", index=False)
    errors = pd.read_csv(tables["phonon_errors"])
    errors[errors["source"] == "model"].to_csv(tmp_path / "errors.csv", index=False)
    inputs = {"bands": tmp_path / "bands.csv", "errors": tmp_path / "errors.csv"}
    data = draw("phonon_bands", inputs, tmp_path / "p", SMALL)
    assert set(data["source"]) == {"model"}


def test_electron_network_without_baseline(tables: dict[str, Path], tmp_path: Path) -> None:
    parity = pd.read_csv(tables["electron_parity"])
    parity["baseline_eV"] = ""
    parity.to_csv(tmp_path / "parity.csv", index=False)
    inputs = {"parity": tmp_path / "parity.csv", "errors": tables["errors"]}
    data = draw("parity_electron", inputs, tmp_path / "p", SMALL)
    assert data["baseline_error_meV"].isna().all()
    assert set(data["split"]) == {"test"}


def test_every_figure_has_its_tables_here() -> None:
    assert {name: set(tables) for name, tables in FIGURE_TABLES.items()} == {
        name: set(kind.inputs) for name, kind in FIGURES.items()
    }


@pytest.mark.parametrize("network", ["phonon", "electron"])
def test_learning_curves_of_one_network(tables: dict[str, Path], tmp_path: Path, network: str) -> None:
    inputs = {network: figure_inputs(tables, "learning_curves")[network]}
    data = draw("learning_curves", inputs, tmp_path / "one", FiguresSection(dpi=50))
    assert set(data["network"]) == {network}
    with pytest.raises(InputError, match="no table 'phonon' is given"):
        draw("learning_curves", {}, tmp_path / "none", FiguresSection())

"""The report page: self-contained, complete, honest about soft modes and the naive slope."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlepi_core.analysis.captions import CAPTIONS
from mlepi_core.analysis.registry import FIGURES
from mlepi_core.analysis.tables import error_table, split_table
from mlepi_core.artefacts import InputError
from mlepi_core.config import Settings
from mlepi_core.config.models import ModelsSection
from mlepi_core.stages.report import report
from tests.analysis.synthetic import NOT_IN_REPORT

IN_REPORT = set(FIGURES) - set(NOT_IN_REPORT)
SETTINGS = Settings.model_validate({"sampling": {"imaginary": "floor", "floor_cm1": 25}})
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Checker(HTMLParser):
    """Collects references and checks that elements are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        values = dict(attrs)
        self.references += [values[key] or "" for key in ("src", "href") if key in values]
        if "id" in values:
            self.ids.append(values["id"] or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("page") / "report.html"
    report(run_folder, out, SETTINGS)
    return out.read_text(encoding="utf-8")


def test_self_contained_and_well_formed(page: str) -> None:
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert "script" not in checker.tags
    assert "link" not in checker.tags
    inside = {f"#{name}" for name in checker.ids}
    assert len(inside) == len(checker.ids)
    for reference in checker.references:
        assert reference.startswith("data:image/") or reference in inside
    assert not re.search(r"url\(|@import", page)


def test_all_figures_and_tables(page: str) -> None:
    assert set(FIGURES) == set(CAPTIONS)
    assert page.count("data:image/svg+xml;base64,") == len(IN_REPORT) - 1  # no calibration of a single model
    assert "one model each, no committee" in page
    for words in (
        "two-centre baseline",
        "mean energy, no force",
        "bg4x4_0019",
        "twisted_21.79",
        "TO/LO",
        "DFT slips, from forces",
        "‖dH/du‖",
        "train electron",
        "antithetic",
        "resources/bilayer-graphene/rigid.h5",
        "floor_cm1: 25.0",
    ):
        assert words in page, words


def test_headline(page: str) -> None:
    lead = re.search(r'<p class="lead">(.*?)</p>', page, re.S).group(1)
    assert "manifold" in lead
    assert "300 K" in lead
    assert "±" in lead
    assert "6.5 times below the two-centre baseline" in page
    assert "40.5 meV" in page  # the worse of the two test cells, not the mean and not the twisted one


def test_errors_of_one_structure(page: str) -> None:
    """|energy error|, force MAE and its share of the rms force, H MAE, baseline, gain, bands."""
    row = next(line for line in page.splitlines() if "bg4x4_0019" in line)
    cells = re.findall(r"<td[^>]*>(.*?)</td>", row)
    assert cells == ["bg4x4_0019", "test", "1.73", "28.1", "2.0", "3.72", "24.2", "6.5", "40.5"]


def test_static_velocities_and_a_missing_one(page: str) -> None:
    found = [re.findall(r"<td[^>]*>(.*?)</td>", line) for line in page.splitlines() if "_prim<" in line]
    assert ["bg_ab_prim", "2", "manifold", "0.03–0.10", "0.8616", "0.8702", "1.00"] in found
    assert ["graphene_prim", "1", "operator", "–", "0.8643", "–", "–"] in found


def test_frozen_phonons_and_a_missing_true_value(page: str) -> None:
    found = [re.findall(r"<td[^>]*>(.*?)</td>", line) for line in page.splitlines() if "layer<" in line]
    assert ["bilayer", "layer", "A1′", "28.05", "27.77", "−1.00", "98.3", "96.4", "92.1"] in found
    assert ["monolayer", "layer", "E2g, along a1", "–", "27.89", "–", "–", "48.6", "45.6"] in found


def test_run_without_static_references_has_no_such_section(run_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    path = folder / "tables" / "static_velocity.csv"
    path.write_text(path.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    report(folder, folder / "report.html", SETTINGS)
    assert "Static velocity" not in (folder / "report.html").read_text(encoding="utf-8")


def test_networks_that_were_not_trained_in_the_run(run_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    origin = {"file": "released/electron.pt", "sha256": "ab" * 32, "steps": [7000], "mlepi": "0.1.0"}
    source = {"file": "cells.h5", "sha256": "cd" * 32, "splits": {"train": 42, "validation": 5}}
    (folder / "models").mkdir(exist_ok=True)
    path = folder / "models" / "electron.origin.json"
    path.write_text(json.dumps(origin | {"sources": [source]}), encoding="utf-8")
    settings = SETTINGS.model_copy(update={"models": ModelsSection(electron="released/electron.pt")})
    report(folder, folder / "report.html", settings)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "The electron network was not trained in this run but taken from a file" in page
    assert "the phonon network was trained in it" in page
    assert "2000 training steps (phonon) and 7000 training steps before this run (electron)" in page
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", line) for line in page.splitlines() if "<td" in line]
    what = "1 model, 7000 steps, mlepi 0.1.0"
    assert ["electron network", "released/electron.pt", "ab" * 8, what] in rows
    assert ["– trained on", "cells.h5", "cd" * 8, "42 train, 5 validation"] in rows
    listing = page.partition("<pre>")[2]
    assert "energy_weight" in listing
    assert "huber" not in listing
    path.unlink()
    with pytest.raises(InputError, match=r"electron\.origin\.json"):
        report(folder, folder / "report.html", settings)


def test_soft_modes_and_artefact_are_said(page: str) -> None:
    assert "sampled at 25 cm⁻¹ (policy “floor”); this touched 3 modes of the" in page
    assert "finite-size artefact" in page
    assert "retired.h5" not in page  # checked for an earlier configuration
    assert page.count('<tr class="marked">') == 2 * 3 + 1  # its three windows in two tables, one static value


def test_imaginary_modes_are_shown_as_such(run_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    path = folder / "phonons" / "relaxation.json"
    relaxation = json.loads(path.read_text(encoding="utf-8"))
    relaxation["rigid_layer_modes"][0]["frequency_cm1"] = -12.5
    relaxation["imaginary_modes"] = [{"q": [0, 0, 0], "frequency_cm1": -12.5}]
    path.write_text(json.dumps(relaxation), encoding="utf-8")
    details = folder / "tables" / "velocity.json"
    details.write_text(
        json.dumps({"imaginary_policy": "refuse", "n_touched_modes": 0, "results": []}), encoding="utf-8"
    )
    shutil.rmtree(folder / "labels")
    report(folder, folder / "report.html", Settings())
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "shear 12.5i" in page
    assert "1 imaginary mode at commensurate q points" in page
    assert "The naive slope was not evaluated." in page


@pytest.mark.parametrize("missing", ["figures/bands.svg", "tables/errors.csv", "phonons/relaxation.json"])
def test_missing_file_is_named(missing: str, run_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    (folder / missing).unlink()
    with pytest.raises(InputError, match=re.escape(missing)):
        report(folder, folder / "report.html", SETTINGS)
    assert not (folder / "report.html").exists()


def test_names_are_escaped(run_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    for path in (folder / "tables").glob("*.csv"):
        text = path.read_text(encoding="utf-8").replace("bg4x4_0009", "<b>x</b>")
        path.write_text(text, encoding="utf-8")
    report(folder, folder / "report.html", SETTINGS)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<b>x</b>" not in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page


def test_huge_svg_is_replaced_by_png(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlepi_core.analysis.results.LARGEST_SVG_BYTES", 10)
    report(run_folder, tmp_path / "report.html", SETTINGS)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == len(IN_REPORT) - 1


def test_committee_shows_its_calibration(run_folder: Path, tmp_path: Path) -> None:
    report(run_folder, tmp_path / "report.html", SETTINGS.model_copy(update={"committee": 3}))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/svg+xml;base64,") == len(IN_REPORT)
    assert "Calibration of the committees" in page
    assert "committees of 3 models each" in page


def test_errors_say_how_they_scatter_over_structures() -> None:
    """Standard error of a mean and of a root of a mean square; none where there is a single structure."""
    rows = [
        ("phonon", "test", "force_mae", 20.0, 2),
        ("phonon", "test", "energy_mae", 2.0, 2),
        ("phonon", "test", "force_rmse", np.sqrt(500.0), 2),
        ("phonon", "train", "force_mae", 15.0, 40),
        *(("phonon", f"test:{name}", "force_mae", value, 1) for name, value in (("a", 18.0), ("b", 22.0))),
        *(("phonon", f"test:{name}", "energy_error", value, 1) for name, value in (("a", -1.0), ("b", 3.0))),
        *(
            ("phonon", f"test:{name}", "force_rmse", value, 1)
            for name, value in (("a", 20.0), ("b", 24.4949))
        ),
    ]
    errors = pd.DataFrame(rows, columns=["model", "split", "quantity", "value", "n_structures"])
    table = error_table(errors.assign(unit="meV"), "test")
    cells = {row[0]: row[2].replace("\N{NO-BREAK SPACE}", " ") for row in table.rows}
    # sd/√2 of (18, 22) and (1, 3); of the squares 400 and 600 it is 100, divided by 2 · 22.36
    assert cells == {
        "forces, MAE": "20.0 ± 2.0",
        "energy, MAE": "2.0 ± 1.0",
        "forces, rms error": "22.4 ± 2.2",
    }
    train = split_table(errors.assign(unit="meV")).rows
    assert "15.0" in next(row for row in train if row[0] == "forces, MAE")

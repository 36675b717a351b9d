"""Trained models taken into a run, and their cards."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from mlepi_core.analysis.coverage import coverage
from mlepi_core.artefacts import InputError, sha256_file, write_json
from mlepi_core.formats.store import LabelEntry
from mlepi_core.labels.checksums import write_sums
from mlepi_core.nn.model_file import ModelFile, load_members, read_content, save_committee, save_model
from mlepi_core.stages.evaluate import write_errors
from mlepi_core.stages.model_card import model_card
from mlepi_core.stages.models import take
from mlepi_core.structures import build_ab


@pytest.fixture
def released(quick_model: Path, tmp_path: Path) -> Path:
    """A model file with the checksum list of its folder."""
    folder = tmp_path / "released"
    folder.mkdir()
    shutil.copy2(quick_model, folder / "electron.pt")
    write_sums(folder, ["electron.pt"])
    return folder / "electron.pt"


def taken(source: Path, kind: str = "electron", **options: int) -> Path:
    """Folder of what `take` writes."""
    out = source.parent / "run"
    take(source, kind, out / "model.pt", out / "history.csv", out / "origin.json", **options)
    return out


def test_a_model_is_copied_with_its_history_and_origin(released: Path) -> None:
    out = taken(released)
    assert (out / "model.pt").read_bytes() == released.read_bytes()
    with (out / "history.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    model = load_members(released)[0]
    assert [(row["member"], int(row["step"])) for row in rows] == [("1", r["step"]) for r in model.history]
    assert float(rows[-1]["mae_meV"]) == model.history[-1]["mae_meV"]
    origin = json.loads((out / "origin.json").read_text(encoding="utf-8"))
    assert origin["sha256"] == sha256_file(released)
    assert origin["steps"] == [5]
    assert origin["sources"] == model.sources
    assert [source["file"] for source in model.sources] == ["rigid.h5"]


def test_a_committee_must_be_expected(released: Path) -> None:
    model = load_members(released)[0]
    save_committee(released, [model, model])
    write_sums(released.parent, [released.name])
    with pytest.raises(InputError, match="holds 2 models, not 1; set committee: 2"):
        taken(released)
    text = (taken(released, committee=2) / "history.csv").read_text(encoding="utf-8")
    assert [line.partition(",")[0] for line in text.splitlines()] == ["member", "1", "2"]


def test_what_is_no_such_model_is_refused(released: Path) -> None:
    with pytest.raises(InputError, match="is a model of kind 'electron'; give a model of kind 'phonon'"):
        taken(released, "phonon")
    with pytest.raises(InputError, match=r"none\.pt: no such file"):
        taken(released.parent / "none.pt")
    model = load_members(released)[0]
    model.history = []
    save_model(released, model)
    with pytest.raises(InputError, match=r"electron\.pt: checksum mismatch"):
        taken(released)
    write_sums(released.parent, [released.name])
    with pytest.raises(InputError, match="keeps no training history"):
        taken(released)
    assert not (released.parent / "run").exists()


def test_a_model_file_holds_weights_in_single_precision_and_no_state_of_the_training(
    quick_model: Path,
) -> None:
    content = read_content(quick_model)
    assert set(content) == {"schema", "version"} | {item.name for item in fields(ModelFile)}
    weights = content["state_dict"].values()
    assert {value.dtype for value in weights} == {torch.float32}
    others = _tensors({key: value for key, value in content.items() if key != "state_dict"})
    kept = sum(value.numel() * value.element_size() for value in [*weights, *others])
    assert quick_model.stat().st_size < kept + 200_000


def _tensors(value: object) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [tensor for part in parts for tensor in _tensors(part)]


@pytest.fixture(scope="module")
def card(quick_model: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("card")
    store = quick_model.parent / "rigid.h5"
    write_errors(quick_model, [store], folder / "errors.json", device="cpu")
    other = quick_model.parent / "tables.h5"  # not trained on, so it is left out unread
    model_card(quick_model, folder / "errors.json", folder / "card.md", stores=[store, other])
    return (folder / "card.md").read_text(encoding="utf-8")


def row(card: str, name: str) -> list[str]:
    """Cells of the first row of a table that begins so."""
    line = next(line for line in card.splitlines() if line.startswith(f"| {name}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_card_says_what_the_model_is(card: str, quick_model: Path) -> None:
    assert card.startswith("# Model card: HedgeNet-Electron, C\n")
    assert row(card, "SHA-256")[1] == f"`{sha256_file(quick_model)}`"
    assert row(card, "`rigid.h5`")[1:3] == ["4", "4"]
    assert row(card, "`rigid.h5`")[3] == sha256_file(quick_model.parent / "rigid.h5")
    assert row(card, "seed")[1] == "1"
    assert row(card, "steps made")[1] == row(card, "step of the weights")[1] == "5"
    assert row(card, "edge channels")[1] == "6, 4"
    headings = ["Data", "Training", "Errors", "Training curve", "Range of validity", "Not to be used for"]
    assert [name for name in headings if f"\n## {name}\n" not in card] == []


def test_a_card_shows_errors_with_units_and_the_training_curve(card: str, quick_model: Path) -> None:
    assert row(card, "quantity")[2:] == ["train (4)", "validation (4)"]
    last = load_members(quick_model)[0].history[-1]
    _, unit, _, validation = row(card, "H, MAE of all elements")
    assert unit == "meV"
    assert float(validation) == pytest.approx(last["mae_meV"], rel=0.01)
    assert row(card, "step | train loss")[2] == "mae (meV)"
    assert float(row(card, "5 |")[2]) == pytest.approx(last["mae_meV"], rel=0.01)


def test_a_card_has_the_range_of_the_training(card: str) -> None:
    assert row(card, "atoms in a cell")[2:] == ["4", "4"]
    assert row(card, "bond length within a layer")[1:] == ["Å", "1.428", "1.428"]
    low, high = map(float, row(card, "distance between neighbouring layers")[2:])
    assert 2.5 < low < 3.2 < high < 5
    assert "**Training structures (4)**" in card


def test_errors_of_the_other_network_are_refused(quick_model: Path, tmp_path: Path) -> None:
    write_json(tmp_path / "errors.json", [{"model": "phonon"}])
    with pytest.raises(InputError, match="holds no errors of the electron network"):
        model_card(quick_model, tmp_path / "errors.json", tmp_path / "card.md")
    with pytest.raises(InputError, match=re.escape("none.json: cannot be read as JSON")):
        model_card(quick_model, tmp_path / "none.json", tmp_path / "card.md")
    assert not (tmp_path / "card.md").exists()


def test_coverage_of_known_structures() -> None:
    """A bilayer of lattice constant a: bonds a/√3, area a²√3/4 per atom; a strained one beside it."""
    found = coverage(
        [
            LabelEntry("flat", build_ab(lattice_constant=2.46, distance=3.3), forces=np.zeros((4, 3))),
            LabelEntry(
                "strained",
                build_ab(lattice_constant=2.50, distance=3.5),
                forces=np.array([[3.0, 0, 4.0], [0, 0, 0], [0, 0, 0], [-3.0, 0, -4.0]]),
            ),
        ]
    )
    assert found["bond length within a layer", "Å"] == pytest.approx(np.array([2.46, 2.50]) / np.sqrt(3))
    area = np.array([2.46, 2.50]) ** 2 * np.sqrt(3) / 4
    assert found["area per atom of a layer", "Å²"] == pytest.approx(area)
    assert found["distance between neighbouring layers, mean of a cell", "Å"] == pytest.approx([3.3, 3.5])
    assert found["corrugation of a layer", "Å"] == pytest.approx([0, 0])
    assert found["force on an atom", "eV/Å"] == pytest.approx([0, 5])
    assert found["force, rms of a cell per component", "eV/Å"] == pytest.approx([0, np.sqrt(50 / 12)])

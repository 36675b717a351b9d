"""Options of `mlepi train` that leave no model."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import pytest

from mlepi_core.cli import main
from mlepi_core.formats.store import LabelStore, StoreWriter

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working folder with the configuration of the tests and a store of three small cells."""
    monkeypatch.chdir(tmp_path)
    Path("resources").symlink_to(ROOT / "resources")
    Path("c.yaml").write_text((ROOT / "config" / "test.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    source_file = ROOT / "resources" / "bilayer-graphene" / "rigid.h5"
    with LabelStore(source_file) as source, StoreWriter("three.h5", source.basis) as writer:
        for name, split in zip(source.names[:3], ("train", "train", "validation"), strict=True):
            entry = source.read(name)
            entry.split = split
            writer.add(entry)
    return tmp_path


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in ("train", "phonon", "c.yaml", "--store", "three.h5", *arguments)])
    return int(stop.value.code or 0)


def test_rate_range_leaves_a_table_only(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(folder.rglob("*"))
    assert run("--out", "m.pt", "--lr-range", 1e-4, 0.5, "--lr-steps", 20) == 0
    assert {path.name for path in set(folder.rglob("*")) - before} == {"m.lr-range.csv"}
    assert capsys.readouterr().out.startswith("m.lr-range.csv: ")
    with open("m.lr-range.csv", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert list(rows[0]) == ["step", "lr", "loss", "smoothed_loss"]
    assert float(rows[0]["lr"]) == pytest.approx(1e-4)
    assert 1 < len(rows) <= 20


@pytest.mark.parametrize("options", [("--lr-range", 1, 0.1), ("--lr-range", 1e-4, 1, "--lr-steps", 3)])
def test_a_bad_range_is_one_line(
    folder: Path, options: tuple[object, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--out", "m.pt", *options) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not list(folder.glob("m.*"))


def test_missing_tensorboard_is_told_before_the_training(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "tensorboard" else find(name, *rest)
    )
    assert run("--out", "m.pt", "--tensorboard", "events") == 2
    assert "pip install" in capsys.readouterr().err
    assert not list(folder.rglob("m*.pt"))


def test_several_processes_take_no_rate_range(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("RANK", 0), ("LOCAL_RANK", 0), ("WORLD_SIZE", 2), ("MASTER_ADDR", "localhost")):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("MASTER_PORT", "1")
    assert run("--out", "m.pt", "--lr-range", 1e-4, 1) == 2
    assert "without torchrun" in capsys.readouterr().err

"""Stages that record a run: labels, timing, manifest, summary."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlepi_core.artefacts import InputError, sha256_file, write_csv
from mlepi_core.config import Settings
from mlepi_core.labels.checksums import write_sums
from mlepi_core.stages.labels import verify
from mlepi_core.stages.manifest import manifest
from mlepi_core.stages.summary import summary
from mlepi_core.stages.timing import COLUMNS, timing


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.h5").write_text("a")
    (folder / "b.h5").write_text("b")
    write_sums(folder, ["a.h5"])
    return folder


def test_verified_files_and_their_sums(data: Path, tmp_path: Path) -> None:
    verify([data / "a.h5"], tmp_path / "v.json")
    assert json.loads((tmp_path / "v.json").read_text()) == {str(data / "a.h5"): sha256_file(data / "a.h5")}


def test_changed_file_is_refused_and_nothing_written(data: Path, tmp_path: Path) -> None:
    (data / "a.h5").write_text("other")
    with pytest.raises(InputError, match=r"a\.h5: checksum mismatch"):
        verify([data / "a.h5"], tmp_path / "v.json")
    assert not (tmp_path / "v.json").exists()


def test_unlisted_file_by_policy(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not listed"):
        verify([data / "b.h5"], tmp_path / "v.json")
    verify([data / "b.h5"], tmp_path / "v.json", policy="if-present")
    assert len(json.loads((tmp_path / "v.json").read_text())) == 1


def test_timing_sums_the_jobs_of_a_stage(tmp_path: Path) -> None:
    folder = tmp_path / "benchmarks"
    for name, seconds in (("train_phonon", 5.0), ("samples/T0/block0", 1.0), ("samples/T300/block0", 2.5)):
        path = folder / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"s": seconds, "cpu_time": seconds, "max_rss": None}) + "\n")
    timing(folder, tmp_path / "t.csv")
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert lines[1:] == ["train_phonon,1,5.0,5.0,5.0,0.0", "samples,2,3.5,2.5,3.5,0.0"]


def test_timing_without_benchmarks(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no benchmark file"):
        timing(tmp_path, tmp_path / "t.csv")


def test_manifest_separates_what_changes(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results = tmp_path / "results"
    results.mkdir()
    (results / "velocity.csv").write_text("1")
    (results / "report.html").write_text("2")
    verify([data / "a.h5"], results / "a.json")
    files = [results / "velocity.csv", results / "report.html"]
    texts = []
    for _ in range(2):
        manifest(results, files, results / "manifest.json", Settings(), labels=[results / "a.json"])
        content = json.loads((results / "manifest.json").read_text())
        volatile = content.pop("volatile")
        texts.append(json.dumps(content))
    assert texts[0] == texts[1]
    assert content["commit"] is None
    assert content["files"] == {"velocity.csv": sha256_file(results / "velocity.csv")}
    assert list(volatile["files"]) == ["report.html"]
    assert content["config"] == Settings().model_dump(mode="json")


def test_summary_is_short(tmp_path: Path) -> None:
    row = {
        "estimator": "manifold",
        "temperature_K": "300.0",
        "window_lo_per_A": "0.03",
        "v_m_per_s": "860000",
        "v_se_m_per_s": "2000",
        "v_static_m_per_s": "866000",
        "ratio": "0.993",
        "ratio_se": "0.0023",
    }
    error = {"model": "phonon", "split": "test", "quantity": "force_mae", "unit": "meV/Å", "value": "50.1"}
    (tmp_path / "tables").mkdir()
    write_csv(tmp_path / "tables/velocity.csv", [row, row | {"window_lo_per_A": "0.05"}], list(row))
    write_csv(tmp_path / "tables/errors.csv", [error, error | {"split": "train"}], list(error))
    text = summary(tmp_path)
    assert text.count("manifold") == 1
    assert "0.8600 ± 0.0020" in text
    assert text.count("force_mae") == 1
    assert str(tmp_path / "report.html") in text


def test_summary_of_an_unfinished_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="to its end"):
        summary(tmp_path)


def test_summary_of_networks_alone_has_the_errors(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/errors.csv").write_text(
        "model,split,quantity,unit,value,n_structures\nelectron,test,hamiltonian_mae,meV,0.8268,2\n",
        encoding="utf-8",
    )
    lines = summary(tmp_path).splitlines()
    assert lines[2].split() == ["electron", "hamiltonian_mae", "0.8268", "meV"]
    assert lines[-1].endswith("figures")
    assert not any("Fermi velocity" in line for line in lines)

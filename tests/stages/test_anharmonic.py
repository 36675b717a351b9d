"""Verb `anharmonic` on the released network of bilayer graphene: a phonon folder of a temperature."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.cli import main
from mlepi_core.phonons import read_phonons
from mlepi_core.sampling import NotConvergedWarning, read_samples
from mlepi_core.stages.anharmonic import anharmonic
from mlepi_core.stages.phonons import phonons
from mlepi_core.stages.sample import sample
from mlepi_core.structures import build_ab, write_structure


@pytest.fixture(scope="module")
def model() -> Path:
    return Path(__file__).parents[2] / "resources" / "models" / "bilayer-graphene" / "phonon.pt"


@pytest.fixture(scope="module")
def harmonic(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("harmonic")
    write_structure(folder / "ab.extxyz", build_ab(lattice_constant=2.474, distance=3.16))
    phonons(model, folder / "ab.extxyz", (2, 2, 1), folder / "phonons", device="cpu")
    return folder / "phonons"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_folder_of_a_temperature(
    model: Path, harmonic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "T100"
    options = ["--temperature", 100, "--pairs", 8, "--seed", 3, "--device", "cpu", "--out", out]
    assert run("anharmonic", model, harmonic, *options) == 0
    said = capsys.readouterr()
    assert f"{out}: self-consistent at 100 K after" in said.out
    assert "warning" not in said.err

    start, found = read_phonons(harmonic), read_phonons(out)
    section = found.report["anharmonic"]
    assert section["converged"]
    assert section["temperature_K"] == 100.0
    assert section["start_digest"] == start.digest
    assert section["model_sha256"] == start.report["model_sha256"]
    assert np.array_equal(found.reference.positions, start.reference.positions)
    assert found.report["space_group"] == start.report["space_group"]
    assert found.report["sum_rules_after"]["translation_eV_per_A2"] < 1e-10

    iterations = table(out / "convergence.csv")
    assert [int(row["iteration"]) for row in iterations] == list(range(1, section["iterations"] + 1))
    assert sum(int(row["new_samples"]) for row in iterations) == section["force_evaluations"] == 16
    changes = [float(row["max_frequency_change_cm1"]) for row in iterations]
    assert changes[-1] < 0.1 * changes[0]
    modes = table(out / "frequencies.csv")
    assert len(modes) == 3 * 16 - 3
    gamma = sorted(float(row["frequency_cm1"]) for row in modes[:9])
    rigid = sorted(mode["frequency_cm1"] for mode in found.report["rigid_layer_modes"])
    assert gamma[:3] == pytest.approx(rigid, abs=0.01)
    begun = sorted(float(row["start_cm1"]) for row in modes[:9])
    before = sorted(mode["frequency_cm1"] for mode in start.report["rigid_layer_modes"])
    assert begun[:3] == pytest.approx(before, abs=0.01)
    assert max(abs(float(row["change_cm1"])) for row in modes) > 1.0

    sample(out, (2, 2, 1), 100.0, 2, 1, tmp_path / "s.h5")
    assert read_samples(tmp_path / "s.h5").phonons_hash == found.digest
    with pytest.warns(UserWarning, match="has the force constants of 100 K, not of 0 K"):
        sample(out, (2, 2, 1), 0.0, 2, 1, tmp_path / "s0.h5")


def test_unfinished_result_is_called_so(
    model: Path, harmonic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "T300"
    options = ["--temperature", 300, "--pairs", 3, "--iterations", 1, "--device", "cpu", "--out", out]
    assert run("anharmonic", model, harmonic, *options) == 0
    said = capsys.readouterr()
    assert "NOT self-consistent" in said.out
    assert "warning: not self-consistent after 1 iterations" in said.err
    report = json.loads((out / "relaxation.json").read_text(encoding="utf-8"))
    assert report["anharmonic"]["converged"] is False
    with pytest.warns(UserWarning, match="not self-consistent"):
        sample(out, (2, 2, 1), 300.0, 1, 1, tmp_path / "s.h5")


def test_bad_input(model: Path, harmonic: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="is the folder of the phonons to start from"):
        anharmonic(model, harmonic, 300.0, harmonic)
    with pytest.raises(InputError, match="has no phonopy_params"):
        anharmonic(model, tmp_path, 300.0, out)
    with pytest.raises(InputError, match="temperature: is -5"):
        anharmonic(model, harmonic, -5.0, out, device="cpu")
    with pytest.raises(InputError, match="mixing: is 2"):
        anharmonic(model, harmonic, 300.0, out, device="cpu", mixing=2.0)
    with pytest.raises(InputError, match=r"pairs: 1 do not determine the .* give more pairs"):
        anharmonic(model, harmonic, 300.0, out, device="cpu", pairs=1)
    assert not out.exists()


def test_phonons_of_another_model_are_said(model: Path, harmonic: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    for file in harmonic.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    report = json.loads((folder / "relaxation.json").read_text(encoding="utf-8"))
    (folder / "relaxation.json").write_text(json.dumps(report | {"model_sha256": "0" * 64}))
    with (
        pytest.warns(UserWarning, match="made with another model"),
        pytest.warns(NotConvergedWarning),
    ):
        anharmonic(model, folder, 0.0, tmp_path / "out", device="cpu", pairs=3, iterations=1)

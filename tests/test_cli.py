"""The command `mlepi`: help, exit codes, one-line errors, light start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from mlepi_core import __version__
from mlepi_core.cli import main
from mlepi_core.cli.main import mlepi

VERBS = (
    "build",
    "convert",
    "info",
    "overlap",
    "bands",
    "train",
    "evaluate",
    "predict",
    "phonons",
    "anharmonic",
    "sample",
    "velocity",
    "derivative",
    "summary",
    "benchmark",
)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def test_has_a_verb_per_stage() -> None:
    assert set(VERBS) <= set(mlepi.commands)


@pytest.mark.parametrize("verb", VERBS)
def test_help_is_complete(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(verb, "--help") == 0
    assert "Usage: mlepi" in capsys.readouterr().out
    assert mlepi.commands[verb].help
    for option in mlepi.commands[verb].params:
        if isinstance(option, click.Option):
            assert option.help, f"{verb} {option.name} has no help"


@pytest.mark.parametrize(
    "verb", ["train", "evaluate", "predict", "phonons", "bands", "velocity", "derivative", "benchmark"]
)
def test_networks_and_solvers_take_a_device(verb: str) -> None:
    assert "device" in {parameter.name for parameter in mlepi.commands[verb].params}


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert __version__ in capsys.readouterr().out


BAD = [
    ("frobnicate",),
    ("build",),
    ("build", "hexagonal", "x.xyz"),
    ("build", "shift", "x.xyz"),
    ("build", "file", "only-one.xyz"),
    ("build", "file", "none.xyz", "out.xyz"),
    ("info", "none.h5"),
    ("convert", "none.scfout", "out.h5"),
    ("overlap", "none.h5", "out.h5"),
    ("bands", "none.h5", "--kpoints", "k.txt", "--out", "b.csv"),
    ("train", "phonon", "none.yaml"),
    ("train", "both", "none.yaml"),
    ("evaluate", "none.pt", "none.h5", "--json", "out.json"),
    ("evaluate", "none.pt", "none.h5"),
    ("predict", "none.pt", "none.xyz", "out.h5"),
    ("phonons", "none.pt", "none.xyz", "--supercell", 3, 3, 1, "--out", "out"),
    (
        "sample",
        "none",
        "--supercell",
        3,
        3,
        1,
        "--temperature",
        300,
        "--pairs",
        2,
        "--seed",
        1,
        "--out",
        "out.h5",
    ),
    ("velocity", "none.h5", "--static", "none0.h5", "--estimator", "manifold", "--json", "out.json"),
    ("derivative", "none.pt", "none.xyz", "out.h5", "--atom", 0, "--axis", "x"),
    ("derivative", "none.pt", "none.xyz", "out.h5", "--atom", 0, "--axis", "w"),
    ("summary", "none"),
    ("benchmark", "everything"),
    ("benchmark", "networks", "--sizes", "64,65", "--json", "out.json"),
    ("benchmark", "networks", "--sizes", "many", "--json", "out.json"),
    ("benchmark", "networks", "--peers", "none", "--json", "out.json"),
]


@pytest.mark.parametrize("arguments", BAD, ids=lambda arguments: " ".join(map(str, arguments[:2])))
def test_bad_input_is_one_line_and_code_2(
    arguments: tuple[object, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1, captured.err
    assert "Traceback" not in captured.err
    assert not list(tmp_path.iterdir()), "no partial output"


def test_configuration_mistakes_are_one_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("sampling: {temperatures: [0, -5], temperature: 3}\n")
    assert run("train", "phonon", config) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[0] == f"{config}: sampling.temperatures[1] = -5: must be ≥ 0 K"
    assert len(lines) == 2


def test_build_writes_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "ab.xyz"
    assert run("build", "ab", out, "--size", 2, 2) == 0
    assert "16 atoms, 2 layers" in capsys.readouterr().out
    assert "layer" in out.read_text().splitlines()[1]
    assert run("build", "file", out, tmp_path / "big.xyz", "--size", 2, 1) == 0


def test_without_arguments_it_helps(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 2
    assert "Commands:" in capsys.readouterr().err


def test_start_is_light(root: Path) -> None:
    code = (
        "import sys, mlepi_core.cli;"
        "print([m for m in ('torch', 'e3nn', 'ase', 'phonopy', 'h5py', 'numpy') if m in sys.modules])"
    )
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"

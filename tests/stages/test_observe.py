"""Verb `observe`: observables of snapshots with their statistics."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.cli.main import _run
from mlepi_core.electrons.observables import OBSERVABLES
from mlepi_core.formats.store import LabelEntry, StoreWriter
from mlepi_core.orbitals import Basis
from mlepi_core.stages.observe import observe
from mlepi_core.structures import build_monolayer, build_supercell, write_structure
from tests.electrons.tight_binding import displaced, tight_binding

PLUGIN = """
from mlepi_core.electrons.observables import Quantity, observable


@observable("trace")
def trace(snapshot, *, factor=1.0):
    energies = snapshot.energies([[0.0, 0.0, 0.0]])[0]
    return {"trace": Quantity(factor * energies.sum(), "eV"), "ends": Quantity(energies[[0, -1]], "eV")}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("observe")
    cell = build_supercell(build_monolayer(), 2)
    write_structure(path / "primitive.extxyz", build_monolayer())
    with StoreWriter(path / "snapshots.h5", Basis({"C": (0,)}), {}) as writer:
        for pair in range(5):
            for sign in (1, -1):
                atoms = displaced(cell, 0.04, pair, sign)
                attrs = {"pair": pair, "sign": sign, "temperature": 300.0}
                blocks = tight_binding(atoms, 0.1)
                writer.add(LabelEntry(f"p{pair}{sign}", atoms, blocks=blocks, n_electrons=8.0, attrs=attrs))
    (path / "mine.py").write_text(PLUGIN)
    return path


@pytest.fixture(autouse=True)
def registry():
    """What a test registers is gone after it."""
    before = dict(OBSERVABLES)
    yield
    OBSERVABLES.clear()
    OBSERVABLES.update(before)


def test_mean_and_error_are_those_over_pairs(folder, tmp_path):
    report = observe(
        "trace", folder / "snapshots.h5", tmp_path / "o.h5", {"factor": 2.0}, plugins=[folder / "mine.py"]
    )
    with h5py.File(tmp_path / "o.h5") as file:
        assert dict(file.attrs)["schema"] == "mlepi-observable"
        assert file.attrs["temperature"] == 300.0
        values, ends = file["trace/values"][:], file["ends/values"][:]
        assert (values.shape, ends.shape) == ((10,), (10, 2))
        assert file["pair"][:].tolist() == np.repeat(range(5), 2).tolist()
        pairs = values.reshape(5, 2).mean(axis=1)
        assert file["trace/mean"][()] == pytest.approx(pairs.mean())
        assert file["trace/standard_error"][()] == pytest.approx(pairs.std(ddof=1) / np.sqrt(5))
        assert file["ends/standard_error"].shape == (2,)
    assert report["trace"]["mean"] == pytest.approx(pairs.mean())
    assert (report["trace"]["unit"], report["trace"]["n_samples"]) == ("eV", 5)


def test_the_verb_says_scalars_and_keeps_arrays(folder, tmp_path, capsys):
    store, out = str(folder / "snapshots.h5"), str(tmp_path / "g.h5")
    unfolding = ["--primitive", str(folder / "primitive.extxyz"), "--set", "k=[0.5, 0, 0]"]
    assert _run(["observe", "gap", store, "--out", out, *unfolding]) == 0
    text = capsys.readouterr().out
    assert "snapshot_gap: " in text
    assert "unfolded_gap: " in text
    assert " ± " in text
    assert _run(["observe", "dos", store, "--out", out, "--set", "points=11", "--set", "width=0.3"]) == 0
    assert "dos: array in" in capsys.readouterr().out
    with h5py.File(out) as file:
        assert file["dos/values"].shape == (10, 11)
        assert file["dos/axis_energy_eV"].shape == (11,)


def test_bad_requests_are_named_and_write_nothing(folder, tmp_path, capsys):
    out = tmp_path / "o.h5"
    with pytest.raises(InputError, match="'mobility' is unknown"):
        observe("mobility", folder / "snapshots.h5", out)
    with pytest.raises(InputError, match="primitive: is not given"):
        observe("gap", folder / "snapshots.h5", out, {"k": [0, 0, 0]})
    assert _run(["observe", "dos", str(folder / "snapshots.h5"), "--out", str(out), "--set", "width"]) == 2
    assert "--set: 'width' is not KEY=VALUE" in capsys.readouterr().err
    assert not out.exists()

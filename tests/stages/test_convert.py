"""Verb `convert`: raw files and stores to stores and extxyz."""

from __future__ import annotations

import lzma
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.formats.extxyz import read_extxyz, write_extxyz
from mlepi_core.formats.openmx import read_openmx
from mlepi_core.formats.store import LabelStore
from mlepi_core.stages.convert import convert

RESOURCES = Path(__file__).resolve().parents[2] / "resources"
RAW = RESOURCES / "openmx-raw"


def _unpack(stem: str, folder: Path, name: str | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in (".scfout", ".out", ".std"):
        (folder / f"{name or stem}{suffix}").write_bytes(
            lzma.decompress((RAW / f"{stem}{suffix}.xz").read_bytes())
        )
    return folder / f"{name or stem}.scfout"


def test_scfout_to_store_keeps_float64(tmp_path):
    report = convert(RAW / "graphene_prim.scfout.xz", tmp_path / "g.h5")
    assert report["n_structures"] == 1
    assert (report["unconverged"], report["without_energy"]) == ([], [])
    expected, basis = read_openmx(RAW / "graphene_prim.scfout.xz")
    with LabelStore(tmp_path / "g.h5") as store:
        assert store.basis == basis
        assert store.attrs["engine"] == "openmx"
        entry = store.read("graphene_prim")
    assert np.array_equal(entry.blocks.pairs, expected.blocks.pairs)
    assert np.array_equal(entry.blocks.hamiltonian, expected.blocks.hamiltonian)
    assert np.array_equal(entry.blocks.overlap, expected.blocks.overlap)
    assert np.array_equal(entry.forces, expected.forces)
    assert (entry.energy, entry.fermi_level, entry.n_electrons) == (
        expected.energy,
        expected.fermi_level,
        8.0,
    )
    assert entry.converged is True
    assert entry.atoms.arrays["layer"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("stem", "spin", "stored"), [("o2_spin", "collinear", "float32"), ("mos2_soc_prim", "soc", "complex64")]
)
def test_spin_is_kept(tmp_path, stem, spin, stored):
    expected, _ = read_openmx(RAW / f"{stem}.scfout.xz")
    for dtype, tolerance in (("float64", 0), ("float32", 1e-5)):
        convert(RAW / f"{stem}.scfout.xz", tmp_path / "s.h5", dtype=dtype)
        with LabelStore(tmp_path / "s.h5") as store:
            assert store.spin == spin
            entry = store.read(stem)
        found = entry.blocks.hamiltonian
        np.testing.assert_allclose(found, expected.blocks.hamiltonian, rtol=0, atol=tolerance)
        assert (entry.energy, entry.converged) == (expected.energy, True)
        assert np.array_equal(entry.forces, expected.forces)
    with h5py.File(tmp_path / "s.h5") as handle:
        assert handle[f"{stem}/hamiltonian"].dtype == stored
    convert(tmp_path / "s.h5", tmp_path / "again.h5")
    with LabelStore(tmp_path / "again.h5") as store:
        np.testing.assert_array_equal(store.read(stem).blocks.hamiltonian, found)


def test_several_sources_and_splits_give_one_store(tmp_path):
    sources = [RAW / "bg_ab_prim.scfout.xz", RAW / "bn_bilayer_prim.scfout.xz"]
    convert(sources, tmp_path / "both.h5", split="train", dtype="float32")
    with LabelStore(tmp_path / "both.h5") as store:
        assert store.splits() == {"bg_ab_prim": "train", "bn_bilayer_prim": "train"}
        assert set(store.basis.shells) == {"B", "C", "N"}
        assert store.read("bn_bilayer_prim").atoms.arrays["layer"].tolist() == [0, 0, 1, 1]
    with h5py.File(tmp_path / "both.h5") as handle:
        assert handle["bg_ab_prim/hamiltonian"].dtype == np.float32


def test_folder_of_runs_with_equal_names(tmp_path):
    _unpack("graphene_prim", tmp_path / "runs" / "first", "openmx")
    _unpack("bg_ab_prim", tmp_path / "runs" / "second", "openmx")
    for _ in range(2):  # the store of the first time is not a source of the second
        convert(tmp_path / "runs", tmp_path / "runs" / "all.h5")
    with LabelStore(tmp_path / "runs" / "all.h5") as store:
        assert store.names == ["first", "second"]


def test_store_to_extxyz_and_back(tmp_path):
    source = RESOURCES / "bilayer-graphene" / "slips.h5"
    assert convert(source, tmp_path / "slips.xyz")["n_structures"] == 17
    convert(tmp_path / "slips.xyz", tmp_path / "again.h5")
    with LabelStore(source) as before, LabelStore(tmp_path / "again.h5") as after:
        assert after.names == before.names
        assert after.splits() == before.splits()
        for one, two in zip(before, after, strict=True):
            assert two.energy == pytest.approx(one.energy, abs=1e-7)
            np.testing.assert_allclose(two.forces, one.forces, atol=1e-8)
            assert two.blocks is None
    assert next(read_extxyz(tmp_path / "slips.xyz")).atoms.arrays["layer"].tolist() == [0, 0, 1, 1]


def test_truncated_source_writes_nothing(tmp_path):
    path = _unpack("graphene_prim", tmp_path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match="is truncated"):
        convert([RAW / "bg_ab_prim.scfout.xz", path], tmp_path / "new.h5")
    assert [file.name for file in tmp_path.iterdir() if "new" in file.name] == []


def test_old_file_survives_a_failure(tmp_path):
    convert(RAW / "graphene_prim.scfout.xz", tmp_path / "g.h5")
    before = (tmp_path / "g.h5").read_bytes()
    with pytest.raises(InputError, match="entry o2_spin has spin 'collinear', the store 'none'"):
        convert([RAW / "graphene_prim.scfout.xz", RAW / "o2_spin.scfout.xz"], tmp_path / "g.h5")
    assert (tmp_path / "g.h5").read_bytes() == before


@pytest.mark.parametrize(
    ("source", "destination", "options", "message"),
    [
        ("graphene_prim.scfout.xz", "out.dat", {}, "--to"),
        ("o2_spin.scfout.xz", "out", {"to": "deeph"}, "none and soc only"),
        ("graphene_prim.scfout.xz", "out", {"to": "siesta"}, "not one of"),
        ("graphene_prim.scfout.xz", "out.h5", {"dtype": "float16"}, "float16"),
        ("graphene_prim.scfout.xz", "out.h5", {"split": "holdout"}, "holdout"),
        ("graphene_prim.Band.xz", "out.h5", {}, "'band' cannot be converted"),
        ("absent.scfout", "out.h5", {}, "no such file"),
    ],
)
def test_bad_requests_are_refused(tmp_path, source, destination, options, message):
    with pytest.raises(InputError, match=message):
        convert(RAW / source, tmp_path / destination, **options)
    assert list(tmp_path.iterdir()) == []


def test_missing_out_file_is_reported(tmp_path):
    path = _unpack("graphene_prim", tmp_path)
    path.with_suffix(".out").unlink()
    assert convert(path, tmp_path / "g.h5")["without_energy"] == ["graphene_prim"]


def test_some_entries_get_a_split_of_their_own(tmp_path):
    source = RESOURCES / "bilayer-graphene" / "slips.h5"
    convert(source, tmp_path / "some.h5", split="train", names=["bg_slip_05", "bg_slip_01"])
    with LabelStore(tmp_path / "some.h5") as store:
        assert store.splits() == {"bg_slip_01": "train", "bg_slip_05": "train"}


def test_forces_alone(tmp_path):
    source = RESOURCES / "bilayer-graphene" / "slips.h5"
    report = convert(source, tmp_path / "f.h5", names=["bg_slip_01"], forces_only=True)
    assert report["without_energy"] == []
    with LabelStore(source) as before, LabelStore(tmp_path / "f.h5") as after:
        one, two = before.read("bg_slip_01"), after.read("bg_slip_01")
        assert (two.energy, two.blocks) == (None, None)
        np.testing.assert_array_equal(two.forces, one.forces)
    write_extxyz(tmp_path / "bare.extxyz", [replace(two, forces=None)])
    with pytest.raises(InputError, match="bg_slip_01: has no forces"):
        convert(tmp_path / "bare.extxyz", tmp_path / "g.h5", forces_only=True)


def test_unknown_entries_are_named(tmp_path):
    source = RESOURCES / "bilayer-graphene" / "slips.h5"
    with pytest.raises(InputError, match="no source has bg_slip_99"):
        convert(source, tmp_path / "some.h5", names=["bg_slip_01", "bg_slip_99"])
    assert not (tmp_path / "some.h5").exists()

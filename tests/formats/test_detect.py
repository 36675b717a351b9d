"""Kinds of files."""

from __future__ import annotations

import h5py
import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.formats.detect import detect


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("graphene_prim.scfout.xz", "scfout"),
        ("graphene_prim.out.xz", "openmx-out"),
        ("graphene_prim.Band.xz", "band"),
        ("../bilayer-graphene/rigid.h5", "store"),
        ("../bilayer-graphene/phonopy_params.yaml.xz", "phonons"),
        ("../bilayer-graphene", "folder"),
    ],
)
def test_bundled_files(raw, name, kind):
    assert detect(raw / name) == kind


def test_made_files(tmp_path):
    with h5py.File(tmp_path / "samples.h5", "w") as handle:
        handle.attrs["schema"] = "mlepi-samples"
    (tmp_path / "phonons").mkdir()
    (tmp_path / "phonons" / "phonopy_params.yaml").touch()
    (tmp_path / "POSCAR").write_text("x")
    (tmp_path / "damaged.h5").write_text("not HDF5")
    (tmp_path / "half.pt").write_bytes(b"PK")
    kinds = {"samples.h5": "samples", "phonons": "phonons", "POSCAR": "structure"}
    kinds |= {"damaged.h5": "store", "half.pt": "model"}
    assert {name: detect(tmp_path / name) for name in kinds} == kinds


def test_unknown_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        detect(tmp_path / "absent")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match="not recognised"):
        detect(tmp_path / "notes.txt")
    with h5py.File(tmp_path / "foreign.h5", "w") as handle:
        handle.attrs["schema"] = "something"
    with pytest.raises(InputError, match="schema 'something'"):
        detect(tmp_path / "foreign.h5")


def test_damaged_compression_is_named(raw, tmp_path):
    from mlepi_core.formats.scfout import read_scfout

    content = (raw / "graphene_prim.scfout.xz").read_bytes()
    (tmp_path / "cut.scfout.xz").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="damaged compressed file"):
        read_scfout(tmp_path / "cut.scfout.xz")

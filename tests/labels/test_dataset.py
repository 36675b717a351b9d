"""Data sets of several stores: selection and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from mlepi_core.artefacts import InputError
from mlepi_core.formats.store import LabelEntry, StoreWriter
from mlepi_core.labels import Dataset, store_files
from mlepi_core.orbitals import Basis


def _store(path, entries, shells=(0, 1)):
    with StoreWriter(path, Basis({"C": shells}), {}) as writer:
        for name, split, converged in entries:
            atoms = Atoms("C", cell=np.eye(3) * 5, pbc=True)
            atoms.set_array("layer", np.zeros(1, dtype=int))
            writer.add(LabelEntry(name=name, atoms=atoms, energy=-1.0, split=split, converged=converged))
    return path


@pytest.fixture
def two(tmp_path):
    _store(tmp_path / "a.h5", [("a1", "train", True), ("a0", "validation", None)])
    _store(tmp_path / "b.h5", [("b0", "train", True), ("b1", "reference", True)])
    return tmp_path


def test_folder_and_files_are_the_same(two):
    assert store_files(two) == [two / "a.h5", two / "b.h5"]
    assert store_files([two / "a.h5", two / "b.h5"]) == store_files(str(two))


def test_selection(two):
    data = Dataset(two)
    assert len(data) == 4
    assert data.counts() == {"train": 2, "validation": 1, "reference": 1}
    assert [item.name for item in data.select("train")] == ["a1", "b0"]
    assert [entry.name for entry in data.read(data.select())] == ["a0", "a1", "b0", "b1"]


def test_a_split_may_be_empty_but_must_exist(two):
    assert Dataset(two).select("test") == []
    with pytest.raises(InputError, match="'tests' is not one of"):
        Dataset(two).select("tests")


def test_unconverged_entries(two):
    _store(two / "c.h5", [("c0", "train", False), ("c1", "train", True)])
    data = Dataset(two)
    assert [item.name for item in data.select("train")] == ["a1", "b0", "c1"]
    assert [item.name for item in data.select("train", converged_only=False)] == ["a1", "b0", "c0", "c1"]
    with pytest.raises(InputError, match=r"c\.h5: the calculation of entry c0 is not converged"):
        data.refuse_unconverged()
    data.refuse_unconverged(["reference"])


def test_stores_that_do_not_fit_are_refused(two):
    _store(two / "c.h5", [("c0", "train", True)], shells=(0, 0, 1))
    with pytest.raises(InputError, match="basis of C"):
        Dataset(two)
    _store(two / "c.h5", [("a1", "train", True)])
    with pytest.raises(InputError, match="entry a1 is also in"):
        Dataset(two)


def test_bad_paths_are_refused(two, tmp_path):
    with pytest.raises(InputError, match="no such label store"):
        store_files(two / "absent.h5")
    with pytest.raises(InputError, match="named twice"):
        store_files([two, two / "a.h5"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no"):
        store_files(tmp_path / "empty")

"""Which labelled structures a training sees: some of the large ones, strong forces held out."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from mlepi_core.artefacts import InputError, sha256_file
from mlepi_core.config.training import ElectronTraining, PhononTraining
from mlepi_core.formats.store import LabelEntry, LabelStore, StoreWriter
from mlepi_core.labels import Dataset
from mlepi_core.labels.selection import rms_force, select
from mlepi_core.nn.model_file import load_members, save_committee
from mlepi_core.stages.evaluate import write_errors
from mlepi_core.stages.info import format_info, info
from mlepi_core.stages.overlap import overlap
from mlepi_core.stages.train import overlap_tables, read_split, train
from mlepi_core.training.selection import some_cells

DATA = Path(__file__).parents[2] / "resources" / "bilayer-graphene"
LIMIT = 1.0  # eV/Å
SECTIONS = {
    "phonon": PhononTraining(
        channels=2, max_ell=1, correlation=1, layers=1, cutoff_intra=2.0, cutoff_inter=3.5, radial_hidden=[4],
        steps=2, warmup_steps=1, validation_every=2,
    ),
    "electron": ElectronTraining(
        blocks=1, channels=[4, 4], edge_channels=[4, 4], head_channels=[4, 4, 4], head_unnatural=[0, 4],
        message_cutoff=2.0, n_radial=4, radial_hidden=[4], steps=2, warmup_steps=1, validation_every=2,
    ),
}  # fmt: skip


def cells(sizes: list[int]) -> list[LabelEntry]:
    return [LabelEntry(f"cell_{k:02d}", Atoms("C" * size)) for k, size in enumerate(sizes)]


def names(entries: list[LabelEntry]) -> set[str]:
    return {entry.name for entry in entries}


def test_fewer_cells_are_a_part_of_more() -> None:
    entries = cells([64] * 12 + [4] * 5)
    small = names(entries[12:])
    chosen = [names(some_cells(entries, number)) for number in range(1, 13)]
    assert [len(part) for part in chosen] == [number + 5 for number in range(1, 13)]
    assert all(small < part for part in chosen)
    assert all(fewer < more for fewer, more in itertools.pairwise(chosen))
    assert chosen[3] != names(entries[:4]) | small  # not simply the first ones
    assert some_cells(entries, None) == entries


def test_the_choice_depends_on_names_alone() -> None:
    entries = cells([64] * 8 + [4] * 3)
    assert names(some_cells(entries[::-1], 3)) == names(some_cells(entries, 3))


def test_too_many_cells_are_refused_with_their_number() -> None:
    with pytest.raises(InputError, match="9 is more than the 8 large training structures"):
        some_cells(cells([64] * 8 + [4] * 3), 9)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """Small cells of a rigid scan, forces of some scaled beyond the limit, in every split."""
    path = tmp_path_factory.mktemp("labels") / "cells.h5"
    splits = ["train"] * 6 + ["validation"] * 3 + ["test"] * 2
    with LabelStore(DATA / "rigid.h5") as source, StoreWriter(path, source.basis) as writer:
        for number, (name, split) in enumerate(zip(source.names[::4], splits, strict=False)):
            entry = source.read(name)
            entry.split = split
            entry.forces = entry.forces * (0.5 + number % 2) / rms_force(entry)
            writer.add(entry)
    return path


def test_rms_force_is_over_components() -> None:
    entry = LabelEntry("x", Atoms("C2"), forces=np.array([[3.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    assert rms_force(entry) == pytest.approx(np.sqrt(1.5))
    assert rms_force(LabelEntry("y", Atoms("C"))) is None


def test_held_out_splits_are_disjoint_and_complete(store: Path) -> None:
    data = Dataset(store)
    splits = ("train", "validation", "test", "extrapolation")
    parts = {split: select(data, split, LIMIT) for split in splits}
    assert {split: len(items) for split, items in parts.items()} == {
        "train": 3, "validation": 2, "test": 2, "extrapolation": 4,
    }  # fmt: skip
    everything = [item for items in parts.values() for item in items]
    assert len(everything) == len(set(everything)) == len(data)
    assert all(rms_force(entry) > LIMIT for entry in data.read(parts["extrapolation"]))
    for split in ("train", "validation"):
        assert all(rms_force(entry) <= LIMIT for entry in data.read(parts[split]))
    assert any(rms_force(entry) > LIMIT for entry in data.read(parts["test"]))  # a test cell stays one


def test_nothing_is_held_out_without_a_limit(store: Path) -> None:
    data = Dataset(store)
    assert select(data, "extrapolation") == []
    assert select(data, "train") == data.select("train")
    assert len(select(data, None, LIMIT)) == len(data)


def test_overlap_tables_leave_out_what_is_held_out(store: Path, tmp_path: Path) -> None:
    report = overlap(store, tmp_path / "t.h5", smoothing=1e-18, hold_out=LIMIT)
    assert report["n_structures"] == 3
    used = overlap_tables([store], None, 1e-18, LIMIT).record["structures"]
    assert set(used) == {item.name for item in select(Dataset(store), "train", LIMIT)}


@pytest.fixture(scope="module", params=["phonon", "electron"])
def model(request, store: Path, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / f"{request.param}.pt"
    section = SECTIONS[request.param].model_copy(update={"train_cells": 2})
    train(request.param, section, [store], path, overlap_smoothing=1e-18, hold_out=LIMIT, device="cpu")
    return path


def test_the_model_names_its_sources(model: Path, store: Path) -> None:
    expected = [{"file": "cells.h5", "sha256": sha256_file(store), "splits": {"train": 2, "validation": 2}}]
    assert load_members(model)[0].sources == expected
    assert info(model)["sources"] == expected
    assert "file cells.h5" in format_info(info(model))
    assert "train 2, validation 2" in format_info(info(model))


def test_a_committee_keeps_the_sources_and_needs_common_ones(model: Path, tmp_path: Path) -> None:
    (member,) = load_members(model)
    save_committee(tmp_path / "two.pt", [member, member])
    assert info(tmp_path / "two.pt")["sources"] == member.sources
    other = load_members(model)[0]
    other.sources = []
    with pytest.raises(InputError, match="another sources"):
        save_committee(tmp_path / "no.pt", [member, other])


def test_a_file_without_sources_loads(model: Path, tmp_path: Path) -> None:
    import torch

    content = torch.load(model, weights_only=True)
    for key in ("sources", "start_sha256"):
        del content[key]
    torch.save(content, tmp_path / "old.pt")
    (old,) = load_members(tmp_path / "old.pt")
    assert (old.sources, old.start_sha256) == ([], "")
    assert old.data_digest == load_members(model)[0].data_digest


def test_errors_have_the_split_of_what_was_held_out(model: Path, store: Path, tmp_path: Path) -> None:
    write_errors(model, [store], tmp_path / "errors.json", hold_out=LIMIT, device="cpu")
    rows = json.loads((tmp_path / "errors.json").read_text(encoding="utf-8"))
    kind = model.stem
    counts = {row["split"]: row["n_structures"] for row in rows if row["model"] == kind}
    single = {split.split(":")[1] for split in counts if split.startswith("extrapolation:")}
    assert single == {item.name for item in select(Dataset(store), "extrapolation", LIMIT)}
    assert {split: n for split, n in counts.items() if ":" not in split} == {
        "train": 3, "validation": 2, "test": 2, "extrapolation": 4,
    }  # fmt: skip


def test_a_limit_that_leaves_nothing_is_named(store: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no structures for train.*rms force of at most 0\.1 eV/Å"):
        train("phonon", SECTIONS["phonon"], [store], tmp_path / "m.pt", hold_out=0.1, device="cpu")
    assert read_split([store], "train", blocks=False, hold_out=0.1) == []

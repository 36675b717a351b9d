"""Training that starts from a model: what stays, what is fitted anew, what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mlepi_core.artefacts import InputError, sha256_file
from mlepi_core.basis.two_centre import TwoCentreTables
from mlepi_core.config.training import ElectronTraining, PhononTraining
from mlepi_core.formats.store import LabelStore, StoreWriter
from mlepi_core.nn.hamiltonian import load_hamiltonian_model
from mlepi_core.nn.model_file import load_model, load_phonon_net, save_model
from mlepi_core.nn.phonon_graph import PhononGraph
from mlepi_core.stages.evaluate import evaluate
from mlepi_core.stages.train import overlap_tables, read_split, train
from mlepi_core.training.electron import prepare_electron
from mlepi_core.training.phonon import atomic_energies, prepare_phonon
from mlepi_core.training.phonon_metrics import labelled_graph

DATA = Path(__file__).parents[2] / "resources" / "bilayer-graphene"
SHAPES: dict[str, dict[str, Any]] = {
    "phonon": {
        "channels": 4, "max_ell": 2, "correlation": 2, "layers": 1, "cutoff_intra": 2.0, "cutoff_inter": 4.5,
        "radial_hidden": [8],
    },
    "electron": {
        "blocks": 1, "channels": [8, 6, 4], "edge_channels": [6, 4], "head_channels": [8, 6, 4],
        "head_unnatural": [0, 4], "message_cutoff": 2.5, "n_radial": 8, "radial_hidden": [8],
    },
}  # fmt: skip
LOOP: dict[str, Any] = {"warmup_steps": 2, "ema_decay": 0.8, "learning_rate": 1e-2, "validation_every": 20}
ERROR = {"phonon": "force_mae_meV_per_A", "electron": "mae_meV"}


def section(kind: str, **changes: Any) -> Any:
    kinds = {"phonon": PhononTraining, "electron": ElectronTraining}
    return kinds[kind](**(LOOP | changes))


def part(path: Path, source: str, chosen: Sequence[int], splits: str) -> Path:
    """Some entries of a bundled store; `splits` has the first letter of each."""
    letters = {"t": "train", "v": "validation", "e": "test"}
    with LabelStore(DATA / source) as store, StoreWriter(path, store.basis) as writer:
        for index, letter in zip(chosen, splits, strict=True):
            entry = store.read(store.names[index])
            entry.split = letters[letter]
            writer.add(entry)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Rigid cells to start on; slips, a kind of their own with another zero of energy."""
    path = tmp_path_factory.mktemp("stores")
    part(path / "old.h5", "rigid.h5", [1, 4, 9, 14, 20, 27, 34, 44], "ttttttvv")
    part(path / "new.h5", "slips.h5", [0, 5, 11, 15, 16, 3, 1, 9, 12], "tttttveee")
    return path


@pytest.fixture(scope="module", params=["phonon", "electron"])
def start(request, folder: Path) -> Path:
    kind = request.param
    path = folder / f"{kind}.pt"
    chosen = section(kind, **SHAPES[kind], steps=60, seed=3)
    train(kind, chosen, [folder / "old.h5"], path, overlap_smoothing=1e-18, device="cpu")
    return path


@pytest.fixture(scope="module")
def tuned(start: Path, folder: Path) -> Path:
    path = folder / f"{start.stem}_tuned.pt"
    train(
        start.stem, section(start.stem, steps=20), [folder / "new.h5"], path, start_from=start, device="cpu"
    )
    return path


def test_a_few_steps_improve_the_new_kind(start: Path, tuned: Path, folder: Path) -> None:
    new, key = folder / "new.h5", ERROR[start.stem]
    before, after = (evaluate(path, new, "test", device="cpu")[key] for path in (start, tuned))
    assert after < 0.85 * before


def test_a_start_is_better_than_none(folder: Path) -> None:
    kind, new = "electron", folder / "new.h5"
    before, options = folder / "before.pt", {"overlap_smoothing": 1e-18, "device": "cpu"}
    train(kind, section(kind, **SHAPES[kind], steps=40), [folder / "old.h5"], before, **options)
    train(kind, section(kind, steps=20), [new], folder / "a.pt", start_from=before, **options)
    train(kind, section(kind, **SHAPES[kind], steps=20), [new], folder / "b.pt", **options)
    errors = [evaluate(folder / name, new, "test", device="cpu")["mae_meV"] for name in ("a.pt", "b.pt")]
    assert errors[0] < 0.75 * errors[1]


def test_the_start_is_recorded_and_its_shape_taken_over(start: Path, tuned: Path) -> None:
    before, after = load_model(start), load_model(tuned)
    assert after.architecture == before.architecture
    assert (before.start_sha256, after.start_sha256) == ("", sha256_file(start))
    assert [source["file"] for source in after.sources] == ["new.h5"]


def test_phonon_statistics_stay_but_for_the_atomic_energies(folder: Path) -> None:
    kind = "phonon"
    before = folder / "short.pt"
    train(kind, section(kind, **SHAPES[kind], steps=3), [folder / "old.h5"], before, device="cpu")
    parts = [read_split([folder / "new.h5"], split, blocks=False) for split in ("train", "validation")]
    prepared = prepare_phonon(*parts, section(kind, steps=3), initial=before, device="cpu")
    old, new = load_model(before).statistics, prepared.content.statistics
    assert {key: new[key] for key in ("neighbours", "scale", "shift")} == {
        key: old[key] for key in ("neighbours", "scale", "shift")
    }
    # With them the start has the mean energy of the new labels, whatever their zero.
    net = load_phonon_net(before)
    predicted = [float(net.e0.sum()) * len(entry.atoms) for entry in parts[0]]
    graphs = [labelled_graph(entry, net.species, net.cutoffs) for entry in parts[0]]
    energies = [energy for energy, _ in predictions(net, graphs)]
    shift = [
        (entry.energy - e0 - energy) / len(entry.atoms)
        for entry, e0, energy in zip(parts[0], predicted, energies, strict=True)
    ]
    assert new["e0"][0] - old["e0"][0] == pytest.approx(np.mean(shift), abs=1e-9)


def predictions(net: Any, graphs: Sequence[PhononGraph]) -> list[tuple[float, np.ndarray]]:
    from mlepi_core.training.phonon_metrics import predict_graphs

    return predict_graphs(net, graphs)


def test_atomic_energies_follow_a_shift_of_the_labels(folder: Path) -> None:
    from tests.nn.phonon_cases import net as random_net

    net = random_net(seed=1)
    entries = read_split([folder / "new.h5"], "train", blocks=False)
    first = atomic_energies([labelled_graph(e, net.species, net.cutoffs) for e in entries], net)
    moved = [replace(e, energy=e.energy + 0.25 * len(e.atoms)) for e in entries]
    second = atomic_energies([labelled_graph(e, net.species, net.cutoffs) for e in moved], net)
    carbon = net.species.index(6)
    assert second[carbon] - first[carbon] == pytest.approx(0.25, abs=1e-9)


def test_other_shape_is_refused_by_key(start: Path, folder: Path) -> None:
    kind = start.stem
    change = {"phonon": {"channels": 8}, "electron": {"n_radial": 9}}[kind]
    (key, value), own = next(iter(change.items())), SHAPES[kind]
    with pytest.raises(InputError, match=rf"has {key} {own[key]} \(not {value}\); leave these keys"):
        train(
            kind, section(kind, steps=20, **change), [folder / "new.h5"], folder / "no.pt", start_from=start
        )
    # The same value as the model has is no contradiction.
    same = section(kind, steps=3, **{key: own[key]})
    train(kind, same, [folder / "new.h5"], folder / "same.pt", start_from=start, device="cpu")


def test_a_restart_belongs_to_the_start_model_not_to_its_path(start: Path, folder: Path) -> None:
    kind, new = start.stem, folder / "new.h5"
    copy, other = folder / "copy.pt", folder / "other.pt"
    shutil.copy(start, copy)
    content = load_model(start)
    key = next(key for key, value in content.state_dict.items() if value.ndim == 2)
    content.state_dict[key] = content.state_dict[key] * 1.01
    save_model(other, content)
    parts = [read_split([new], split, blocks=kind == "electron") for split in ("train", "validation")]

    def digest(initial: Path) -> str:
        if kind == "phonon":
            return prepare_phonon(*parts, section(kind, steps=3), initial=initial, device="cpu").digest
        tables = overlap_tables([new], None, known=load_hamiltonian_model(start).overlap)
        return prepare_electron(*parts, section(kind, steps=3), tables, initial=initial, device="cpu").digest

    assert digest(copy) == digest(start)
    assert digest(other) != digest(start)


@pytest.fixture(scope="module")
def electron(folder: Path) -> Path:
    """Electron model of cells whose distances the tables know without bridging gaps."""
    path = folder / "exact.pt"
    old = part(folder / "exact.h5", "rigid.h5", [4, 20], "tv")
    old_tables = overlap_tables([old], None, smoothing=0)
    old_tables.save(folder / "exact_tables.h5")
    chosen = section("electron", **SHAPES["electron"], steps=3)
    train("electron", chosen, [old], path, tables=folder / "exact_tables.h5", device="cpu")
    return path


def test_overlaps_cover_the_distances_of_both(electron: Path, folder: Path) -> None:
    old, new = folder / "exact.h5", folder / "new.h5"
    known = load_hamiltonian_model(electron, device="cpu").overlap
    alone, both = overlap_tables([new], None), overlap_tables([new], None, known=known)
    assert both.max_support == pytest.approx(known.max_support, abs=1e-9)
    for store in (old, new):
        (entry, *_) = read_split([store], "train", blocks=True)
        for tables in (alone, known, both):
            covered = tables is both or (tables is known) == (store is old)
            if not covered:
                with pytest.raises(InputError, match="lies"):
                    error(tables, entry)
            else:
                # Where one cell alone had a distance, the extended tables are less than exact there.
                assert error(tables, entry) < (1e-5 if tables is both else 1e-6)


def error(tables: TwoCentreTables, entry: Any) -> float:
    """Largest error of S."""
    from mlepi_core.basis.two_centre import overlap_blocks

    matrix = overlap_blocks(entry.atoms, tables, entry.blocks.pairs)
    return float(np.abs(matrix.overlap - entry.blocks.overlap).max())


def test_tables_that_bridge_gaps_go_on_doing_so(electron: Path, folder: Path) -> None:
    bridging = overlap_tables([folder / "exact.h5"], None, smoothing=1e-18)
    assert overlap_tables([folder / "new.h5"], None, known=bridging).record["bridges_gaps"]
    exact = overlap_tables([folder / "exact.h5"], None)
    assert not overlap_tables([folder / "new.h5"], None, known=exact).record["bridges_gaps"]


def test_a_relation_that_the_model_has_never_seen_gets_its_scale(electron: Path, folder: Path) -> None:
    """Scales of known blocks stay; without one the new blocks would stay zero."""
    content = load_model(electron)
    names = [name for name in content.state_dict if name.startswith(("scale_inter", "scale_onsite"))]
    content.state_dict["scale_inter_0_0"] = torch.zeros_like(content.state_dict["scale_inter_0_0"])
    save_model(folder / "no_inter.pt", content)
    parts = [read_split([folder / "exact.h5"], split, blocks=True) for split in ("train", "validation")]
    tables = load_hamiltonian_model(electron, device="cpu").overlap
    task = prepare_electron(
        *parts, section("electron", steps=3), tables, initial=folder / "no_inter.pt", device="cpu"
    ).task
    found = task.model.state_dict()
    original = load_model(electron).state_dict
    for name in names:
        torch.testing.assert_close(found[name].double(), original[name].double(), rtol=1e-4, atol=1e-7)


def test_labels_of_another_element_are_refused(folder: Path) -> None:
    kind = "phonon"
    train(kind, section(kind, **SHAPES[kind], steps=3), [folder / "old.h5"], folder / "c.pt", device="cpu")
    parts = [read_split([folder / "new.h5"], split, blocks=False) for split in ("train", "validation")]
    parts[0][0].atoms.numbers[0] = 7
    with pytest.raises(InputError, match="holds N, which the model does not know"):
        prepare_phonon(*parts, section(kind, steps=3), initial=folder / "c.pt", device="cpu")
    assert asdict(load_phonon_net(folder / "c.pt").architecture)["channels"] == 4

"""Training of the electron net on a few real four-atom cells; model file; errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mlepi_core.artefacts import InputError
from mlepi_core.basis.two_centre import TwoCentreTables
from mlepi_core.basis.two_centre_fit import fit_hamiltonian
from mlepi_core.config.training import ElectronTraining
from mlepi_core.formats.store import LabelStore, StoreWriter
from mlepi_core.nn.hamiltonian import HamiltonianModel, load_hamiltonian_model
from mlepi_core.stages.evaluate import evaluate, gather, tabulate
from mlepi_core.stages.predict import predict
from mlepi_core.stages.train import read_split, train
from mlepi_core.structures import build_ab, write_structure
from mlepi_core.training.checkpoint import RestartFile
from mlepi_core.training.electron import prepare_electron
from mlepi_core.training.electron_data import baseline_sample
from mlepi_core.training.electron_metrics import evaluate_electron

DATA = Path(__file__).parents[2] / "resources" / "bilayer-graphene"
SPLITS = ["train", "train", "validation", "train", "test", "train"] * 2


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """Twelve rigid cells with splits of their own."""
    path = tmp_path_factory.mktemp("labels") / "rigid.h5"
    with LabelStore(DATA / "rigid.h5") as source, StoreWriter(path, source.basis) as writer:
        for name, split in zip(source.names[::4], SPLITS, strict=True):
            entry = source.read(name)
            entry.split = split
            writer.add(entry)
    return path


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    from mlepi_core.stages.overlap import overlap

    path = tmp_path_factory.mktemp("tables") / "tables.h5"
    overlap(DATA / "rigid.h5", path, smoothing=1e-16)
    return path


def section(**changes) -> ElectronTraining:
    small = {
        "channels": [12, 8, 6],
        "edge_channels": [8, 4],
        "head_channels": [12, 8, 6],
        "head_unnatural": [0, 6],
        "radial_hidden": [16],
        "n_radial": 12,
        "steps": 100,
        "warmup_steps": 5,
        "batch_size": 4,
        "validation_every": 20,
        "learning_rate": 1e-2,
        "ema_decay": 0.9,
    }
    return ElectronTraining(**(small | changes))


@pytest.fixture(scope="module")
def model(store, tables, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "electron.pt"
    train("electron", section(), [store], path, tables=tables, device="cpu")
    return path


def test_training_beats_the_two_centre_baseline(model, store, tmp_path):
    tabulate(model, [store], tmp_path / "errors.json", tmp_path / "parity.csv", device="cpu")
    gather([tmp_path / "errors.json"], tmp_path / "errors.csv")
    rows = [line.split(",") for line in (tmp_path / "errors.csv").read_text().splitlines()]
    assert rows[0] == ["model", "split", "quantity", "unit", "value", "n_structures"]
    values = {tuple(row[:4]): float(row[4]) for row in rows[1:]}
    test = {m: values[m, "test", "hamiltonian_mae", "meV"] for m in ("electron", "two_centre", "zero")}
    assert test["electron"] < test["two_centre"] / 3
    assert test["two_centre"] < test["zero"] / 3
    header, *parity = (tmp_path / "parity.csv").read_text().splitlines()
    assert header == "kind,split,structure,label_eV,predicted_eV,baseline_eV"
    assert len(parity) > 500


def test_evaluate_gives_the_keys_of_the_contract(model, store):
    result = evaluate(model, store, "test", device="cpu")
    assert {"mae_meV", "rmse_meV", "mae_intra_meV", "mae_inter_meV", "mae_aligned_meV"} < set(result)
    assert result["n_structures"] == 2
    assert result["mae_aligned_meV"] <= result["rmse_meV"]


@pytest.fixture(scope="module")
def task(store, tables):
    """Training set of the fixture's cells before the first step, in float64, with a mean-square loss."""
    parts = [read_split([store], split, blocks=True) for split in ("train", "validation")]
    chosen = section(dtype="float64", huber=None, batch_size=8)
    return prepare_electron(*parts, chosen, TwoCentreTables.load(tables), device="cpu").task, parts


def test_loss_and_validation_count_both_copies_of_a_block(task, tables):
    """Mean square error of the loss and MAE of the validation are those of whole matrices."""
    task, (train_entries, validation_entries) = task
    baseline = fit_hamiltonian(
        [baseline_sample(e) for e in train_entries], TwoCentreTables.load(tables).basis
    )
    model = HamiltonianModel(task.model, TwoCentreTables.load(tables), baseline)
    expected = evaluate_electron(model, validation_entries)
    assert task.validate()["mae_meV"] == pytest.approx(expected["mae_meV"], rel=1e-9)
    assert task.validate()["rmse_meV"] == pytest.approx(expected["rmse_meV"], rel=1e-9)
    assert len(task.batch(0).graph.structure.unique()) == len(train_entries)
    rmse = 1e-3 * evaluate_electron(model, train_entries)["rmse_meV"]
    assert float(task.loss(task.batch(0)).detach()) == pytest.approx(rmse**2, rel=1e-9)


def test_statistics_do_not_depend_on_the_listed_direction(task):
    """A channel and its Hermitian conjugate share their scale, so that either copy may be predicted."""
    net = task[0].model
    irreps = net.block_irreps[0, 0]
    for relation in net.relations:
        scale = getattr(net, f"scale_{relation}_0_0")
        assert torch.equal(irreps.transpose(scale).abs(), scale)
        assert scale.min() > 0


def test_model_file_needs_no_code_to_load(model):
    content = torch.load(model, weights_only=True)
    assert content["schema"] == "mlepi-model"
    assert content["kind"] == "electron"
    assert content["basis"] == '{"C": [0, 0, 1, 1]}'
    assert content["species"] == [6]


def test_prediction_for_a_structure_file(model, tmp_path):
    structure = tmp_path / "ab.extxyz"
    write_structure(structure, build_ab())
    predict(model, structure, tmp_path / "h.h5", device="cpu")
    with LabelStore(tmp_path / "h.h5") as source:
        entry = source.read(source.names[0])
    reference = load_hamiltonian_model(model, device="cpu").predict([build_ab()])[0]
    assert np.array_equal(entry.blocks.pairs, reference.pairs)
    assert np.allclose(entry.blocks.hamiltonian, reference.hamiltonian, atol=1e-6)
    assert entry.blocks.hamiltonian.dtype == np.float64


def test_resumed_training_repeats_the_history(store, tables, tmp_path, monkeypatch):
    """A training that dies after a restart file and is started again ends with the same numbers."""
    settings = section(steps=12, validation_every=3, checkpoint_every=6)
    common = {"tables": tables, "device": "cpu"}
    whole, resumed = tmp_path / "whole.csv", tmp_path / "resumed.csv"
    train("electron", settings, [store], tmp_path / "a.pt", history_csv=whole, **common)

    common |= {"restart_dir": tmp_path / "restart", "history_csv": resumed}
    with monkeypatch.context() as patch:
        save = RestartFile.save

        def save_and_die(self, state):
            save(self, state)
            raise KeyboardInterrupt

        patch.setattr(RestartFile, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            train("electron", settings, [store], tmp_path / "b.pt", **common)
    assert not (tmp_path / "b.pt").exists()
    train("electron", settings, [store], tmp_path / "b.pt", **common)

    def numbers(path: Path) -> list[list[str]]:
        return [line.split(",")[:-1] for line in path.read_text().splitlines()]

    assert numbers(whole) == numbers(resumed)
    assert len(numbers(whole)) == 5


def test_refuses_reference_entries_and_empty_splits(store, tables, tmp_path):
    path = tmp_path / "reference.h5"
    with LabelStore(store) as source, StoreWriter(path, source.basis) as writer:
        for name in source.names:
            entry = source.read(name)
            entry.split = "reference"
            writer.add(entry)
    with pytest.raises(InputError, match="no structures for train"):
        train("electron", section(), [path], tmp_path / "m.pt", tables=tables)
    assert not (tmp_path / "m.pt").exists()


def test_other_species_are_refused(model, tmp_path):
    structure = tmp_path / "bn.extxyz"
    write_structure(structure, build_ab(elements=("B", "N")))
    with pytest.raises(InputError, match="B, N, which the model does not know"):
        predict(model, structure, tmp_path / "h.h5", device="cpu")
    assert not (tmp_path / "h.h5").exists()


def test_unconverged_training_entry_is_refused(store, tables, tmp_path):
    path = tmp_path / "bad.h5"
    with LabelStore(store) as source, StoreWriter(path, source.basis) as writer:
        for name in source.names:
            entry = source.read(name)
            entry.converged = name != source.names[0]
            writer.add(entry)
    with pytest.raises(InputError, match=r"bad\.h5: the calculation of entry bg_rigid_000 is not converged"):
        train("electron", section(), [path], tmp_path / "m.pt", tables=tables)

"""Training of the phonon net on a few tiny cells with made-up labels."""

from __future__ import annotations

import types

import numpy as np
import pytest
import torch

from mlepi_core.artefacts import InputError
from mlepi_core.formats.store import LabelEntry
from mlepi_core.inference.calculator import PhononCalculator, load_calculator
from mlepi_core.nn.model_file import load_model, load_phonon_net
from mlepi_core.nn.phonon_graph import collate
from mlepi_core.training.phonon import PhononLoss, train_phonon, training_statistics
from mlepi_core.training.phonon_metrics import evaluate_phonon, labelled_graph
from tests.nn.phonon_cases import bilayer, energy_forces, net

SECTION = types.SimpleNamespace(
    channels=4, cutoff_intra=3.2, cutoff_inter=4.2, radial_hidden=[8], max_ell=2, correlation=2,
    dtype="float64", steps=60, learning_rate=0.02, validation_every=20, checkpoint_every=20,
    small_per_step=2, seed=1,
)  # fmt: skip


def entries(count: int, size: int = 2, split: str = "train", first: int = 0) -> list[LabelEntry]:
    """Labels of a random net (a learnable law), with a net force as DFT has it."""
    teacher = net(seed=9, cutoff_intra=3.2, cutoff_inter=4.2, max_ell=1, correlation=2)
    found = []
    for seed in range(first, first + count):
        atoms = bilayer(size, seed=seed)
        energy, forces = energy_forces(teacher, atoms)
        found.append(
            LabelEntry(
                f"{split}_{size}_{seed}",
                atoms,
                energy - 150.0 * len(atoms),
                forces + [0.02, 0, 0],
                split=split,
            )
        )
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phonon")
    train = entries(4) + entries(4, size=1, first=50)
    result = train_phonon(
        train, entries(2, split="validation", first=90), SECTION, folder / "phonon.pt",
        restart=folder / "restart.pt", history_csv=folder / "history.csv", device="cpu",
    )  # fmt: skip
    return folder, result, train


def test_training_reduces_the_error(trained):
    folder, result, train = trained
    errors = [row["force_mae_meV_per_A"] for row in result.history]
    assert errors[-1] < 0.7 * errors[0]
    assert (folder / "history.csv").exists()
    assert not (folder / "restart.pt").exists()
    scores = evaluate_phonon(load_phonon_net(folder / "phonon.pt"), train)
    assert scores["force_mae_meV_per_A"] < scores["baselines"]["zero"]["force_mae_meV_per_A"]
    assert scores["n_structures"] == len(scores["structures"]) == 8
    labels = np.concatenate([entry.forces - entry.forces.mean(axis=0) for entry in train])
    assert scores["force_rms_meV_per_A"] == pytest.approx(1e3 * np.sqrt((labels**2).mean()))


def test_training_is_reproducible(trained, tmp_path):
    _, result, train = trained
    again = train_phonon(
        train,
        entries(2, split="validation", first=90),
        SECTION,
        tmp_path / "m.pt",
        device="cpu",
    )
    for row, other in zip(result.history, again.history, strict=True):
        assert {**row, "wall_s": 0} == {**other, "wall_s": 0}


def test_model_file_is_complete(trained):
    content = load_model(trained[0] / "phonon.pt", "phonon")
    assert content.species == [6]
    assert content.statistics["e0"][0] == pytest.approx(-150, abs=1)
    assert content.history[-1]["step"] == 60
    with pytest.raises(InputError, match="kind"):
        load_model(trained[0] / "phonon.pt", "electron")


def test_damaged_and_foreign_model_files(trained, tmp_path):
    path = tmp_path / "half.pt"
    path.write_bytes((trained[0] / "phonon.pt").read_bytes()[:-500])
    with pytest.raises(InputError, match="not a complete model file"):
        load_model(path)
    torch.save({"a": 1}, tmp_path / "foreign.pt")
    with pytest.raises(InputError, match="not a model file"):
        load_model(tmp_path / "foreign.pt")
    with pytest.raises(InputError, match="no such"):
        load_model(tmp_path / "none.pt")


@pytest.mark.parametrize(("change", "message"), [
    ({"converged": False}, "not converged"),
    ({"split": "reference"}, "reference"),
    ({"forces": None}, "no forces"),
])  # fmt: skip
def test_unsuitable_entries_are_refused(tmp_path, change, message):
    train = entries(2)
    for key, value in change.items():
        setattr(train[1], key, value)
    with pytest.raises(InputError, match=message):
        train_phonon(train, entries(1, first=9), SECTION, tmp_path / "m.pt", device="cpu")


def test_without_an_energy_only_forces_are_learned():
    model = net(seed=3, cutoff_intra=3.2, cutoff_inter=4.2, max_ell=1, correlation=2)
    graphs = [labelled_graph(entry, [6], model.cutoffs) for entry in entries(2)]
    graphs[0].energy = np.nan
    loss = PhononLoss(energy_weight=10.0, force_weight=3.0)

    def gradient(graphs, **shares) -> np.ndarray:
        model.zero_grad()
        loss(model, collate(graphs, torch.float64), **shares).backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        return np.concatenate([g.ravel().numpy() for g in gradients])

    # Half of the structures, half of the atoms each.
    alone = gradient(graphs[:1], force_share=0.5) + gradient(graphs[1:], energy_share=0.5, force_share=0.5)
    np.testing.assert_allclose(gradient(graphs), alone, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(gradient(graphs[:1], energy_share=0), gradient(graphs[:1]), rtol=1e-12)
    labelled = [labelled_graph(entry, [6], model.cutoffs) for entry in entries(1)]
    assert not np.allclose(gradient(labelled, energy_share=0), gradient(labelled), rtol=1e-3)


def test_structures_without_energy_train_and_are_evaluated(tmp_path):
    train, validation = entries(4), entries(2, split="validation", first=90)
    for entry in (train[0], validation[1]):
        entry.energy = None
    section = types.SimpleNamespace(**{**vars(SECTION), "steps": 20})
    result = train_phonon(train, validation, section, tmp_path / "m.pt", device="cpu")
    assert np.isfinite(result.history[-1]["energy_mae_meV_per_atom"])
    model = load_phonon_net(tmp_path / "m.pt")
    assert float(model.e0[0]) == pytest.approx(-150, abs=1)
    one, both = evaluate_phonon(model, validation[:1]), evaluate_phonon(model, validation)
    assert both["energy_mae_meV_per_atom"] == one["energy_mae_meV_per_atom"]
    assert both["n_structures"] == 2
    alone = evaluate_phonon(model, validation[1:])
    assert "energy_mae_meV_per_atom" not in alone
    assert 2 * both["force_mae_meV_per_A"] == pytest.approx(
        one["force_mae_meV_per_A"] + alone["force_mae_meV_per_A"]
    )


def test_training_on_forces_alone(tmp_path):
    train, validation = entries(2), entries(1, split="validation", first=90)
    for entry in train + validation:
        entry.energy = None
    section = types.SimpleNamespace(**{**vars(SECTION), "steps": 5})
    result = train_phonon(train, validation, section, tmp_path / "m.pt", device="cpu")
    assert "energy_mae_meV_per_atom" not in result.history[-1]
    assert load_model(tmp_path / "m.pt").statistics["e0"] == [0.0]


def test_empty_selections_are_refused(tmp_path):
    for train, validation in (([], entries(1)), (entries(1), [])):
        with pytest.raises(InputError, match="no structures"):
            train_phonon(train, validation, SECTION, tmp_path / "m.pt", device="cpu")


def test_statistics_and_weights():
    train = entries(3)
    graphs = [labelled_graph(entry, [6], {"intra": 3.2, "inter": 4.2}) for entry in train]
    model = net(cutoff_intra=3.2, cutoff_inter=4.2)
    statistics = training_statistics(graphs, model)
    model.set_statistics(statistics)
    errors = [row["energy_error_meV_per_atom"] for row in evaluate_phonon(model, train)["structures"]]
    assert abs(np.mean(errors)) < 1e-6
    assert statistics.neighbours["intra"] == pytest.approx(12.0, abs=1.0)
    assert abs(graphs[0].forces.sum(axis=0)).max() < 1e-10
    weights = PhononLoss(force_floor=0.1).structure_weights(graphs)
    squares = [(graph.forces**2).mean() for graph in graphs]
    assert weights[0] / weights[1] == pytest.approx((squares[1] + 0.01) / (squares[0] + 0.01))


def test_calculator(trained):
    calculator = load_calculator(trained[0] / "phonon.pt", "cpu")
    atoms = bilayer(2, seed=3)
    labels = atoms.arrays["layer"].copy()
    energy, forces = energy_forces(calculator.model, atoms)
    atoms.calc = calculator
    assert atoms.get_potential_energy() == pytest.approx(
        energy + len(atoms) * float(calculator.model.e0[0]), abs=1e-9
    )
    np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-12)
    kept = calculator._batch.tables
    atoms.positions[0] += [0.05, 0.02, 0.1]
    forces = atoms.get_forces()
    assert calculator._batch.tables is kept
    np.testing.assert_allclose(forces, energy_forces(calculator.model, atoms)[1], atol=1e-11)
    atoms.positions[1] += [0.5, 0.0, 0.0]
    np.testing.assert_allclose(atoms.get_forces(), energy_forces(calculator.model, atoms)[1], atol=1e-11)
    assert calculator._batch.tables is not kept
    del atoms.arrays["layer"]
    np.testing.assert_allclose(
        atoms.get_forces(), energy_forces_with(calculator.model, atoms, labels), atol=1e-11
    )
    atoms.numbers[0] = 7
    with pytest.raises(InputError, match="holds N"):
        atoms.get_potential_energy()


def energy_forces_with(model, atoms, labels):
    labelled = atoms.copy()
    labelled.arrays["layer"] = labels
    return energy_forces(model, labelled)[1]


def test_float32_models_are_refused_by_the_calculator():
    with pytest.raises(InputError, match="float64"):
        PhononCalculator(net().to(torch.float32))

"""Committees of both networks: joined files, means, spreads, calibration, resumed training."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.io import read

from mlepi_core.artefacts import InputError
from mlepi_core.config.training import ElectronTraining, PhononTraining
from mlepi_core.formats.store import LabelStore, StoreWriter
from mlepi_core.inference.calculator import load_calculator
from mlepi_core.inference.electron_derivatives import hamiltonian_derivative
from mlepi_core.inference.electron_spread import mean_and_spread, member_models
from mlepi_core.nn.hamiltonian import load_hamiltonian_model
from mlepi_core.nn.model_file import load_members, load_model, load_phonon_net, save_committee, save_model
from mlepi_core.stages.calibrate import calibrate, gather_calibration
from mlepi_core.stages.committee import join
from mlepi_core.stages.evaluate import evaluate
from mlepi_core.stages.info import info
from mlepi_core.stages.predict import predict
from mlepi_core.stages.train_committee import train_committee
from mlepi_core.structures import build_ab, write_structure

DATA = Path(__file__).parents[2] / "resources" / "bilayer-graphene"
SPLITS = ["train", "train", "validation", "test"] * 2
KINDS = ["phonon", "electron"]
SECTIONS = {
    "phonon": PhononTraining(
        channels=4, lmax_hidden=1, max_ell=2, correlation=2, layers=1, cutoff_intra=3.0, cutoff_inter=4.5,
        radial_hidden=[8], batch_size=4, steps=10, warmup_steps=2, validation_every=5, checkpoint_every=5,
    ),
    "electron": ElectronTraining(
        blocks=1, channels=[12, 8, 6], edge_channels=[8, 4], head_channels=[12, 8, 6], head_unnatural=[0, 6],
        radial_hidden=[16], n_radial=12, batch_size=4, steps=10, warmup_steps=2, validation_every=5,
        checkpoint_every=5, message_cutoff=3.5,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "rigid.h5"
    with LabelStore(DATA / "rigid.h5") as source, StoreWriter(path, source.basis) as writer:
        for name, split in zip(source.names[::6], SPLITS, strict=True):
            entry = source.read(name)
            entry.split = split
            writer.add(entry)
    return path


def trained(kind: str, store: Path, folder: Path, count: int, **options) -> dict:
    return train_committee(
        kind, SECTIONS[kind], [store], folder / f"{kind}.pt", committee=count, device="cpu",
        restart_dir=folder / "restart", history_csv=folder / f"history_{kind}.csv", **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def models(store, tmp_path_factory) -> Path:
    """Folder with committees of three of both kinds."""
    folder = tmp_path_factory.mktemp("models")
    for kind in KINDS:
        trained(kind, store, folder, 3)
    return folder


@pytest.fixture
def cell(store):
    """A structure whose distances the fitted overlaps cover."""
    with LabelStore(store) as found:
        return found.read(found.names[0], blocks=False).atoms


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def weights(path: Path) -> list[dict[str, torch.Tensor]]:
    return [member.state_dict for member in load_members(path)]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("kind", KINDS)
def test_joined_file_holds_the_members(kind, models):
    members = load_members(models / f"{kind}.pt", kind)
    assert [member.config["seed"] for member in members] == [1, 2, 3]
    for number, member in enumerate(members, start=1):
        single = load_model(models / "members" / f"{kind}_{number}.pt", kind)
        assert same(member.state_dict, single.state_dict)
        assert (member.history, member.config, member.statistics) == (
            single.history, single.config, single.statistics,
        )  # fmt: skip
    assert not same(members[0].state_dict, members[1].state_dict)
    table = rows(models / f"history_{kind}.csv")
    assert [(row["member"], row["step"]) for row in table] == [(m, s) for m in "123" for s in ("5", "10")]
    with pytest.raises(InputError, match="committee of 3 models; give the file of one member"):
        load_model(models / f"{kind}.pt")


def test_single_model_is_a_file_of_version_one(models, tmp_path):
    for kind in KINDS:
        member, history = models / "members" / f"{kind}_2.pt", models / "members" / f"{kind}_2.history.csv"
        join([member], [history], tmp_path / f"{kind}.pt", tmp_path / "history.csv")
        content = torch.load(tmp_path / f"{kind}.pt", weights_only=True)
        assert (content["version"], content["kind"]) == (1, kind)
        assert same(content["state_dict"], load_model(member).state_dict)
        assert {row["member"] for row in rows(tmp_path / "history.csv")} == {"1"}


def test_members_that_do_not_fit_are_refused(models, tmp_path):
    phonon, electron = (load_model(models / "members" / f"{kind}_1.pt") for kind in KINDS)
    with pytest.raises(InputError, match="member 2 has another kind than member 1"):
        save_committee(tmp_path / "m.pt", [phonon, electron])
    other = load_model(models / "members" / "electron_2.pt")
    other.tables["hamiltonian"]["tables"][0]["coefficients"][0, 0] += 1
    with pytest.raises(InputError, match="member 2 has another tables than member 1"):
        save_committee(tmp_path / "m.pt", [electron, other])
    assert not (tmp_path / "m.pt").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_committee_is_refused(kind, models, tmp_path):
    data = bytearray((models / f"{kind}.pt").read_bytes())
    (tmp_path / "half.pt").write_bytes(data[:-500])
    with zipfile.ZipFile(models / f"{kind}.pt") as archive:
        largest = max((archive.read(name) for name in archive.namelist()), key=len)
    data[data.index(largest) + len(largest) // 2] ^= 8  # not in the padding, which nothing reads
    (tmp_path / "flipped.pt").write_bytes(data)
    content = torch.load(models / f"{kind}.pt", weights_only=True)
    del content["members"][1]["architecture"]
    torch.save(content, tmp_path / "cut.pt")
    for name, message in (
        ("half", "not a complete model file"),
        ("flipped", "is damaged: wrong checksum"),
        ("cut", "member 2 lacks architecture"),
    ):
        with pytest.raises(InputError, match=message):
            load_members(tmp_path / f"{name}.pt")


def identical(kind: str, models: Path, folder: Path) -> tuple[Path, Path]:
    """A member, and a committee of three copies of it."""
    member = load_model(models / "members" / f"{kind}_1.pt")
    save_model(folder / "single.pt", member)
    save_committee(folder / "copies.pt", [member] * 3)
    return folder / "single.pt", folder / "copies.pt"


def test_copies_of_one_electron_net_are_that_net(models, cell, tmp_path):
    single, copies = (
        load_hamiltonian_model(path, device="cpu") for path in identical("electron", models, tmp_path)
    )
    one, mean = single.predict([cell])[0], copies.predict([cell])[0]
    np.testing.assert_allclose(mean.hamiltonian, one.hamiltonian, rtol=0, atol=1e-12)
    predict(tmp_path / "copies.pt", write(cell, tmp_path), tmp_path / "h.h5", device="cpu")
    with LabelStore(tmp_path / "h.h5") as found:
        entry = found.read(found.names[0])
    assert np.array_equal(entry.block_spread, np.zeros(len(one.pairs)))
    np.testing.assert_allclose(entry.blocks.hamiltonian, one.hamiltonian, rtol=0, atol=1e-6)


def test_copies_of_one_phonon_net_are_that_net(models, tmp_path):
    paths = identical("phonon", models, tmp_path)
    single, copies = (load_calculator(path, "cpu") for path in paths)
    atoms = build_ab()
    atoms.rattle(0.05, seed=3)
    for calculator in (single, copies):
        calculator.calculate(atoms, ["forces"])
    assert copies.results["energy"] == pytest.approx(single.results["energy"], abs=1e-10)
    np.testing.assert_allclose(copies.results["forces"], single.results["forces"], atol=1e-12)
    assert copies.results["energy_spread"] == 0
    assert np.array_equal(copies.results["forces_spread"], np.zeros((len(atoms), 3)))
    assert "forces_spread" not in single.results
    np.testing.assert_allclose(copies.hessian(atoms), single.hessian(atoms), atol=1e-10)


def write(atoms, folder: Path) -> Path:
    write_structure(folder / "ab.extxyz", atoms)
    return folder / "ab.extxyz"


def test_predicted_hamiltonian_is_the_mean_with_its_spread(models, cell, tmp_path):
    predict(models / "electron.pt", write(cell, tmp_path), tmp_path / "h.h5", device="cpu")
    with LabelStore(tmp_path / "h.h5") as found:
        entry = found.read(found.names[0])
    members = [
        load_hamiltonian_model(models / "members" / f"electron_{m}.pt", device="cpu").predict([cell])[0]
        for m in (1, 2, 3)
    ]
    values = np.stack([member.hamiltonian for member in members])
    np.testing.assert_allclose(entry.blocks.hamiltonian, values.mean(axis=0), atol=1e-6)
    variance = values.var(axis=0, ddof=1)
    blocks = zip(entry.blocks.offsets, entry.blocks.offsets[1:], strict=False)
    expected = [np.sqrt(variance[first:last].mean()) for first, last in blocks]
    np.testing.assert_allclose(entry.block_spread, expected, rtol=1e-5)
    assert entry.block_spread.min() > 0


def test_predicted_forces_are_the_mean_with_their_spread(models, tmp_path):
    atoms = build_ab()
    atoms.rattle(0.05, seed=3)
    predict(models / "phonon.pt", write(atoms, tmp_path), tmp_path / "f.extxyz", device="cpu")
    frame, values = read(tmp_path / "f.extxyz"), []
    for member in (1, 2, 3):
        calculator = load_calculator(models / "members" / f"phonon_{member}.pt", "cpu")
        calculator.calculate(read(tmp_path / "ab.extxyz"), ["forces"])
        values.append((calculator.results["energy"], calculator.results["forces"]))
    energies, forces = (np.array(part) for part in zip(*values, strict=True))
    np.testing.assert_allclose(frame.get_forces(), forces.mean(axis=0), atol=1e-7)
    np.testing.assert_allclose(frame.arrays["forces_spread"], forces.std(axis=0, ddof=1), atol=1e-7)
    assert frame.get_potential_energy() == pytest.approx(energies.mean(), abs=1e-6)
    assert frame.info["energy_spread"] == pytest.approx(energies.std(ddof=1), rel=1e-6)


def test_derivative_of_the_mean_is_the_mean_derivative(models, cell):
    pattern = np.zeros((len(cell), 3))
    pattern[0, 2] = 1
    model = load_hamiltonian_model(models / "electron.pt", device="cpu")
    mean = hamiltonian_derivative(model, cell, pattern).hamiltonian
    slopes = [hamiltonian_derivative(member, cell, pattern).hamiltonian for member in member_models(model)]
    np.testing.assert_allclose(mean, np.mean(slopes, axis=0), atol=1e-10)


def test_spread_of_complex_spinor_blocks(models, cell):
    """Every part of a spinor counts with its absolute square."""
    model = load_hamiltonian_model(models / "electron.pt", device="cpu")
    first = member_models(model)[0].predict([cell])[0]
    shape = (4, first.offsets[-1])
    generator = np.random.default_rng(2)
    values = [generator.normal(size=shape) + 1j * generator.normal(size=shape) for _ in range(2)]
    matrix, spread = mean_and_spread([first.with_values(hamiltonian=value, spin="soc") for value in values])
    np.testing.assert_allclose(matrix.hamiltonian, (values[0] + values[1]) / 2)
    expected = [
        np.sqrt(np.mean(np.abs(values[0][:, a:b] - values[1][:, a:b]) ** 2) / 2)
        for a, b in zip(first.offsets, first.offsets[1:], strict=False)
    ]
    np.testing.assert_allclose(spread, expected)


@pytest.mark.parametrize(("kind", "spread", "error"), [
    ("phonon", "force_spread_meV_per_A", "force_rmse_meV_per_A"),
    ("electron", "spread_meV", "rmse_meV"),
])  # fmt: skip
def test_evaluation_has_the_spread_beside_the_error(kind, spread, error, models, store):
    found = evaluate(models / f"{kind}.pt", store, "test", device="cpu")
    singles = [
        evaluate(models / "members" / f"{kind}_{m}.pt", store, "test", device="cpu") for m in (1, 2, 3)
    ]
    assert spread not in singles[0]
    # Mean of squares: over the members error² + (k-1)/k spread² of the mean, for every element.
    mean_square = np.mean([single[error] ** 2 for single in singles])
    assert found[error] ** 2 + 2 / 3 * found[spread] ** 2 == pytest.approx(mean_square, rel=1e-5)


def test_calibration_of_both(models, store, tmp_path):
    for kind in KINDS:
        calibrate(models / f"{kind}.pt", [store], tmp_path / f"{kind}.csv", device="cpu")
    files = [tmp_path / f"{kind}.csv" for kind in KINDS]
    gather_calibration(files, tmp_path / "calibration.csv", tmp_path / "points.csv")
    summary = {
        (row["quantity"], row["split"]): row
        for row in rows(tmp_path / "calibration.csv")
        if row["bin"] == "all"
    }
    quantities = {"force", "force_component"}
    quantities |= {f"hamiltonian_{name}" for name in ("onsite", "intra", "inter")}
    assert set(summary) == {(name, split) for name in quantities for split in ("validation", "test")}
    evaluated = evaluate(models / "phonon.pt", store, "test", device="cpu")
    test = summary["force_component", "test"]
    assert float(test["error_rms"]) == pytest.approx(evaluated["force_rmse_meV_per_A"], rel=1e-4)
    assert int(test["n"]) == 3 * int(summary["force", "test"]["n"]) == 3 * 2 * 4
    for row in summary.values():
        assert -1 <= float(row["spearman"]) <= 1
        assert 0 <= float(row["within_1"]) <= float(row["within_2"]) <= 1
    assert len(rows(tmp_path / "points.csv")) == sum(int(row["n"]) for row in summary.values())
    with pytest.raises(InputError, match="is a single model, which has no spread"):
        calibrate(models / "members" / "phonon_1.pt", [store], tmp_path / "no.csv", device="cpu")


def test_interrupted_committee_trains_what_is_missing(models, store, tmp_path, monkeypatch):
    from mlepi_core.stages import train as module

    calls, train = [], module.train

    def counted(*arguments, member, **options):
        calls.append(member)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(*arguments, member=member, **options)

    monkeypatch.setattr(module, "train", counted)
    with pytest.raises(KeyboardInterrupt):
        trained("phonon", store, tmp_path, 3)
    assert not (tmp_path / "phonon.pt").exists()
    reports = trained("phonon", store, tmp_path, 3)
    assert calls == [1, 2, 2, 3]
    assert list(reports) == [1, 2, 3]
    for member, other in zip(weights(tmp_path / "phonon.pt"), weights(models / "phonon.pt"), strict=True):
        assert same(member, other)
    trained("phonon", store, tmp_path, 1)  # joined: a further call is a new training
    assert calls == [1, 2, 2, 3, 1]


def test_members_trained_one_by_one_are_joined_at_the_end(models, store, tmp_path):
    for member in (2, 1):
        assert list(trained("phonon", store, tmp_path, 2, member=member)) == [member]
        assert not (tmp_path / "phonon.pt").exists()
    trained("phonon", store, tmp_path, 2)
    for member, other in zip(weights(tmp_path / "phonon.pt"), weights(models / "phonon.pt"), strict=False):
        assert same(member, other)
    assert not list((tmp_path / "restart").glob("*.json"))
    with pytest.raises(InputError, match="--member: 3 is no member of a committee of 2"):
        trained("phonon", store, tmp_path, 2, member=3)


def test_other_settings_train_again(store, tmp_path):
    trained("phonon", store, tmp_path, 2, member=1)
    before = weights(tmp_path / "members" / "phonon_1.pt")[0]
    train_committee(
        "phonon", SECTIONS["phonon"].model_copy(update={"steps": 5}), [store], tmp_path / "phonon.pt",
        committee=2, device="cpu", restart_dir=tmp_path / "restart", history_csv=tmp_path / "history.csv",
    )  # fmt: skip
    assert not same(before, weights(tmp_path / "members" / "phonon_1.pt")[0])


def test_committee_is_no_start_for_training(models, store, tmp_path):
    with pytest.raises(InputError, match="committee of 3 models; give the file of one member"):
        trained("phonon", store, tmp_path, 1, start_from=models / "phonon.pt")


def test_info_shows_the_members(models):
    for kind in KINDS:
        found = info(models / f"{kind}.pt")
        assert (found["committee"], found["network"]) == (3, kind)
        assert [member["config"]["seed"] for member in found["members"]] == [1, 2, 3]
        assert found["n_parameters"] > 0
        assert "committee" not in info(models / "members" / f"{kind}_1.pt")


def test_phonon_committee_stands_for_a_net(models):
    """Atomic energies, energies and forces of the committee agree with each other."""
    net = load_phonon_net(models / "phonon.pt")
    calculator = load_calculator(models / "phonon.pt", "cpu")
    atoms = build_ab()
    atoms.rattle(0.05, seed=4)
    calculator.calculate(atoms, ["energy", "forces"])
    energy, forces = calculator.results["energy"], calculator.results["forces"]
    step, shifted = 1e-4, []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[0, 2] += sign * step
        calculator.calculate(moved, ["energy"])
        shifted.append(calculator.results["energy"])
    assert forces[0, 2] == pytest.approx(-(shifted[0] - shifted[1]) / (2 * step), abs=1e-5)
    assert energy == pytest.approx(np.mean(shifted), abs=1e-4)
    assert float(net.e0[0]) == pytest.approx(np.mean([float(m.e0[0]) for m in net.members]))

"""Two species, d shells and spinors from configurations alone, with the commands that users have."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import yaml

from mlepi_core.artefacts import InputError
from mlepi_core.cli.main import mlepi
from mlepi_core.config import load_config
from mlepi_core.formats.store import LabelStore, StoreWriter
from mlepi_core.stages.bands import compare
from mlepi_core.stages.evaluate import tabulate

SMALL = {
    "channels": [16, 8, 6, 4],
    "edge_channels": [8, 4],
    "head_channels": None,
    "head_unnatural": None,
    "n_radial": 12,
    "radial_hidden": [16],
    "learning_rate": 1e-2,
    "warmup_steps": 5,
    "ema_decay": 0.9,
    "validation_every": 20,
}
STEPS = {"bn": 40, "mos2-soc": 120}


@dataclass
class Trained:
    """A configuration, its labels (one validation and one test cell) and the model of the command line."""

    config: Path
    labels: Path
    model: Path

    @cached_property
    def errors(self) -> dict[tuple[str, str], float]:
        """(model, quantity) → value on the test split; writes gauge.csv beside the model."""
        files = [self.model.parent / name for name in ("errors.json", "parity.csv", "gauge.csv")]
        tabulate(self.model, [self.labels], *files, device="cpu")
        rows = json.loads(files[0].read_text(encoding="utf-8"))
        return {(row["model"], row["quantity"]): row["value"] for row in rows if row["split"] == "test"}


def run(*arguments: object) -> None:
    mlepi.main([str(argument) for argument in arguments], standalone_mode=False)


@pytest.fixture(scope="module", params=["bn", "mos2-soc"])
def trained(request: pytest.FixtureRequest, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp(request.param)
    content = yaml.safe_load((root / "config" / f"{request.param}.yaml").read_text(encoding="utf-8"))
    labels = folder / "labels.h5"
    with LabelStore(root / content["labels"]["path"][0]) as source:
        attrs = {"spin": source.spin}
        with StoreWriter(labels, source.basis, attrs) as writer:
            for name in (*source.select("train"), source.select("validation")[0], source.select("test")[0]):
                writer.add(source.read(name))
    content["labels"] |= {"path": [str(labels)], "checksums": "if-present"}
    content["training"]["electron"] |= SMALL | {"steps": STEPS[request.param]}
    content["device"] = "cpu"
    config, model = folder / "config.yaml", folder / "electron.pt"
    config.write_text(yaml.safe_dump(content), encoding="utf-8")
    run("train", "electron", config, "--out", model)
    return Trained(config, labels, model)


def test_few_steps_beat_the_two_centre_baseline(trained: Trained) -> None:
    errors = trained.errors
    for quantity in ("hamiltonian_mae", "hamiltonian_mae_onsite", "hamiltonian_mae_aligned"):
        assert errors["electron", quantity] < 0.6 * errors["two_centre", quantity]
    assert errors["two_centre", "hamiltonian_mae"] < errors["zero", "hamiltonian_mae"]


def test_evaluate_is_flat_and_null_where_there_is_nothing(trained: Trained, tmp_path: Path) -> None:
    run("evaluate", trained.model, trained.labels, "--split", "test", "--json", tmp_path / "e.json")
    errors = json.loads((tmp_path / "e.json").read_text(encoding="utf-8"))
    monolayer = load_config(trained.config).run.name == "mos2-soc"
    assert (errors["mae_inter_meV"] is None) == monolayer
    assert 0 < errors["mae_intra_meV"] < errors["rmse_meV"]


def test_gauge_table_has_every_structure(trained: Trained) -> None:
    errors = trained.errors
    with (trained.model.parent / "gauge.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["split"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"train", "validation", "test"}
    with LabelStore(trained.labels) as store:
        entry = store.read(rows["test"]["structure"])
    assert float(rows["test"]["fermi_level_eV"]) == pytest.approx(entry.fermi_level)
    assert float(rows["test"]["mae_aligned_meV"]) == pytest.approx(
        errors["electron", "hamiltonian_mae_aligned"]
    )


def test_predicted_matrices_are_hermitian_and_spinors_come_in_pairs(trained: Trained, tmp_path: Path) -> None:
    """On-site blocks are their own conjugates; at Γ time reversal makes every spinor level twofold."""
    from mlepi_core.electrons import eigenvalues, spin_channels

    with LabelStore(trained.labels) as store:
        entry = store.read(store.select("test")[0])
    entry.atoms.write(tmp_path / "cell.extxyz")
    run("predict", trained.model, tmp_path / "cell.extxyz", tmp_path / "h.h5", "--device", "cpu")
    with LabelStore(tmp_path / "h.h5") as store:
        predicted = store.read(store.names[0])
    blocks = predicted.blocks
    assert blocks.spin == entry.blocks.spin
    onsite = [p for p, pair in enumerate(blocks.pairs) if pair[0] == pair[1] and not pair[2:].any()]
    for p in onsite:
        block = blocks.block(p)
        conjugate = block.conj().swapaxes(-1, -2)
        assert np.allclose(block, conjugate[[0, 2, 1, 3]] if blocks.spin == "soc" else conjugate, atol=1e-10)
    (bloch,) = spin_channels(predicted.atoms, blocks).values()
    levels = eigenvalues(bloch, np.zeros((1, 3)))[0][0]
    assert len(levels) == blocks.n_orbitals * (2 if blocks.spin == "soc" else 1)
    if blocks.spin == "soc":
        assert np.allclose(levels[::2], levels[1::2], atol=1e-8)


def test_bands_of_the_test_cell_are_compared(trained: Trained, tmp_path: Path) -> None:
    """Nearly dependent orbitals are left out: the errors of so short a training would make ghosts of them."""
    section = load_config(trained.config).bands
    section = section.model_copy(update={"points": 2, "overlap_threshold": 8e-3})
    compare(trained.model, [trained.labels], tmp_path / "b.csv", tmp_path / "e.csv", section, device="cpu")
    with (tmp_path / "e.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert int(row["n_states"]) > 50
    assert float(row["rms_meV"]) > 0
    assert float(row["projection_meV"]) < 20
    if load_config(trained.config).run.name == "bn":
        assert int(row["n_projected"]) > 20
        assert row["splitting_at"] == ""
    else:
        assert row["n_projected"] == "0"
        assert row["splitting_at"] == "K"
        assert 120 < float(row["splitting_dft_meV"]) < 160


def test_true_hamiltonians_give_the_bands_of_dft(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H + μS in place of the prediction: no difference but one shift of all levels, the same splitting."""
    with LabelStore(trained.labels) as store:
        blocks = store.read(store.select("test")[0]).blocks

    class Oracle:
        def predict(self, structures: list) -> list:
            return [blocks.add_scalar(0.1 * blocks.overlap)]

    monkeypatch.setattr("mlepi_core.nn.hamiltonian.load_hamiltonian_model", lambda *_, **__: Oracle())
    section = load_config(trained.config).bands.model_copy(update={"points": 2, "overlap_threshold": 0.0})
    compare(trained.model, [trained.labels], tmp_path / "b.csv", tmp_path / "e.csv", section, device="cpu")
    with (tmp_path / "e.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["max_meV"]) < 1e-6
    assert float(row["shift_meV"]) == pytest.approx(-100, abs=1e-6)
    if blocks.spin == "soc":
        assert float(row["splitting_predicted_meV"]) == pytest.approx(
            float(row["splitting_dft_meV"]), abs=1e-6
        )


def test_a_threshold_that_takes_too_much_is_refused(trained: Trained, tmp_path: Path) -> None:
    section = load_config(trained.config).bands
    section = section.model_copy(update={"points": 2, "window": 1e3, "overlap_threshold": 0.09})
    files = [tmp_path / name for name in ("b.csv", "e.csv")]
    with pytest.raises(InputError, match=r"overlap_threshold: 0\.09 takes states of the window"):
        compare(trained.model, [trained.labels], *files, section, device="cpu")
    assert not any(path.exists() for path in files)

"""What is compared, and the whole benchmark on tiny cells."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mlepi_core.artefacts import InputError
from mlepi_core.basis.two_centre import overlap_blocks
from mlepi_core.benchmark import settings
from mlepi_core.benchmark.cells import SUPPORT, bilayer, synthetic_overlap, twisted_bilayer
from mlepi_core.benchmark.electron import LAYERS, TrainingStep
from mlepi_core.benchmark.phonon import EnergyForces
from mlepi_core.config import load_config
from mlepi_core.graph import atoms_pairs
from mlepi_core.stages.benchmark import benchmark_networks

SPEC = {"n_atoms": 4, "seed": 1, "dtype": "float64", "device": "cpu", "threads": 1}
KEYS = {
    "electron_forward_ratio",
    "electron_step_ratio",
    "electron_memory_ratio",
    "phonon_step_ratio_to_mace",
    "sizes",
    "electron_seconds",
    "phonon_seconds",
    "electron_exponent",
    "phonon_exponent",
    "hardware",
    "settings",
}


def test_cells() -> None:
    atoms = bilayer(64)
    assert len(atoms) == 64
    assert np.bincount(atoms.arrays["layer"]).tolist() == [32, 32]
    assert len(twisted_bilayer(1)) == 28
    for wrong in (65, 60, 0):
        with pytest.raises(InputError, match="4 n²"):
            bilayer(wrong)


def test_synthetic_overlap_ends_at_the_support() -> None:
    atoms = bilayer(16)
    matrix = overlap_blocks(atoms, synthetic_overlap(settings.S2P2))
    i, j, images = matrix.pairs[:, 0], matrix.pairs[:, 1], matrix.pairs[:, 2:]
    distance = np.linalg.norm(atoms.positions[j] + images @ atoms.cell.array - atoms.positions[i], axis=1)
    assert SUPPORT - 0.5 < distance.max() < SUPPORT
    assert np.abs(matrix.overlap).max() == 1.0


def test_quick_run_is_what_the_configuration_says(root: Path) -> None:
    training = load_config(root / "config" / "config.yaml", root=root).training
    electron = settings.ELECTRON["quick run"]
    chosen = {key for key in electron if key not in ("shells", "edge_lmax")}
    assert {key: electron[key] for key in chosen} == {key: getattr(training.electron, key) for key in chosen}
    phonon = settings.SCALING_PHONON
    assert phonon == {key: getattr(training.phonon, key) for key in phonon}


def test_both_convolutions_do_the_same_work() -> None:
    architecture = settings.ELECTRON["quick run"]
    sides = {
        name: TrainingStep(SPEC | {"architecture": architecture | {"convolution": name}})
        for name in ("so2", "e3nn")
    }
    infos = [side.info() for side in sides.values()]
    assert infos[0]["edges"] == infos[1]["edges"]
    atoms = bilayer(4)
    i, _, _ = atoms_pairs(atoms, architecture["message_cutoff"])
    assert sum(infos[0]["edges"].values()) == len(i)
    shapes = []
    for side in sides.values():
        side.step()
        assert all(p.grad is not None for p in side.net.parameters() if p.numel())
        with torch.no_grad():
            shapes.append({key: value.shape for key, value in side.net(side.graph).items()})
        layers = side.layers()
        assert all(any(f"({kind})" in name for name in layers) for kind in LAYERS)
        assert min(layers[name] for name in layers if name != "rest") > 0
    assert shapes[0] == shapes[1]


def test_phonon_subject_counts_edges_without_padding() -> None:
    homo, hetero = (
        EnergyForces(SPEC | {"architecture": settings.PHONON["16 channels"] | {"relations": relations}})
        for relations in ("homo", "hetero")
    )
    assert sum(homo.info()["edges"].values()) == sum(hetero.info()["edges"].values())
    homo.step()
    assert all(torch.isfinite(p.grad).all() for p in homo.net.parameters())


@pytest.mark.slow
def test_benchmark_of_tiny_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    out, lines = tmp_path / "b.json", []
    result = benchmark_networks(
        out, sizes=[4, 16], atoms=4, threads=1, rounds=1, quick=True, say=lines.append
    )
    content = json.loads(out.read_text())
    assert set(content) >= KEYS
    assert content == json.loads(json.dumps(result))
    assert content["phonon_step_ratio_to_mace"] is None
    assert content["sizes"] == [4, 16]
    for net in ("electron", "phonon"):
        assert len(content[f"{net}_seconds"]) == 2
        assert all(seconds > 0 for seconds in content[f"{net}_seconds"])
        assert math.isfinite(content[f"{net}_exponent"])
    assert content["electron_step_ratio"] > 0
    assert 0 < content["electron_memory_ratio"] < 10
    assert content["prediction"] is None
    text = "\n".join(lines)
    assert "forward by layer" in text
    assert "make peers" in text

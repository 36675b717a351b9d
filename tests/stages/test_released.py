"""The released networks: as their cards and checksums say, and as good on cells that they have not seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mlepi_core.artefacts import sha256_file
from mlepi_core.inference.calculator import load_calculator
from mlepi_core.labels import verify_checksums
from mlepi_core.nn.model_file import load_model
from mlepi_core.phonons.units import CM1_PER_THZ, THZ_PER_SQRT_EIGENVALUE
from mlepi_core.stages.evaluate import evaluate
from mlepi_core.structures import build_ab

KINDS = ("phonon", "electron")
MEGABYTES = 10


@pytest.fixture
def folder(root: Path) -> Path:
    return root / "resources" / "models" / "bilayer-graphene"


@pytest.mark.parametrize("kind", KINDS)
def test_file_card_and_checksum_belong_together(folder: Path, kind: str) -> None:
    path = folder / f"{kind}.pt"
    verify_checksums([path], "require")
    assert sha256_file(path) in (folder / f"{kind}.md").read_text(encoding="utf-8")
    model = load_model(path, kind)
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert all(source["sha256"] in text for source in model.sources)
    assert sum(source["splits"]["train"] for source in model.sources) == {"phonon": 62, "electron": 90}[kind]
    assert {value.dtype for value in model.state_dict.values()} == {torch.float32}
    assert path.stat().st_size < MEGABYTES * 1e6


def test_forces_on_the_bundled_test_cells(folder: Path, root: Path) -> None:
    store = root / "resources" / "bilayer-graphene" / "perturbed-4x4.h5"
    errors = evaluate(folder / "phonon.pt", store, "test", device="cpu")
    assert errors["force_mae_meV_per_A"] < 15
    assert errors["energy_mae_meV_per_atom"] < 1.0


def test_layers_do_not_slide_freely(folder: Path) -> None:
    """Shear from the network's own slips at 3.16 Å: 32 cm⁻¹, DFT 41 ± 2; before fine-tuning imaginary."""
    atoms = build_ab(lattice_constant=2.474, distance=3.16, cell_height=14.0)
    atoms.calc = load_calculator(folder / "phonon.pt", "cpu")
    upper = atoms.arrays["layer"] == 1
    forces = []
    for slip in (0.02, -0.02):
        moved = atoms.copy()
        moved.calc = atoms.calc
        moved.positions[upper, 0] += slip
        forces.append(moved.get_forces()[upper, 0].mean())
    constant = (forces[1] - forces[0]) / 0.04
    frequency = np.sqrt(2 * constant / 12.011) * THZ_PER_SQRT_EIGENVALUE * CM1_PER_THZ
    assert 28 < frequency < 46


def test_hamiltonians_on_the_bundled_test_cells(folder: Path, root: Path) -> None:
    store = root / "resources" / "bilayer-graphene" / "perturbed-4x4.h5"
    errors = evaluate(folder / "electron.pt", store, "test", device="cpu")
    assert errors["mae_meV"] < 0.5

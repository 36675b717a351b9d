"""The released networks: as their cards and checksums say, and as good on cells that they have not seen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mlepi_core.artefacts import sha256_file
from mlepi_core.labels import verify_checksums
from mlepi_core.nn.model_file import load_model
from mlepi_core.stages.evaluate import evaluate

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
    assert sum(source["splits"]["train"] for source in model.sources) == 90
    assert {value.dtype for value in model.state_dict.values()} == {torch.float32}
    assert path.stat().st_size < MEGABYTES * 1e6


def test_forces_on_the_bundled_test_cells(folder: Path, root: Path) -> None:
    store = root / "resources" / "bilayer-graphene" / "perturbed-4x4.h5"
    errors = evaluate(folder / "phonon.pt", store, "test", device="cpu")
    assert errors["force_mae_meV_per_A"] < 15
    assert errors["energy_mae_meV_per_atom"] < 0.5


def test_hamiltonians_on_the_bundled_test_cells(folder: Path, root: Path) -> None:
    store = root / "resources" / "bilayer-graphene" / "perturbed-4x4.h5"
    errors = evaluate(folder / "electron.pt", store, "test", device="cpu")
    assert errors["mae_meV"] < 0.5

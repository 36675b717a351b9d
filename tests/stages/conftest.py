"""A network for the stages that need one."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlepi_core.config.training import ElectronTraining
from mlepi_core.formats.store import LabelStore, StoreWriter
from mlepi_core.stages.overlap import overlap
from mlepi_core.stages.train import train

BILAYER = Path(__file__).parents[2] / "resources/bilayer-graphene"
RIGID = BILAYER / "rigid.h5"


@pytest.fixture(scope="session")
def quick_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that was trained for a moment on rigid four-atom cells."""
    folder = tmp_path_factory.mktemp("model")
    with LabelStore(RIGID) as source, StoreWriter(folder / "rigid.h5", source.basis) as writer:
        for number, name in enumerate(source.names[::6]):
            entry = source.read(name)
            entry.split = "train" if number % 2 else "validation"
            writer.add(entry)
    overlap([RIGID, BILAYER / "perturbed-4x4.h5"], folder / "tables.h5", smoothing=1e-16)
    section = ElectronTraining(
        channels=[8, 6, 4],
        edge_channels=[6, 4],
        head_channels=[8, 6, 4],
        head_unnatural=[0, 4],
        radial_hidden=[8],
        n_radial=8,
        steps=5,
        warmup_steps=1,
        validation_every=5,
    )
    out, tables = folder / "electron.pt", folder / "tables.h5"
    train("electron", section, [folder / "rigid.h5"], out, tables=tables, device="cpu")
    return out

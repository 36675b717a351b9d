"""What a restart file is bound to."""

from __future__ import annotations

import types
from typing import Any

import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.training.fit import fit
from mlepi_core.training.loop import TrainingPaths
from mlepi_core.training.phonon import prepare_phonon
from tests.training.test_phonon_training import SECTION, entries


def prepared(structures: int = 2, **changes: Any):
    section = types.SimpleNamespace(**(vars(SECTION) | {"steps": 4, "validation_every": 2} | changes))
    return prepare_phonon(entries(structures), entries(1, first=9), section, device="cpu")


@pytest.mark.parametrize(
    "changes",
    [
        {"patience": 3},
        {"learning_rate": 0.03},
        {"batch_size": 2},
        {"seed": 2},
        {"steps": 5},
        {"structures": 3},
    ],
    ids=str,
)
def test_the_digest_covers_settings_and_data(changes: dict[str, Any]) -> None:
    assert prepared().digest == prepared().digest
    assert prepared(**changes).digest != prepared().digest


def test_where_logs_go_is_no_setting(tmp_path) -> None:
    """The last step is done: a second training, with another history file, takes it from the restart file."""
    restart, first, second = (tmp_path / name for name in ("restart.pt", "first.csv", "second.csv"))
    fit(prepared(), tmp_path / "m.pt", TrainingPaths(restart, first))
    assert not restart.exists()
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        fit(prepared(), tmp_path / "folder.pt", TrainingPaths(restart, first))
    assert restart.exists()
    again = fit(prepared(), tmp_path / "m.pt", TrainingPaths(restart, second))
    assert second.read_text() == first.read_text()
    assert again.steps == 4

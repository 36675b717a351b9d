"""A training that is killed outright goes on from its restart file to the same history."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mlepi_core.nn.model_file import load_model
from mlepi_core.training.checkpoint import TrainingLock

ROOT = Path(__file__).parents[2]
CODE = """
import sys, types, torch
torch.set_num_threads(1)
from tests.training.test_phonon_training import SECTION, entries
from mlepi_core.training.phonon import train_phonon
changes = {"steps": 120, "validation_every": 10, "checkpoint_every": 15}
section = types.SimpleNamespace(**(vars(SECTION) | changes))
folder = sys.argv[1]
train_phonon(entries(2), entries(1, first=9), section, f"{folder}/m.pt", restart=f"{folder}/restart.pt",
             history_csv=f"{folder}/h.csv", device="cpu")
"""


def started(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", CODE, str(folder)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
def test_killed_training_resumes_to_the_same_history(tmp_path):
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    killed.mkdir()
    undisturbed.mkdir()
    process = started(killed)
    deadline = time.monotonic() + 120
    while not (killed / "restart.pt").exists() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "m.pt").exists()
    assert (killed / "restart.pt.lock").exists()
    state = torch.load(killed / "restart.pt", weights_only=True)
    assert 0 < state["step"] < 120
    assert started(killed).wait() == 0
    assert started(undisturbed).wait() == 0
    resumed, whole = load_model(killed / "m.pt"), load_model(undisturbed / "m.pt")
    assert [{**row, "wall_s": 0} for row in resumed.history] == [
        {**row, "wall_s": 0} for row in whole.history
    ]
    for key, value in whole.state_dict.items():
        assert torch.equal(resumed.state_dict[key], value)
    assert not (killed / "restart.pt").exists()
    with TrainingLock(killed / "restart.pt.lock"):
        pass

"""Several processes train one network as one process does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mlepi_core.nn.model_file import ModelFile, load_model
from mlepi_core.training.batches import MixedBatches
from mlepi_core.training.parallel import joined, present, shares

ROOT = Path(__file__).parents[2]
LAUNCHER = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")


def run(folder: Path, processes: int, batch_size: int, die_at: int = 0) -> int:
    folder.mkdir(exist_ok=True)
    launcher = (*LAUNCHER, str(processes)) if processes > 1 else ()
    case = ROOT / "tests" / "training" / "parallel_case.py"
    return subprocess.run(
        [sys.executable, *launcher, str(case), str(folder), str(batch_size), str(die_at)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=False,
    ).returncode


def assert_same(model: ModelFile, other: ModelFile) -> None:
    for row, expected in zip(model.history, other.history, strict=True):
        assert {**row, "wall_s": 0} == pytest.approx({**expected, "wall_s": 0}, rel=1e-6)
    for key, value in other.state_dict.items():
        torch.testing.assert_close(model.state_dict[key], value, rtol=1e-6, atol=1e-9)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    folder = tmp_path_factory.mktemp("alone")
    assert run(folder, 1, batch_size=3) == 0
    return load_model(folder / "m.pt")


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_same_batches(alone: ModelFile, tmp_path: Path) -> None:
    """Three large and two small structures per step: the shares differ in structures and in atoms."""
    assert run(tmp_path, 2, batch_size=3) == 0
    assert_same(load_model(tmp_path / "m.pt"), alone)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not (tmp_path / "restart.pt").exists()
    assert not (tmp_path / "restart.pt.lock").exists()


@pytest.mark.slow
def test_a_killed_parallel_training_is_resumed_by_one_process(alone: ModelFile, tmp_path: Path) -> None:
    assert run(tmp_path, 2, batch_size=3, die_at=6) != 0
    assert torch.load(tmp_path / "restart.pt", weights_only=True)["step"] == 4
    assert not (tmp_path / "m.pt").exists()
    assert run(tmp_path, 1, batch_size=3) == 0
    assert_same(load_model(tmp_path / "m.pt"), alone)


@pytest.mark.parametrize("of", [1, 2, 3, 7])
def test_shares_make_up_the_batch(of: int) -> None:
    batches = MixedBatches([16, 4, 16, 4, 4, 16], batch_size=2, small_per_step=2, seed=3)
    for step in range(5):
        parts = [batches.share(step, rank, of) for rank in range(of)]
        assert sorted(k for part in parts for k in part) == sorted(batches.members(step))
        assert batches.atoms(step) == 40
    if of == 1:
        assert parts == [batches.members(4)]


def test_shares_are_balanced() -> None:
    assert shares([4, 16, 4, 4, 4], 2) == [[1], [0, 2, 3, 4]]
    assert shares([8], 2) == [[0], []]


def test_one_process_is_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with joined("cpu") as processes:
        assert processes == present()
        assert processes.first
        assert processes.from_first(3) == 3

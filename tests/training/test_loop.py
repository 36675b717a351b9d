"""The training loop: schedule, best model, resuming, locks, divergence."""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import json
import logging
import math
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from mlepi_core.artefacts import InputError, MlepiError
from mlepi_core.randomness import stream
from mlepi_core.training.checkpoint import RestartFile, TrainingLock, source_digest
from mlepi_core.training.ema import ExponentialAverage
from mlepi_core.training.loop import LoopSettings, Trainer, TrainingPaths, learning_rate
from mlepi_core.training.rate_range import rate_range, suggested_rate


class LineTask:
    """Least squares of a line; can be made to die or to diverge at a step."""

    name = "train_line"
    validation_metric = "error"

    def __init__(self, die_at: int | None = None, diverge_at: int | None = None) -> None:
        torch.manual_seed(3)
        self.model = nn.Linear(2, 1)
        self.die_at, self.diverge_at = die_at, diverge_at

    def atoms(self, step):
        return 8

    def batch(self, step, rank=0, of=1):
        if step == self.die_at:
            raise KeyboardInterrupt
        x = torch.as_tensor(stream(0, "line", step).normal(size=(8, 2)), dtype=torch.float32)
        scale = math.nan if step == self.diverge_at else 1.0
        return x, scale * (x @ torch.tensor([[2.0], [-1.0]]) + 0.5)

    def loss(self, batch):
        return (self.model(batch[0]) - batch[1]).square().mean()

    def validate(self):
        x, y = self.batch(10_000)
        return {"error": float((self.model(x) - y).detach().abs().mean())}

    def describe(self, metrics):
        return f"val {metrics['error']:.3f}"


SETTINGS = LoopSettings(steps=40, learning_rate=0.1, validation_every=5, checkpoint_every=10)


def without_time(history):
    return [{key: value for key, value in row.items() if key != "wall_s"} for row in history]


def test_learning_rate_rises_and_falls():
    settings = LoopSettings(steps=110, learning_rate=1.0, final_learning_rate=0.01, warmup_steps=10)
    rates = [learning_rate(step, settings) for step in range(110)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.01)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    for schedule in ("linear", "exponential"):
        other = LoopSettings(steps=110, learning_rate=1.0, final_learning_rate=0.01, schedule=schedule)
        assert learning_rate(109, other) == pytest.approx(0.01)
    with pytest.raises(InputError, match="schedule"):
        LoopSettings(steps=1, schedule="step")


def test_training_learns_and_keeps_the_best(tmp_path):
    task = LineTask()
    result = Trainer(task, SETTINGS, TrainingPaths(history=tmp_path / "h.csv")).run()
    assert [row["step"] for row in result.history] == list(range(5, 41, 5))
    assert result.best_value == min(row["error"] for row in result.history)
    assert result.best_value < result.history[0]["error"]
    task.model.load_state_dict(result.state_dict)
    assert task.validate()["error"] == pytest.approx(result.best_value)
    with open(tmp_path / "h.csv", encoding="utf-8") as handle:
        assert len(list(csv.DictReader(handle))) == 8


def test_resuming_behind_the_last_step_writes_the_history_again(tmp_path):
    paths = TrainingPaths(tmp_path / "restart.pt", tmp_path / "h.csv")
    first = Trainer(LineTask(), SETTINGS, paths, digest="a").run()
    text = (tmp_path / "h.csv").read_text()
    (tmp_path / "h.csv").unlink()
    again = Trainer(LineTask(die_at=0), SETTINGS, paths, digest="a").run()
    assert again.history == first.history
    assert (tmp_path / "h.csv").read_text() == text


@pytest.mark.parametrize("die_at", [3, 10, 27, 39])
def test_resumed_history_equals_the_undisturbed_one(tmp_path, die_at):
    paths = TrainingPaths(tmp_path / "restart.pt", tmp_path / "h.csv")
    with pytest.raises(KeyboardInterrupt):
        Trainer(LineTask(die_at), SETTINGS, paths, digest="a").run()
    resumed = Trainer(LineTask(), SETTINGS, paths, digest="a").run()
    fresh = Trainer(LineTask(), SETTINGS).run()
    assert without_time(resumed.history) == without_time(fresh.history)
    assert resumed.best_step == fresh.best_step
    for key, value in fresh.state_dict.items():
        assert torch.equal(resumed.state_dict[key], value)


def test_other_digest_starts_afresh(tmp_path, caplog):
    path = tmp_path / "restart.pt"
    RestartFile(path, "old").save({"step": 7})
    assert RestartFile(path, "old").load()["step"] == 7
    with caplog.at_level(logging.WARNING):
        assert RestartFile(path, "new").load() is None
    assert "starts afresh" in caplog.text
    path.write_bytes(path.read_bytes()[:100])
    assert RestartFile(path, "old").load() is None


def test_second_trainer_is_refused_with_the_pid(tmp_path):
    """A living process holds the lock: refused. Once it is killed, its lock is taken over."""
    lock = tmp_path / "restart.pt.lock"
    code = (
        "import sys, time; from mlepi_core.training.checkpoint import TrainingLock\n"
        "with TrainingLock(sys.argv[1]): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(lock)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(MlepiError, match=str(holder.pid)), TrainingLock(lock):
            pass
    finally:
        holder.kill()
        holder.wait()
    with TrainingLock(lock):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
    assert not lock.exists()


def test_lock_of_a_recycled_pid_is_taken_over(tmp_path):
    lock = tmp_path / "lock"
    with TrainingLock(lock):
        holder = json.loads(lock.read_text())
    lock.write_text(json.dumps(holder | {"started": "1"}))
    with TrainingLock(lock):
        pass


def test_lock_of_another_machine_expires(tmp_path):
    lock = tmp_path / "lock"
    lock.write_text(json.dumps({"pid": 1, "host": "elsewhere", "started": "1"}))
    with pytest.raises(MlepiError, match="elsewhere"), TrainingLock(lock):
        pass
    os.utime(lock, (0, 0))
    with TrainingLock(lock):
        pass


def test_patience_ends_the_training_and_keeps_the_best(tmp_path, caplog):
    """The error of a line that is learned with a huge rate gets worse sooner or later."""
    settings = LoopSettings(
        steps=400, learning_rate=0.3, schedule="constant", ema_decay=0.0, validation_every=2, patience=5
    )
    paths = TrainingPaths(tmp_path / "restart.pt", tmp_path / "h.csv")
    task = LineTask()
    with caplog.at_level(logging.INFO):
        result = Trainer(task, settings, paths, digest="a").run()
    errors = [row["error"] for row in result.history]
    assert result.steps == result.history[-1]["step"] < 400
    assert result.best_step == result.history[-6]["step"]
    assert result.best_value == min(errors) == errors[-6]
    assert [row["patience_left"] for row in result.history[-6:]] == [5, 4, 3, 2, 1, 0]
    assert f"stops early, no better than at step {result.best_step}" in caplog.text
    again = Trainer(LineTask(die_at=0), settings, paths, digest="a").run()
    assert again.history == result.history
    assert again.steps == result.steps
    without = Trainer(LineTask(), dataclasses.replace(settings, patience=None)).run()
    assert without.steps == 400
    assert "patience_left" not in without.history[0]


@pytest.mark.parametrize("die_at", [11, 30])
def test_patience_goes_on_after_an_interruption(tmp_path, die_at):
    settings = LoopSettings(
        steps=400, learning_rate=0.3, schedule="constant", ema_decay=0.0, validation_every=2, patience=5,
        checkpoint_every=7,
    )  # fmt: skip
    paths = TrainingPaths(tmp_path / "restart.pt")
    with pytest.raises(KeyboardInterrupt):
        Trainer(LineTask(die_at), settings, paths, digest="a").run()
    resumed = Trainer(LineTask(), settings, paths, digest="a").run()
    assert without_time(resumed.history) == without_time(Trainer(LineTask(), settings).run().history)


def test_progress_tells_loss_error_and_throughput():
    texts = []
    Trainer(LineTask(), SETTINGS, progress=lambda done, total, text: texts.append((done, total, text))).run()
    assert [done for done, _, _ in texts] == list(range(1, 41))
    assert {total for _, total, _ in texts} == {40}
    assert re.fullmatch(r"loss [\d.e+-]+, [\d.e+]+ atoms/s", texts[0][2])
    assert re.fullmatch(r"loss [\d.e+-]+, val \d+\.\d{3}, [\d.e+]+ atoms/s", texts[-1][2])


def test_rate_range_finds_rates_that_learn():
    points = rate_range(LineTask(), SETTINGS, 1e-6, 1e3, 120)
    assert points[0].lr == pytest.approx(1e-6)
    assert all(b.lr > a.lr for a, b in pairwise(points))
    assert len(points) < 120, "ends when the loss diverges"
    assert points[-1].smoothed_loss > 4 * min(point.smoothed_loss for point in points)
    rate = suggested_rate(points)
    assert 1e-3 < rate < 3.0
    assert suggested_rate(rate_range(LineTask(), SETTINGS, 1e3, 1e6, 20)) is None
    for low, high, steps in ((1.0, 1.0, 50), (0.0, 1.0, 50), (1e-3, 1.0, 5)):
        with pytest.raises(InputError, match="--lr-"):
            rate_range(LineTask(), SETTINGS, low, high, steps)


def test_event_files_go_on_where_the_training_does(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    paths = TrainingPaths(tmp_path / "restart.pt", tensorboard=tmp_path / "events")
    with pytest.raises(KeyboardInterrupt):
        Trainer(LineTask(27), SETTINGS, paths, digest="a").run()
    result = Trainer(LineTask(), SETTINGS, paths, digest="a").run()
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == list(range(1, 41))
    errors = [event.value for event in events.Scalars("validation/error")]
    assert errors == pytest.approx([row["error"] for row in result.history], rel=1e-6)


def test_without_tensorboard_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"tensorboard is not installed.*pip install"):
        Trainer(LineTask(), SETTINGS, TrainingPaths(tensorboard=tmp_path / "events")).run()
    assert not (tmp_path / "events").exists()


def test_divergence_is_one_clear_error(tmp_path):
    with pytest.raises(MlepiError, match=r"loss is nan at step 12.*learning_rate"):
        Trainer(LineTask(diverge_at=12), SETTINGS).run()


def test_average_follows_and_is_put_back():
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    average = ExponentialAverage(model, 0.9)
    for _ in range(300):
        with torch.no_grad():
            model.weight.fill_(1.0)
        average.update(model)
    with torch.no_grad():
        model.weight.fill_(5.0)
    with average.applied(model):
        assert model.weight.item() == pytest.approx(1.0, abs=1e-6)
    assert model.weight.item() == 5.0


def test_source_digest_sees_the_code():
    assert source_digest(["nn"]) != source_digest(["training"])
    assert source_digest() == source_digest()

"""Exponents, ratios, memory and processes of the benchmarks."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.benchmark.machine import peer_python
from mlepi_core.benchmark.measure import Measurement, growth_exponent, in_turns
from mlepi_core.benchmark.memory import peak_growth
from mlepi_core.benchmark.protocol import Worker

MIB = 2**20
SLEEPER = """
import time


class Sleeper:
    actions = ("nap",)

    def __init__(self, spec):
        self.seconds = spec["seconds"]
        print("libraries print when they are loaded")

    def info(self):
        return {"seconds": self.seconds}

    def synchronize(self):
        pass

    def device_peak(self, action):
        return None

    def layers(self):
        return {"only": self.seconds}

    def nap(self):
        time.sleep(self.seconds)


make = Sleeper
"""


@pytest.fixture
def sleepers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a module with a subject that sleeps."""
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "sleeper"


def test_exponent_of_a_power_law() -> None:
    sizes = np.array([64.0, 256.0, 1024.0])
    assert growth_exponent(sizes, 3e-4 * sizes**1.25) == pytest.approx(1.25)
    assert growth_exponent([64], [1.0]) is None


def test_a_ratio_survives_rounds_in_which_the_machine_was_slow() -> None:
    seconds = {"a": [4.0, 40.0, 4.0, 4.0, 4.4], "b": [1.0, 10.0, 1.0, 5.0, 1.0]}
    measurement = Measurement(seconds, seconds)
    assert measurement.ratio("a", "b") == pytest.approx(4.0)
    assert measurement.cpu_ratio("b", "a") == pytest.approx(0.25)


def test_memory_is_the_peak_above_the_start() -> None:
    def allocate() -> None:
        np.ones(64 * MIB // 8)

    for _ in range(2):
        growth = peak_growth(allocate)["growth"]
        assert 60 * MIB < growth < 80 * MIB


def test_subjects_take_turns(sleepers: str) -> None:
    specs = {"long": {"seconds": 0.04}, "short": {"seconds": 0.01}}
    workers = {name: Worker(sleepers, spec, threads=1) for name, spec in specs.items()}
    try:
        assert workers["long"].info == {"seconds": 0.04}
        assert workers["long"].layers() == {"only": 0.04}
        measurement = in_turns(workers, "nap", rounds=3, warm_up=1)
    finally:
        for worker in workers.values():
            worker.close()
    assert all(len(seconds) == 3 for seconds in measurement.seconds.values())
    assert min(measurement.seconds["long"]) >= 0.04
    assert max(measurement.cpu_seconds["long"]) < 0.04
    assert measurement.ratio("long", "short") > 1.5
    assert set(measurement.to_dict()["short"]) >= {"median_s", "least_s", "peak_growth_bytes"}


def test_a_failure_in_a_process_is_one_line(sleepers: str) -> None:
    with pytest.raises(InputError, match="KeyError: 'seconds'"):
        Worker(sleepers, {}, threads=1)
    with (
        Worker(sleepers, {"seconds": 0.0}, threads=1) as worker,
        pytest.raises(InputError, match="'run' is not measured"),
    ):
        worker.time("run")


def test_environment_of_the_peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert peer_python(None) is None
    with pytest.raises(InputError, match="make peers"):
        peer_python("none")
    python = tmp_path / ".venv-peers" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    assert peer_python(None) == python

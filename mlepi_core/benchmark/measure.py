"""Turns between subjects, and what is made of their times."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlepi_core.benchmark.protocol import Worker

WARM_UP = 4
"""Runs before the timed ones: TorchScript settles after about four."""


@dataclass
class Measurement:
    """Seconds (rounds,) of every subject, in the order of the rounds: wall and processor time; bytes."""

    seconds: dict[str, list[float]]
    cpu_seconds: dict[str, list[float]]
    memory: dict[str, dict[str, Any]] = field(default_factory=dict)

    def median(self, subject: str) -> float:
        """Median time of a subject, s."""
        return statistics.median(self.seconds[subject])

    def ratio(self, slow: str, fast: str) -> float:
        """Median over the rounds of the ratio of two times: what slows a whole round down cancels."""
        return _median_ratio(self.seconds[slow], self.seconds[fast])

    def cpu_ratio(self, slow: str, fast: str) -> float:
        """The same of processor times, which hardly depend on other work of the machine."""
        return _median_ratio(self.cpu_seconds[slow], self.cpu_seconds[fast])

    def growth_ratio(self, subject: str, reference: str) -> float:
        """Peak memory of a subject over that of another, both above the start."""
        return self.memory[subject]["growth"] / max(self.memory[reference]["growth"], 1)

    def to_dict(self) -> dict[str, Any]:
        """Times in s (median, least, all rounds) and memory in bytes by subject."""
        return {
            name: {
                "median_s": self.median(name),
                "least_s": min(seconds),
                "cpu_median_s": statistics.median(self.cpu_seconds[name]),
                "rounds_s": seconds,
                "peak_growth_bytes": self.memory[name]["growth"],
                "process_peak_bytes": self.memory[name]["peak"],
            }
            for name, seconds in self.seconds.items()
        }


def _median_ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def in_turns(workers: Mapping[str, Worker], action: str, rounds: int, warm_up: int = WARM_UP) -> Measurement:
    """Time an action of all subjects `rounds` times in turns, after `warm_up` runs, then take its memory.

    The order is turned round from one round to the next.
    """
    result = Measurement({name: [] for name in workers}, {name: [] for name in workers})
    for worker in workers.values():
        for _ in range(warm_up):
            worker.time(action)
    names = list(workers)
    for round_ in range(rounds):
        for name in names if round_ % 2 == 0 else reversed(names):
            wall, cpu = workers[name].time(action)
            result.seconds[name].append(wall)
            result.cpu_seconds[name].append(cpu)
    for name, worker in workers.items():
        result.memory[name] = worker.memory(action)
    return result


def start(
    stack: ExitStack, specs: Mapping[str, tuple[str, Mapping[str, Any], str]], threads: int
) -> dict[str, Worker]:
    """Workers of {name: (module, specification, interpreter)}, closed with `stack`."""
    return {
        name: stack.enter_context(Worker(module, spec, threads, python))
        for name, (module, spec, python) in specs.items()
    }


def growth_exponent(sizes: Sequence[float], values: Sequence[float]) -> float | None:
    """Slope of log value against log size by least squares; None for fewer than two sizes."""
    if len(sizes) < 2:
        return None
    slope, _ = np.polyfit(np.log(sizes), np.log(values), 1)
    return float(slope)

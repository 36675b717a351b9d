"""Progress lines under a workflow."""

from __future__ import annotations

import io

import pytest

from mlepi_core.progress import Rate, lines


def test_lines_are_prefixed_and_end_with_the_last_step() -> None:
    stream = io.StringIO()
    progress = lines("train_electron", stream, every_s=0.0)
    for step in range(1, 4):
        progress(step, 3, "val 14.2 meV")
    written = stream.getvalue().splitlines()
    assert written[-1] == "[train_electron] step 3/3, val 14.2 meV"


def test_rate_counts_from_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    rate = Rate("samples")
    now = 130.0
    assert rate.text(29) == "58 samples/min"


def test_short_work_says_nothing() -> None:
    stream = io.StringIO()
    progress = lines("x", stream, every_s=1000.0)
    for step in range(1, 11):
        progress(step, 10)
    assert stream.getvalue() == ""


def test_time_left_is_shown() -> None:
    stream = io.StringIO()
    progress = lines("x", stream, every_s=0.0)
    progress(0, 10)
    progress(5, 10)
    assert stream.getvalue().splitlines()[-1].endswith("s left")

"""Numbers as text."""

from __future__ import annotations

import math

import pytest

from mlepi_core.analysis.numbers import counted, duration, fixed, joined, significant, with_error


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (23.44, 3, "23.4"),
        (1951.2, 3, "1951"),
        (-0.004321, 2, "−0.0043"),
        (6.1e-7, 3, "6.10e−07"),
        (0.0, 3, "0"),
        (math.nan, 3, "–"),
        (None, 3, "–"),
    ],
)
def test_significant(value: float | None, digits: int, text: str) -> None:
    assert significant(value, digits) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.98123, 0.0034, "0.981 ± 0.003"),
        (0.98123, 0.0021, "0.9812 ± 0.0021"),
        (0.98123, None, "0.9812"),
        (0.98123, math.nan, "0.9812"),
        (-1.874, 0.31, "−1.9 ± 0.3"),
        (123.4, 14.0, "123 ± 14"),
        (None, 0.1, "–"),
    ],
)
def test_with_error(value: float | None, error: float | None, text: str) -> None:
    assert with_error(value, error).replace("\N{NO-BREAK SPACE}", " ") == text


def test_words() -> None:
    assert fixed(-0.001, 2) == "0.00"
    assert joined(["a", "b", "c"]) == "a, b and c"
    assert joined([]) == "–"
    assert (counted(1, "mode"), counted(3, "mode")) == ("1 mode", "3 modes")
    assert (duration(0.41), duration(252), duration(7200)) == ("0.41 s", "4.2 min", "2.0 h")

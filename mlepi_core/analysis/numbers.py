"""Numbers as text: values with their errors, counts, lists."""

from __future__ import annotations

import math
from collections.abc import Iterable

MISSING = "–"


def significant(value: float | None, digits: int = 3) -> str:
    """`value` with so many significant digits and no exponent for common sizes; a dash if there is none."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    if not -5 < exponent < 7:
        return f"{value:.{digits - 1}e}".replace("-", "−")
    return fixed(value, max(0, digits - 1 - exponent))


def fixed(value: float | None, decimals: int) -> str:
    """`value` with so many decimals and a true minus sign; a dash if there is none."""
    if value is None or not math.isfinite(value):
        return MISSING
    text = f"{value:.{decimals}f}"
    return text.replace("-", "−") if float(text) else text.replace("-", "")


def with_error(value: float | None, error: float | None, decimals: int = 4) -> str:
    """Value ± error, both with the decimals that two digits of the error need (one if it begins with 3–9).

    Without an error the value has `decimals` decimals.
    """
    if value is None or not math.isfinite(value):
        return MISSING
    if error is None or not math.isfinite(error) or error <= 0:
        return fixed(value, decimals)
    exponent = math.floor(math.log10(error))
    places = -exponent + (1 if error / 10**exponent < 3 else 0)
    places = max(0, places)
    return f"{fixed(value, places)}\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{fixed(error, places)}"


def joined(words: Iterable[str]) -> str:
    """``a, b and c``."""
    items = list(words)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else MISSING


def counted(count: int, noun: str) -> str:
    """``1 mode``, ``3 modes``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def duration(seconds: float) -> str:
    """Seconds in the unit that people would use."""
    if seconds < 90:
        return f"{significant(seconds, 2)} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

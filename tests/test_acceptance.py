"""Every acceptance test of the physics has its number in the first lines of the module that holds it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
MISSING = {8}
"""Electron-phonon matrix elements, which the project does not compute yet."""


def numbers_of(path: Path) -> set[int]:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    found = re.findall(r"[Aa]cceptance tests? (\d+(?:(?:, | and )\d+)*)", docstring)
    return {int(number) for text in found for number in re.findall(r"\d+", text)}


def test_every_number_is_there() -> None:
    known = set().union(*(numbers_of(path) for path in TESTS.rglob("test_*.py")))
    assert known == set(range(1, 15)) - MISSING

"""Guards of the house: rooms, light imports, thin scripts, no machine paths."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "mlepi_core"
SCRIPTS = ROOT / "workflow_scripts"

ROOMS = (
    "artefacts",
    "provenance",
    "progress",
    "randomness",
    "config",
    "orbitals",
    "structures",
    "formats",
    "labels",
    "basis",
    "graph",
    "nn",
    "training",
    "inference",
    "phonons",
    "sampling",
    "electrons",
    "analysis",
    "benchmark",
    "stages",
    "cli",
)
"""From the ground floor up: a room imports only from those before it."""

HEAVY = ("torch", "e3nn", "ase", "phonopy", "scipy", "matplotlib", "pandas")
"""What everything that the Snakefile loads must leave out: each costs seconds in every job."""

SCRIPT_LINES = 40
MODULE_LINES = 600


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    """Room of a module: first part of its path inside the package; "" for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


def imported_rooms(tree: ast.Module, path: Path) -> Iterator[tuple[int, str]]:
    """Line and room of every import from the package, also inside functions and type checks."""
    package = ["mlepi_core", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{prefix}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "mlepi_core" and len(parts) > 1 and is_module(PACKAGE / parts[1]):
                yield node.lineno, parts[1]


def is_module(path: Path) -> bool:
    return path.is_dir() or path.with_suffix(".py").is_file()


def upward_steps(source: str, path: Path) -> list[str]:
    room = room_of(path)
    floor = ROOMS.index(room) if room else -1
    return [
        f"{path.relative_to(ROOT)}:{line} imports {other}"
        for line, other in imported_rooms(ast.parse(source), path)
        if other != room and ROOMS.index(other) > floor
    ]


def text_files() -> list[Path]:
    """Text files of the repository: those that git knows or would add, and without git all but builds."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listing.returncode == 0:
        candidates = [ROOT / name for name in listing.stdout.decode().split("\0") if name]
    else:
        skipped = {".venv", ".git", ".snakemake", "results", "build", ".hypothesis"}
        candidates = [p for p in ROOT.rglob("*") if not skipped & set(p.relative_to(ROOT).parts)]
    suffixes = {".py", ".smk", ".yaml", ".yml", ".md", ".rst", ".toml", ".cff", ".txt", ".json", ".sh", ""}
    return sorted(p for p in candidates if p.is_file() and not p.is_symlink() and p.suffix in suffixes)


def test_every_room_has_its_floor() -> None:
    found = {room_of(path) for path in modules()} - {""}
    assert found <= set(ROOMS), f"rooms without a place in the order: {sorted(found - set(ROOMS))}"


def test_rooms_import_only_from_the_floors_below() -> None:
    steps = [step for path in modules() for step in upward_steps(path.read_text(encoding="utf-8"), path)]
    assert not steps, "\n".join(steps)


@pytest.mark.parametrize(
    "source",
    [
        "from mlepi_core.nn import electron",
        "from mlepi_core import stages",
        "import mlepi_core.training.loop",
        "from ..electrons.bands import bands",
        "def f():\n    from mlepi_core.cli import main",
    ],
)
def test_the_guard_sees_an_upward_import(source: str) -> None:
    assert upward_steps(source, PACKAGE / "structures" / "layers.py")


def test_the_guard_accepts_downward_imports() -> None:
    source = "import numpy\nfrom mlepi_core.artefacts import InputError\nfrom . import lattice\n"
    assert not upward_steps(source, PACKAGE / "structures" / "layers.py")


def test_every_folder_is_a_package() -> None:
    """Without it an installed copy lacks the folder, while the source tree works."""
    missing = {path.parent for path in modules() if not (path.parent / "__init__.py").is_file()}
    assert not missing


def test_the_library_knows_no_workflow_engine() -> None:
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "snakemake" for name in names), path


@pytest.mark.parametrize(
    "module",
    [
        "mlepi_core",
        "mlepi_core.artefacts",
        "mlepi_core.randomness",
        "mlepi_core.config",
        "mlepi_core.config.cost",
        "mlepi_core.provenance",
        "mlepi_core.progress",
        "mlepi_core.orbitals",
        "mlepi_core.cli",
        "mlepi_core.stages",
    ],
)
def test_light_modules_load_nothing_heavy(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.fail(f"{module} does not exist")
    code = f"import sys, {module}; print(*sorted({{*sys.modules}} & {set(HEAVY)!r}))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == []


def test_every_stage_module_is_light_until_it_is_called() -> None:
    names = [f"mlepi_core.stages.{path.stem}" for path in sorted((PACKAGE / "stages").glob("*.py"))]
    heavy = {"torch", "e3nn", "ase", "phonopy"}
    code = (
        f"import sys\nfor name in {names!r}: __import__(name)\nprint(*sorted({{*sys.modules}} & {heavy!r}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == []


def test_scripts_are_thin_and_read_no_configuration_behind_the_back_of_params() -> None:
    scripts = sorted(SCRIPTS.glob("*.py"))
    assert scripts
    for path in scripts:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"snakemake\s*\.\s*config\b", text), f"{path.name} reads snakemake.config"
        if not path.name.startswith("_"):
            assert len(text.splitlines()) <= SCRIPT_LINES, path.name


def test_modules_stay_readable() -> None:
    long = [path.name for path in modules() if len(path.read_text().splitlines()) > MODULE_LINES]
    assert not long, f"split these modules: {long}"


def test_no_file_names_a_path_of_one_machine() -> None:
    roots = "|".join(("work", "home", "root", "Users", "tmp", "scratch", "mnt"))
    pattern = re.compile(rf"(?<![\w.\-~/:}}\])])/(?:{roots})/[\w.]")
    found = []
    for path in text_files():
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="ignore").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert not found, "\n".join(found)

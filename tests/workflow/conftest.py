"""A small copy of the repository whose run is finished, made without computing anything.

Files that rules would write are filled with their own names and declared up to date with
``snakemake --touch``, which records parameters, code and checksums as a real run does.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.workflow.tree import BUNDLES, MODELS, PARTS, Tree, write_sums


@pytest.fixture(scope="session")
def fresh_tree(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The workflow with stand-ins for the label files, nothing run yet. Read only."""
    path = tmp_path_factory.mktemp("fresh") / "mlepi"
    path.mkdir()
    for part in PARTS:
        source = root / part
        if source.is_dir():
            shutil.copytree(source, path / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, path / part)
    (path / "slurm").symlink_to("profiles/slurm")
    for folder in BUNDLES:
        (path / folder).mkdir(parents=True)
        for file in (root / folder).iterdir():
            (path / folder / file.name).write_text(f"stand-in for {file.name}\n", encoding="utf-8")
        write_sums(path / folder)
    (path / MODELS).mkdir(parents=True)
    for kind in ("phonon", "electron"):
        (path / MODELS / f"{kind}.pt").write_text(f"stand-in for the {kind} model\n", encoding="utf-8")
    write_sums(path / MODELS)
    return Tree(path)


@pytest.fixture(scope="session")
def finished_tree(fresh_tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The same after a complete run. Read only."""
    path = tmp_path_factory.mktemp("finished") / "mlepi"
    shutil.copytree(fresh_tree.path, path, symlinks=True)
    tree = Tree(path)
    tree.finish()
    return tree


@pytest.fixture
def tree(finished_tree: Tree, tmp_path: Path) -> Tree:
    """A copy of the finished run to change."""
    shutil.copytree(finished_tree.path, tmp_path / "mlepi", symlinks=True)
    return Tree(tmp_path / "mlepi")

"""Code digests: what changes them and what does not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.provenance import code_digest, git_state, imported_modules, library_versions

PACKAGE = {
    "__init__.py": "",
    "provenance.py": None,
    "artefacts.py": None,
    "base.py": '"""Base."""\n\n\ndef one() -> int:\n    """One."""\n    return 1\n',
    "lazy/__init__.py": "_HOME = {'two': 'first', 'three': 'second'}\n\n\ndef __getattr__(name):\n    ...\n",
    "lazy/first.py": "def two():\n    return 2\n",
    "lazy/second.py": "def three():\n    return 3\n",
    "eager/__init__.py": "from mlepi_core.eager.phonon import four\nfrom .electron import five\n",
    "eager/phonon.py": "def four():\n    from mlepi_core.base import one\n    return 4 * one()\n",
    "eager/electron.py": "def five():\n    return 5\n",
    "stage.py": (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n"
        "    from mlepi_core.lazy import three\n"
        "def run():\n"
        "    from mlepi_core.eager import four, five\n"
        "    from mlepi_core.lazy import two\n"
    ),
}


class Copy:
    """A small package under the real name, digested in a process of its own."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder = folder
        for name, text in PACKAGE.items():
            path = folder / "mlepi_core" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                shutil.copy2(root / "mlepi_core" / name, path)
            else:
                path.write_text(text)

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / "mlepi_core" / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def digest(self, without: str = "") -> str:
        call = f"code_digest('mlepi_core.stage', without={without!r})"
        code = f"from mlepi_core.provenance import code_digest; print({call})"
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=self.folder,
            env={"PYTHONPATH": str(self.folder)},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Copy:
    return Copy(root, tmp_path)


def test_comments_layout_and_docstrings_do_not_matter(copy: Copy) -> None:
    before = copy.digest()
    copy.edit("base.py", "One.", "The number one.")
    copy.edit("base.py", "    return 1", "\n    # remark\n    return (1)")
    assert copy.digest() == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("base.py", "return 1", "return 7"),
        ("eager/phonon.py", "4", "8"),
        ("eager/electron.py", "5", "6"),
        ("lazy/first.py", "2", "9"),
    ],
)
def test_code_behind_any_import_matters(copy: Copy, name: str, old: str, new: str) -> None:
    before = copy.digest()
    copy.edit(name, old, new)
    assert copy.digest() != before


def test_unused_neighbours_do_not_matter(copy: Copy) -> None:
    before = copy.digest()
    copy.edit("lazy/second.py", "3", "30")
    copy.edit("lazy/__init__.py", "...", "raise AttributeError(name)")
    assert copy.digest() == before


def test_parts_can_be_left_out(copy: Copy) -> None:
    before = copy.digest("*.electron*")
    assert before != copy.digest()
    copy.edit("eager/electron.py", "5", "6")
    assert copy.digest("*.electron*") == before
    copy.edit("base.py", "return 1", "return 7")
    assert copy.digest("*.electron*") != before


def test_networks_are_separate() -> None:
    """The digest of one network's training follows nothing of the other."""
    for stage in ("train", "evaluate"):
        whole = code_digest(f"mlepi_core.stages.{stage}")
        phonon = code_digest(f"mlepi_core.stages.{stage}", without="*.electron*")
        electron = code_digest(f"mlepi_core.stages.{stage}", without="*.phonon*")
        assert len({whole, phonon, electron}) == 3


def test_unknown_module() -> None:
    with pytest.raises(InputError, match="no such module"):
        code_digest("mlepi_core.nothing")


def test_imports_of_a_lazy_package_are_resolved() -> None:
    assert "mlepi_core.phonons.storage" in imported_modules("mlepi_core.stages.phonons")


def test_versions_and_commit(tmp_path: Path) -> None:
    assert library_versions()["numpy"]
    assert git_state(tmp_path) == {"commit": None, "dirty": None}

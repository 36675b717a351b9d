"""Versions stand in one place: constraints.txt agrees with pyproject.toml, conda files and the citation."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from mlepi_core import __version__

CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib"}
ROOT = Path(__file__).resolve().parent.parent


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_constraints_are_exact_and_within_the_ranges() -> None:
    pinned = pins()
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in pinned.values())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["test"]
    for requirement in map(Requirement, wanted):
        assert requirement.name in pinned, f"{requirement.name} has no exact version"
        assert requirement.specifier.contains(Version(pinned[requirement.name])), requirement
        assert not any(part.operator == "==" for part in requirement.specifier), requirement


@pytest.mark.parametrize("path", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda path: path.stem)
def test_conda_environments_have_the_pinned_versions(path: Path) -> None:
    pinned = pins()
    found = 0
    for item in yaml.safe_load(path.read_text())["dependencies"]:
        for text in item["pip"] if isinstance(item, dict) else [item]:
            name, _, version = text.replace("==", "=").replace(" ", "").partition("=")
            if name in ("python", "pip"):
                continue
            assert pinned[CONDA_NAMES.get(name, name)] == version, text
            found += 1
    assert found > 5
    assert path.with_suffix(".post-deploy.sh").is_file()


def test_version_stands_once() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == __version__

"""A working folder with the workflow, and what snakemake plans in it."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

# What a clone needs for planning.
PARTS = ("Snakefile", "rules", "workflow_scripts", "config", "profiles", "envs", "mlepi_core")
LABELS = "resources/bilayer-graphene"
RAW = "resources/openmx-raw"
MODELS = "resources/models/bilayer-graphene"
BUNDLES = (LABELS, RAW, "resources/boron-nitride", "resources/molybdenum-disulfide")
RULE_LINE = re.compile(r"^(?:local)?(?:rule|checkpoint) (\w+):$", re.MULTILINE)


@dataclass
class Tree:
    """A working folder with the workflow."""

    path: Path

    def snakemake(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run snakemake there; the package comes from the folder's own sources."""
        environment = os.environ | {"PYTHONPATH": str(self.path), "PYTHONDONTWRITEBYTECODE": "1"}
        environment.pop("SNAKEMAKE_PROFILE", None)
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=self.path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout
        return done

    def planned(self, *arguments: str) -> dict[str, int]:
        """Number of planned jobs by rule, `all` left out; empty if there is nothing to be done."""
        text = self.snakemake("--profile", "profiles/local", "-n", *arguments).stdout
        jobs: dict[str, int] = {}
        for name in RULE_LINE.findall(text):
            jobs[name] = jobs.get(name, 0) + 1
        assert jobs or "Nothing to be done" in text, text
        jobs.pop("all", None)
        return jobs

    def finish(self) -> None:
        """Write every output that is not there, with its own name, and declare all of them up to date."""
        summary = self.snakemake("--summary").stdout
        outputs = [line.split("\t")[0] for line in summary.splitlines() if line.startswith("results/")]
        assert len(outputs) > 40, summary
        for name in outputs:
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_text(f"{name}\n", encoding="utf-8")
        self.snakemake("--profile", "profiles/local", "--touch", "--forceall")

    def configure(self, **sections: object) -> None:
        """Change values of config/config.yaml, sections merged key by key."""
        path = self.path / "config/config.yaml"
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        _merge(config, sections)
        path.write_text(yaml.safe_dump(config), encoding="utf-8")

    def replace_label(self, name: str, *, listed: bool = True, folder: str = LABELS) -> None:
        """Give a label file new content, and its line in the checksum list if `listed`."""
        (self.path / folder / name).write_text(f"new content of {name}\n", encoding="utf-8")
        if listed:
            write_sums(self.path / folder)


def _merge(target: dict, changes: dict) -> None:
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = value


def write_sums(folder: Path) -> None:
    """Write the checksum list of a folder."""
    files = sorted(path for path in folder.iterdir() if path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")

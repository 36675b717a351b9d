"""Stage `manifest`: what a run was made from and what it made."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mlepi_core import __version__
from mlepi_core.artefacts import digest, sha256_file, write_json
from mlepi_core.provenance import git_state, library_versions

if TYPE_CHECKING:
    from mlepi_core.config import Settings

SCHEMA, VERSION = "mlepi-manifest", 1


def manifest(
    folder: str | os.PathLike[str],
    files: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    settings: Settings,
    *,
    labels: Iterable[str | os.PathLike[str]],
) -> None:
    """Write the manifest of a run.

    Everything that two equal runs share stands at the top; what differs between them (times, machine,
    files that hold times) stands under ``volatile``, so that the rest can be compared byte by byte.

    Parameters
    ----------
    folder
        Results folder; paths in the manifest are relative to it.
    files
        Final files of the run.
    out
        JSON file.
    settings
        The validated configuration.
    labels
        JSON files of label inputs and their SHA-256, made by the stage `labels`.
    """
    folder = Path(folder)
    sums = {os.path.relpath(path, folder): sha256_file(path) for path in map(Path, files)}
    config = settings.model_dump(mode="json")
    changing = {path for path in sums if _holds_times(path)}
    write_json(
        out,
        {
            "schema": SCHEMA,
            "version": VERSION,
            "mlepi": __version__,
            **git_state(),
            "config": config,
            "config_digest": digest(config),
            "seeds": {
                **{
                    f"training.{kind}": getattr(settings.training, kind).seed
                    for kind in settings.trained_networks
                },
                "sampling": settings.sampling.seed,
            },
            "versions": library_versions(),
            "labels": _merged(labels),
            "files": {path: sums[path] for path in sorted(sums.keys() - changing)},
            "volatile": {
                "written": datetime.now(UTC).isoformat(timespec="seconds"),
                "host": platform.node(),
                "platform": platform.platform(),
                "slurm_job_id": os.environ.get("SLURM_JOB_ID"),
                "files": {path: sums[path] for path in sorted(changing)},
            },
        },
    )


def _merged(files: Iterable[str | os.PathLike[str]]) -> dict[str, str]:
    sums: dict[str, str] = {}
    for path in files:
        sums |= json.loads(Path(path).read_text(encoding="utf-8"))
    return dict(sorted(sums.items()))


def _holds_times(path: str) -> bool:
    return path.endswith((".html", ".pt", ".svg")) or "timing" in path or "history" in path

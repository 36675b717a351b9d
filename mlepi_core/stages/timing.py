"""Stage `timing`: wall time and memory of the jobs of a run, from the workflow's benchmark files."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlepi_core.artefacts import InputError, write_csv

COLUMNS = ("stage", "n_jobs", "wall_s", "longest_s", "cpu_s", "max_rss_mb")


def timing(folder: str | os.PathLike[str], out: str | os.PathLike[str]) -> None:
    """Write one row per stage: number of jobs, summed and longest wall time, CPU time, largest memory.

    Parameters
    ----------
    folder
        Benchmark files (``*.jsonl``), one line per run of a job. Files in sub-folders (one per block)
        count as jobs of the stage that the sub-folder is named after.
    out
        CSV file with the columns ``stage, n_jobs, wall_s, longest_s, cpu_s, max_rss_mb``, the longest
        stage first.

    Raises
    ------
    InputError
        If there is no benchmark file or one of them cannot be read.
    """
    folder = Path(folder)
    jobs: defaultdict[str, list[dict[str, float]]] = defaultdict(list)
    for path in sorted(folder.rglob("*.jsonl")):
        jobs[_stage(path.relative_to(folder))] += _records(path)
    if not jobs:
        raise InputError(folder, "holds no benchmark file", "run the workflow first")
    rows = sorted((_row(stage, runs) for stage, runs in jobs.items()), key=lambda row: -row["wall_s"])
    write_csv(out, rows, COLUMNS)


def _stage(path: Path) -> str:
    return path.parts[0] if len(path.parts) > 1 else path.stem


def _records(path: Path) -> Iterator[dict[str, float]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
            yield {key: _number(record.get(key)) for key in ("s", "cpu_time", "max_rss")}
        except (json.JSONDecodeError, AttributeError) as error:
            raise InputError(path, "is not a benchmark file of the workflow", "delete it") from error


def _number(value: Any) -> float:
    """Benchmarks write NA or null for what a very short job did not measure."""
    return float(value) if isinstance(value, (int, float)) else 0.0


def _row(stage: str, runs: list[dict[str, float]]) -> dict[str, Any]:
    return {
        "stage": stage,
        "n_jobs": len(runs),
        "wall_s": round(sum(run["s"] for run in runs), 2),
        "longest_s": round(max(run["s"] for run in runs), 2),
        "cpu_s": round(sum(run["cpu_time"] for run in runs), 2),
        "max_rss_mb": round(max(run["max_rss"] for run in runs), 1),
    }

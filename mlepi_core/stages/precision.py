"""Stages that decide whether a temperature has samples enough, and tell how precise it became."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlepi_core.config.sampling import TargetError
    from mlepi_core.electrons import VelocitySamples
    from mlepi_core.sampling.stopping import Precision

Path = str | os.PathLike[str]

PRECISION_COLUMNS = (
    "observable",
    "temperature_K",
    "value",
    "half_width",
    "wanted",
    "met",
    "n_pairs",
    "max_pairs",
    "stages",
)


def check_precision(
    files: Sequence[Path],
    static: Path,
    out: Path,
    targets: Mapping[str, TargetError],
    *,
    stage: int,
    max_pairs: int,
) -> dict[str, Any]:
    """Compare the confidence intervals at one temperature with what `sampling.target_error` asks for.

    Parameters
    ----------
    files
        Velocity quantities of all blocks up to this stage.
    static
        Those of the undisplaced cell.
    out
        JSON file of the result.
    targets
        By observable, ``velocity_<estimator>``.
    stage
        Number of the stage, from 0.
    max_pairs
        Pairs at which the temperature stops.

    Returns
    -------
    dict
        ``enough``: every target is met; ``finished``: that, or there are no more samples to add;
        ``observables``: rows with the columns of precision.csv.
    """
    from mlepi_core.artefacts import write_json
    from mlepi_core.electrons import load_samples

    samples, bare = load_samples(files), load_samples([static])
    pairs = len(set(samples.pair.tolist()))
    rows = []
    for name, target in targets.items():
        found = _precision(samples, bare, name.removeprefix("velocity_"), target)
        rows.append(
            {
                "observable": name,
                "temperature_K": samples.temperature,
                "value": found.value,
                "half_width": found.reached if found.reached < float("inf") else None,
                "wanted": found.wanted,
                "met": found.met,
                "n_pairs": pairs,
                "max_pairs": max_pairs,
                "stages": stage + 1,
            }
        )
    enough = all(row["met"] for row in rows)
    result = {"enough": enough, "finished": enough or pairs >= max_pairs, "observables": rows}
    write_json(out, result)
    return result


def _precision(
    samples: VelocitySamples, static: VelocitySamples, estimator: str, target: TargetError
) -> Precision:
    import numpy as np

    from mlepi_core.electrons import NoDiracCone, reduce_velocity
    from mlepi_core.sampling.stopping import Precision

    groups = len(np.unique(samples.independent))
    try:
        row = reduce_velocity(samples, static, estimator)
    except NoDiracCone:
        row = {"v_m_per_s": None, "v_se_m_per_s": None}
    return Precision(row["v_m_per_s"], row["v_se_m_per_s"], groups, target.relative, target.absolute)


def tabulate_precision(files: Sequence[Path], out: Path) -> None:
    """precision.csv from the last result of `check_precision` at every temperature.

    Parameters
    ----------
    files
        One file per temperature.
    out
        Columns `PRECISION_COLUMNS`, in the unit of each observable (velocities m/s).
    """
    import json
    from pathlib import Path as FilePath

    from mlepi_core.artefacts import write_csv

    results = [json.loads(FilePath(path).read_text(encoding="utf-8")) for path in files]
    rows = [row for result in results for row in result["observables"]]
    write_csv(out, rows, PRECISION_COLUMNS)

"""Stages of the workflow between Hamiltonians and the table of velocities."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlepi_core.electrons import VelocitySamples, VelocitySpec
    from mlepi_core.progress import Progress

Path = str | os.PathLike[str]

CONVERGENCE_COLUMNS = (
    "estimator",
    "temperature_K",
    "window_lo_per_A",
    "window_hi_per_A",
    "n_pairs",
    "v_m_per_s",
    "v_se_m_per_s",
    "ratio",
    "ratio_se",
)
ESTIMATOR_COLUMNS = (
    "scheme",
    "observable",
    "temperature_K",
    "supercell_n",
    "cost_ratio_to_plain",
    "ratio_lo",
    "ratio_hi",
    "n_evaluations",
)


def measure_store(
    store: Path, out: Path, section: Any, *, device: str = "auto", progress: Progress | None = None
) -> None:
    """Velocity quantities of all Hamiltonians of a label store, written to a small HDF5 file.

    Parameters
    ----------
    store
        Predictions of one temperature (or a single static cell), with H and S.
    out
        File of `mlepi_core.electrons.save_samples`.
    section
        Section `velocity` of the configuration.
    """
    from mlepi_core.electrons import VelocitySpec, save_samples
    from mlepi_core.stages.velocity import evaluate_stores

    spec = VelocitySpec.from_section(section)
    save_samples(out, evaluate_stores(store, spec, device=solver_device(device), progress=progress))


def measure_samples(
    model: Path,
    samples: Path,
    out: Path,
    section: Any,
    *,
    batch_size: int = 4,
    device: str = "auto",
    progress: Progress | None = None,
) -> None:
    """Predict the Hamiltonians of a sample file, measure each and forget it.

    The result is that of `predict` followed by `measure_store`, without the store between.
    """
    from mlepi_core.electrons import VelocitySpec, evaluate_label, merge, save_samples
    from mlepi_core.inference.hamiltonians import predict_entries
    from mlepi_core.nn.hamiltonian import load_hamiltonian_model
    from mlepi_core.progress import Rate
    from mlepi_core.stages.predict import sources

    loaded = load_hamiltonian_model(model, device=device)
    spec = VelocitySpec.from_section(section)
    tasks = list(sources(samples))
    parts, rate = [], Rate("samples")
    for entry in predict_entries(loaded, tasks, batch_size):
        parts.append(evaluate_label(entry, spec, solver_device(device)))
        if progress is not None:
            progress(len(parts), len(tasks), rate.text(len(parts)))
    save_samples(out, merge(parts))


def gather(files: Sequence[Path], out: Path) -> None:
    """The blocks of one temperature in one file."""
    from mlepi_core.electrons import load_samples, save_samples

    save_samples(out, load_samples(files))


def tabulate(
    files: Sequence[Path],
    static: Path,
    velocity_csv: Path,
    velocity_json: Path,
    convergence_csv: Path,
    estimators_csv: Path,
    section: Any,
    quasiparticles: Sequence[Path] = (),
) -> None:
    """Tables of the velocity: one row per estimator, window and temperature.

    Parameters
    ----------
    files
        Quantities of the samples, one file per temperature.
    static
        Quantities of the undisplaced cell.
    velocity_csv, velocity_json
        Table, and beside it the imaginary-mode policy, the number of modes it touched, notes and curves.
    convergence_csv
        Running means over pairs.
    estimators_csv
        What the pairs gain over independent samples.
    section
        Section `velocity` of the configuration.
    quasiparticles
        Files of `mlepi_core.stages.quasiparticles.average_green`, whose rows go below the others.
    """
    from mlepi_core.artefacts import write_csv, write_json
    from mlepi_core.electrons import VELOCITY_COLUMNS, VelocitySpec, load_samples
    from mlepi_core.stages.velocity import sampling_facts, velocity_rows

    spec = VelocitySpec.from_section(section)
    groups = [load_samples([path]) for path in files]
    bare = load_samples([static])
    rows = [row for group in groups for row in velocity_rows(group, bare, spec)]
    convergence = [
        {key: row[key] for key in CONVERGENCE_COLUMNS[:4]} | point
        for row in rows
        for point in row.pop("convergence")
    ]
    facts = [sampling_facts(group) for group in groups]
    rows += [row for path in quasiparticles for row in json.loads(FilePath(path).read_text(encoding="utf-8"))]
    write_csv(velocity_csv, [{key: row[key] for key in VELOCITY_COLUMNS} for row in rows], VELOCITY_COLUMNS)
    write_csv(convergence_csv, convergence, CONVERGENCE_COLUMNS)
    write_csv(estimators_csv, [row for group in groups for row in _gains(group, spec)], ESTIMATOR_COLUMNS)
    touched = [fact["n_touched_modes"] for fact in facts if fact["n_touched_modes"] is not None]
    write_json(
        velocity_json,
        {
            "imaginary_policy": facts[0]["imaginary_policy"],
            "n_touched_modes": max(touched) if touched else None,
            "results": rows,
        },
    )


def _gains(samples: VelocitySamples, spec: VelocitySpec) -> Iterator[dict[str, Any]]:
    from mlepi_core.electrons.pilot import pair_gain

    if samples.attrs.get("scheme", "antithetic") != "antithetic":
        return
    for estimator in spec.estimators:
        if estimator == "bilayer" and samples.layers != 2:
            continue
        gain = pair_gain(samples, estimator)
        if gain is None:
            continue
        common = {
            "observable": f"velocity_{estimator}",
            "temperature_K": samples.temperature,
            "supercell_n": samples.cone_n,
            "n_evaluations": gain.n_evaluations,
        }
        plain = {"scheme": "plain", "cost_ratio_to_plain": 1.0, "ratio_lo": 1.0, "ratio_hi": 1.0}
        pairs = {"cost_ratio_to_plain": gain.ratio, "ratio_lo": gain.low, "ratio_hi": gain.high}
        yield common | plain
        yield common | {"scheme": "antithetic"} | pairs


def solver_device(device: str) -> str:
    """Device of the eigensolver: `auto` is the one that networks get."""
    from mlepi_core.nn.model_file import resolve_device

    return str(resolve_device(device))

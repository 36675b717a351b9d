"""Verb `summary`: the main results of a finished run as a short table."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from mlepi_core.artefacts import InputError

SHOWN = ("energy_mae", "force_mae", "hamiltonian_mae")


def summary(folder: str | os.PathLike[str]) -> str:
    """Text of velocities and test errors of a run, and where its report is; of networks alone the errors.

    Parameters
    ----------
    folder
        Results folder of a finished run, or of one that ends with the networks.

    Raises
    ------
    InputError
        If there is no table of errors.
    """
    folder = Path(folder)
    errors = [row for row in _rows(folder / "tables" / "errors.csv") if row["split"] == "test"]
    errors = [row for row in errors if row["quantity"] in SHOWN]
    with_velocity = (folder / "tables" / "velocity.csv").is_file()
    lines = _velocity_lines(_rows(folder / "tables" / "velocity.csv")) if with_velocity else []
    lines += ["", "Errors on the test split"]
    lines += [
        f"{row['model']:<12} {row['quantity']:<28} {_short(row['value']):>10} {row['unit']}" for row in errors
    ]
    if with_velocity:
        return "\n".join([*lines, "", f"Report: {folder / 'report.html'}"])
    return "\n".join([*lines, "", f"Networks alone, no velocity.csv. Figures: {folder / 'figures'}"])


def _velocity_lines(rows: list[dict[str, str]]) -> list[str]:
    lines = ["", "Fermi velocity (first window of each estimator)"]
    lines.append(f"{'estimator':<11} {'T (K)':>6} {'v (10^6 m/s)':>16} {'static':>8} {'ratio':>16}")
    seen = set()
    for row in rows:
        key = (row["estimator"], row["temperature_K"])
        if key not in seen:
            seen.add(key)
            lines.append(_velocity_line(row))
    return lines


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            return list(csv.DictReader(handle))
    except OSError as error:
        raise InputError(path, "no such file", "run the workflow to its end first") from error


def _velocity_line(row: dict[str, str]) -> str:
    value, error, static = (_mega(row[key]) for key in ("v_m_per_s", "v_se_m_per_s", "v_static_m_per_s"))
    velocity = f"{value} ± {error}"
    ratio = f"{_fixed(row['ratio'])} ± {_fixed(row['ratio_se'])}"
    return f"{row['estimator']:<11} {row['temperature_K']:>6} {velocity:>16} {static:>8} {ratio:>16}"


def _mega(text: str) -> str:
    return f"{float(text) / 1e6:.4f}" if text else "–"


def _fixed(text: str) -> str:
    return f"{float(text):.4f}" if text else "–"


def _short(text: str) -> str:
    return f"{float(text):.4g}" if text else "–"

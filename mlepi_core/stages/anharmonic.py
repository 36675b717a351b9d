"""Stage `anharmonic`: force constants at a temperature, self-consistent with the motion they cause."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

from mlepi_core.progress import Progress, silent

if TYPE_CHECKING:
    from mlepi_core.sampling.anharmonic import AnharmonicResult


def anharmonic(
    model: str | os.PathLike[str],
    phonons_dir: str | os.PathLike[str],
    temperature: float,
    out_dir: str | os.PathLike[str],
    *,
    device: str = "auto",
    progress: Progress = silent,
    **settings: Any,
) -> AnharmonicResult:
    """Write a phonon folder of the temperature, with convergence.csv and frequencies.csv, to `out_dir`.

    A result that is not self-consistent is written as well, with a warning and ``"converged": false`` in the
    section ``anharmonic`` of relaxation.json.

    Parameters
    ----------
    model
        Phonon model file, the one of the phonons.
    phonons_dir
        Folder of the stage `phonons`, or of this one to go on from.
    temperature
        K, ≥ 0.
    out_dir
        Folder, made if missing; another one than `phonons_dir`.
    device
        ``auto``, ``cpu`` or ``cuda``.
    settings
        Fields of `mlepi_core.sampling.anharmonic.AnharmonicSettings`.

    Raises
    ------
    InputError
        A file cannot be used or a parameter is out of range; nothing is written then.
    """
    from pathlib import Path

    from mlepi_core.artefacts import InputError, located, sha256_file, write_csv
    from mlepi_core.inference.calculator import load_calculator
    from mlepi_core.phonons import read_phonons, write_phonons
    from mlepi_core.sampling.anharmonic import (
        CONVERGENCE_COLUMNS,
        FREQUENCY_COLUMNS,
        AnharmonicSettings,
        self_consistent_phonons,
    )

    out = Path(out_dir)
    if out.resolve() == Path(phonons_dir).resolve():
        raise InputError(out, "is the folder of the phonons to start from", "choose another --out")
    start = read_phonons(phonons_dir)
    calculator = load_calculator(model, device)
    model_hash = sha256_file(model)
    if start.report.get("model_sha256") not in (None, model_hash):
        warnings.warn(
            f"{phonons_dir} was made with another model: its structure is not the relaxed one of this model",
            stacklevel=2,
        )
    with located(phonons_dir, "imaginary modes", "phonons"):
        result = self_consistent_phonons(
            start, calculator, temperature, AnharmonicSettings(**settings), progress=progress
        )
    result.phonons.report["anharmonic"]["model_sha256"] = model_hash
    write_phonons(out, result.phonons)
    write_csv(out / "convergence.csv", result.convergence, CONVERGENCE_COLUMNS)
    write_csv(out / "frequencies.csv", result.frequencies, FREQUENCY_COLUMNS)
    return result

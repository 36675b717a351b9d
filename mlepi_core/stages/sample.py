"""Stage `sample`: thermal samples of a supercell from a phonon folder."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlepi_core.sampling.samples import SampleSet


def sample(
    phonons_dir: str | os.PathLike[str],
    supercell: Sequence[int],
    temperature: float,
    pairs: int,
    seed: int,
    out: str | os.PathLike[str],
    *,
    imaginary: str = "refuse",
    floor_cm1: float | None = None,
    first_pair: int = 0,
    scheme: str = "antithetic",
) -> SampleSet:
    """Draw quantum harmonic displacements, by default in antithetic pairs, and write them to `out`.

    Parameters
    ----------
    phonons_dir
        Folder made by the stage `phonons`.
    supercell
        Repetitions (n, n, 1) of the sampling cell, independent of that of the force constants.
    temperature
        K, ≥ 0.
    pairs, first_pair
        Number of pairs and number of the first one: a block of a longer run has the numbers it has there.
    seed
        The same seed gives the same random numbers at every temperature.
    out
        Sample file (HDF5).
    imaginary, floor_cm1
        Policy for imaginary modes, see `mlepi_core.sampling.apply_policy`.
    scheme
        One of `mlepi_core.sampling.schemes.SCHEMES`.

    Raises
    ------
    InputError
        Imaginary modes under the policy "refuse", or an argument out of range; nothing is written then.
    """
    from mlepi_core.artefacts import located
    from mlepi_core.phonons import contains_sampling_cell, read_phonons, supercell_modes
    from mlepi_core.sampling import ThermalSampler, apply_policy, draw_samples, members, write_samples
    from mlepi_core.sampling.statistics import exact_rms

    source = read_phonons(phonons_dir)
    _warn_of_anharmonic(source.report.get("anharmonic"), phonons_dir, float(temperature))
    if not contains_sampling_cell(source.phonon, supercell):
        warnings.warn(
            f"q points of the {' x '.join(str(n) for n in supercell)} sampling cell are interpolated: "
            "the force constants were computed in a cell that does not contain it",
            stacklevel=2,
        )
    modes = supercell_modes(source.phonon, source.reference, supercell)
    with located(phonons_dir, "imaginary modes"):
        policy = apply_policy(modes, imaginary, floor_cm1)
    members(scheme)  # refuses an unknown one
    sampler = ThermalSampler(modes, policy, float(temperature), scheme)
    samples = draw_samples(
        sampler, pairs, seed, first_pair=first_pair, supercell=supercell, phonons_hash=source.digest
    )
    exact = {f"exact_rms_{direction}_A": value for direction, value in exact_rms(sampler).items()}
    samples = replace(samples, attrs=samples.attrs | exact)
    write_samples(out, samples)
    return samples


def _warn_of_anharmonic(
    section: dict[str, Any] | None, phonons_dir: str | os.PathLike[str], temperature: float
) -> None:
    """Say that force constants belong to another temperature, or are not self-consistent."""
    if section is None:
        return
    if section["temperature_K"] != temperature:
        warnings.warn(
            f"{phonons_dir} has the force constants of {section['temperature_K']:g} K, not of "
            f"{temperature:g} K",
            stacklevel=3,
        )
    if not section["converged"]:
        warnings.warn(f"{phonons_dir} has force constants that are not self-consistent", stacklevel=3)


def tabulate(sample_files: Sequence[str | os.PathLike[str]], out_csv: str | os.PathLike[str]) -> None:
    """Rms displacements at all temperatures against the exact values.

    Parameters
    ----------
    sample_files
        Blocks of all temperatures, in any order.
    out_csv
        Columns `STATISTICS_COLUMNS` of `mlepi_core.sampling.statistics`, by temperature.
    """
    from mlepi_core.artefacts import write_csv
    from mlepi_core.sampling import read_samples
    from mlepi_core.sampling.statistics import STATISTICS_COLUMNS, displacement_rows

    by_temperature: dict[float, list[SampleSet]] = {}
    for path in sample_files:
        block = read_samples(path)
        by_temperature.setdefault(block.temperature, []).append(block)
    rows = [row for _, blocks in sorted(by_temperature.items()) for row in displacement_rows(blocks)]
    write_csv(out_csv, rows, STATISTICS_COLUMNS)

"""Stage that compares the schemes of sampling: Hamiltonians that each needs for the same error."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mlepi_core.stages.measure import ESTIMATOR_COLUMNS

if TYPE_CHECKING:
    import numpy as np

    from mlepi_core.electrons import VelocitySamples

Path = str | os.PathLike[str]

#: Plain samples, corrected by functions of their modes.
CONTROLLED = "control_variate"
EFFICIENCY_COLUMNS = (*ESTIMATOR_COLUMNS, "evaluations_to_1_percent", "mean", "mean_se", "unit")
VALUE_COLUMNS = ("scheme", "observable", "temperature_K", "pair", "sign", "group", "value")


def compare_schemes(
    files: Mapping[str, list[Path]], phonons: Path, estimators_csv: Path, values_csv: Path
) -> list[dict[str, Any]]:
    """Cost of every scheme relative to plain samples, and the values of the snapshots that it follows from.

    Parameters
    ----------
    files
        Velocity quantities of each scheme, one file per temperature; ``plain`` must be among them.
    phonons
        Phonon folder that the samples were drawn from, for the control variates on plain samples.
    estimators_csv
        Columns `EFFICIENCY_COLUMNS`; intervals are 95 % of a bootstrap over independent groups.
    values_csv
        Columns `VALUE_COLUMNS`, one row per scheme, observable and snapshot, in the unit of the observable.
        Group means of ``value`` give all of `estimators_csv` but its intervals.

    Raises
    ------
    InputError
        If there are no plain samples, or the files do not belong together.
    """
    from mlepi_core.artefacts import InputError, write_csv
    from mlepi_core.electrons import load_samples
    from mlepi_core.stages.velocity import mode_variates

    if "plain" not in files:
        raise InputError(
            "schemes", "plain is not among them", "add plain, which the others are compared with"
        )
    loaded = {scheme: [load_samples([path]) for path in paths] for scheme, paths in files.items()}
    rows: list[dict[str, Any]] = []
    values: list[dict[str, Any]] = []
    for place, plain in enumerate(loaded["plain"]):
        sets = {scheme: parts[place] for scheme, parts in loaded.items()}
        for samples in sets.values():
            plain.check_same_setting(samples)
            if samples.temperature != plain.temperature:
                raise InputError("temperature", "differs between the schemes", "give files in one order")
        rows += _rows(sets, mode_variates(plain, phonons), values)
    write_csv(estimators_csv, rows, EFFICIENCY_COLUMNS)
    write_csv(values_csv, values, VALUE_COLUMNS)
    return rows


def _rows(
    sets: Mapping[str, VelocitySamples], controls: np.ndarray, values: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Rows of one temperature; those of the values are added to `values`."""
    from mlepi_core.electrons.efficiency import Groups, cost_ratio, observables_of, sample_values
    from mlepi_core.sampling.control_variates import controlled

    plain = sets["plain"]
    for observable, unit in observables_of(plain).items():
        found = {scheme: (samples, sample_values(samples, observable)) for scheme, samples in sets.items()}
        found[CONTROLLED] = (plain, controlled(found["plain"][1], controls))
        reference = Groups.of(found["plain"][1], plain.independent)
        for scheme, (samples, numbers) in found.items():
            groups = Groups.of(numbers, samples.independent)
            ratio, low, high = cost_ratio(groups, reference, same_samples=samples is plain)
            common = {"scheme": scheme, "observable": observable, "temperature_K": samples.temperature}
            yield common | {
                "supercell_n": samples.cone_n,
                "cost_ratio_to_plain": ratio,
                "ratio_lo": low,
                "ratio_hi": high,
                "n_evaluations": len(samples),
                "evaluations_to_1_percent": groups.evaluations_wanted,
                "mean": groups.mean,
                "mean_se": groups.error,
                "unit": unit,
            }
            places = zip(samples.pair, samples.sign, samples.independent, numbers, strict=True)
            values += [
                common | {"pair": int(pair), "sign": int(sign), "group": int(group), "value": float(value)}
                for pair, sign, group, value in places
            ]

"""Verb `observe`: an observable of many snapshots, its mean and standard error."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from mlepi_core.electrons.observables import Quantity
    from mlepi_core.progress import Progress

SCHEMA = "mlepi-observable"
VERSION = 1


def observe(
    name: str,
    stores: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    out: str | os.PathLike[str],
    settings: Mapping[str, Any] | None = None,
    *,
    primitive: str | os.PathLike[str] | None = None,
    plugins: Sequence[str | os.PathLike[str]] = (),
    progress: Progress | None = None,
) -> dict[str, dict[str, Any]]:
    """Evaluate an observable on all entries of label stores with H and S.

    Parameters
    ----------
    name
        Registered observable, see `mlepi_core.electrons.observables`.
    stores
        Snapshots of one temperature, or single structures.
    out
        HDF5 file (schema `mlepi-observable`): ``pair`` and ``sign`` of all samples, and a group for each
        quantity with its ``values`` of all samples, ``mean``, ``standard_error`` and ``axis_<name>``.
    settings
        Keyword settings of the observable.
    primitive
        Undisplaced primitive structure, for observables that unfold.
    plugins
        Python files that register further observables.

    Returns
    -------
    dict
        For each quantity ``unit``, ``mean``, ``standard_error`` (None for one sample; the members of a pair
        are one) and ``n_samples``.

    Raises
    ------
    InputError
        For an unknown observable or setting, entries without H and S or of several temperatures.
    """
    import numpy as np

    from mlepi_core.artefacts import InputError, located
    from mlepi_core.electrons import BlochHamiltonian
    from mlepi_core.electrons.observables import Snapshot, load_plugin, measure
    from mlepi_core.sampling import independent_groups
    from mlepi_core.stages.snapshots import n_snapshots, snapshots
    from mlepi_core.structures import read_structure

    for path in plugins:
        load_plugin(path)
    cell = None if primitive is None else read_structure(primitive)
    rows: list[dict[str, Quantity]] = []
    attrs: list[dict[str, Any]] = []
    total = n_snapshots(stores)
    for path, entry in snapshots(stores):
        with located(f"{os.fspath(path)}: {entry.name}"):
            if entry.blocks is None:
                raise InputError(entry.name, "has no H and S", "give predictions or DFT results")
            bloch = BlochHamiltonian.from_atoms(entry.atoms, entry.blocks)
            rows.append(measure(name, Snapshot(entry.atoms, bloch, entry.n_electrons, cell), settings))
        attrs.append({"pair": len(attrs), "sign": 1} | entry.attrs)
        if progress is not None:
            progress(len(rows), total, entry.name)
    scheme = str(attrs[0].get("scheme", "antithetic"))
    pair, sign = (np.array([int(one[key]) for one in attrs]) for key in ("pair", "sign"))
    groups = independent_groups(scheme, pair)
    quantities = {key: _stacked(key, rows) for key in rows[0]}
    statistics = {key: _statistics(values, groups) for key, (values, _) in quantities.items()}
    root = {"observable": name, "settings": json.dumps(dict(settings or {})), "scheme": scheme}
    if "temperature" in attrs[0]:
        root["temperature"] = float(attrs[0]["temperature"])
    _write(out, root, {"pair": pair, "sign": sign}, quantities, statistics)
    return {
        key: {
            "unit": quantity.unit,
            "mean": statistics[key][0].tolist(),
            "standard_error": None if statistics[key][1] is None else statistics[key][1].tolist(),
            "n_samples": len(np.unique(groups)),
        }
        for key, (_, quantity) in quantities.items()
    }


def _stacked(name: str, rows: Sequence[Mapping[str, Quantity]]) -> tuple[np.ndarray, Quantity]:
    """Values (S, …) of one quantity, and its description."""
    import numpy as np

    from mlepi_core.artefacts import InputError

    values = [np.asarray(row[name].values, dtype=float) for row in rows]
    if len({value.shape for value in values}) > 1:
        raise InputError(name, "has another shape for another sample", "return arrays of one shape")
    return np.stack(values), rows[0][name]


def _statistics(values: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Mean over independent groups, and its standard error."""
    import numpy as np

    from mlepi_core.electrons.reduction import means_over_pairs

    means = means_over_pairs(values.reshape(len(values), -1), groups).reshape(-1, *values.shape[1:])
    if len(means) < 2:
        return means[0], None
    return means.mean(axis=0), means.std(axis=0, ddof=1) / np.sqrt(len(means))


def _write(
    out: str | os.PathLike[str],
    root: Mapping[str, Any],
    labels: Mapping[str, np.ndarray],
    quantities: Mapping[str, tuple[np.ndarray, Quantity]],
    statistics: Mapping[str, tuple[np.ndarray, np.ndarray | None]],
) -> None:
    import h5py

    from mlepi_core import __version__
    from mlepi_core.artefacts import atomic_path

    with atomic_path(out) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update({"schema": SCHEMA, "version": VERSION, "code_version": __version__, **root})
        for name, values in labels.items():
            file[name] = values
        for name, (values, quantity) in quantities.items():
            group = file.create_group(name)
            group.attrs["unit"] = quantity.unit
            group.create_dataset("values", data=values, fletcher32=True, chunks=True)
            group["mean"], error = statistics[name]
            if error is not None:
                group["standard_error"] = error
            for axis, places in (quantity.axes or {}).items():
                group[f"axis_{axis}"] = places

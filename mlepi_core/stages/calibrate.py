"""Stage `calibrate`: spread of a committee against its true error on structures that training left out."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlepi_core.artefacts import InputError, write_csv

if TYPE_CHECKING:
    import numpy as np

    from mlepi_core.formats.store import LabelEntry

POINT_COLUMNS = ("model", "quantity", "split", "structure", "unit", "spread", "error")
# Validation chose the weights and fixes the scale; the others judge it.
SPLITS = ("validation", "test", "reference", "extrapolation")
MILLI = 1e3


def calibrate(
    model: str | os.PathLike[str],
    stores: Sequence[str | os.PathLike[str]],
    out_csv: str | os.PathLike[str],
    *,
    hold_out: float | None = None,
    device: str = "auto",
    progress: Callable[..., None] | None = None,
) -> None:
    """Write spread and true error of every force or block of the held-out structures.

    Parameters
    ----------
    model
        Model file with a committee of either network.
    stores
        Label stores; entries of the splits validation, test, reference and extrapolation (see `hold_out`)
        with what the model predicts.
    out_csv
        One row per point, columns `POINT_COLUMNS`. Phonon, meV/Å: ``force`` (lengths of the vectors of error
        and spread) and ``force_component`` (absolute values). Electron, meV: rms over the elements of a
        block, ``hamiltonian_onsite``, ``hamiltonian_intra``, ``hamiltonian_inter``.
    hold_out
        `labels.hold_out_rms_force` of the training, eV/Å.

    Raises
    ------
    InputError
        If the model is no committee, or no such entry is there.
    """
    from mlepi_core.nn.model_file import load_members
    from mlepi_core.stages.evaluate import entries_for

    members = load_members(model)
    if len(members) == 1:
        raise InputError(model, "is a single model, which has no spread", "train with `committee: 2` or more")
    kind = members[0].kind
    points_of = (_force_points if kind == "phonon" else _block_points)(model, device)
    rows: list[dict[str, Any]] = []
    for done, split in enumerate(SPLITS, start=1):
        for entry in entries_for(stores, split, kind, members[0].species, hold_out):
            for quantity, unit, spread, error in points_of(entry):
                common = {"model": kind, "quantity": quantity, "split": split, "structure": entry.name}
                rows += [
                    common | {"unit": unit, "spread": f"{MILLI * s:.6g}", "error": f"{MILLI * e:.6g}"}
                    for s, e in zip(spread, error, strict=True)
                ]
        if progress is not None:
            progress(done, len(SPLITS), split)
    if not rows:
        raise InputError(str(stores[0]), "holds no structures held out from training", "check their `split`")
    write_csv(out_csv, rows, POINT_COLUMNS)


def gather_calibration(
    files: Sequence[str | os.PathLike[str]],
    out_csv: str | os.PathLike[str],
    out_points: str | os.PathLike[str],
) -> None:
    """Table calibration.csv of the points of `calibrate`: bins and summaries, see `inference.calibration`.

    Parameters
    ----------
    files
        Points of the networks, as `calibrate` writes them.
    out_csv
        Table of bins and summaries.
    out_points
        All points in one file.
    """
    import numpy as np

    from mlepi_core.inference.calibration import COLUMNS, calibration_rows

    points: dict[tuple[str, str, str], dict[str, list[tuple[float, float]]]] = {}
    everything: list[dict[str, str]] = []
    for path in files:
        with Path(path).open(encoding="utf-8", newline="") as handle:
            for row in csv.DictReader(handle):
                everything.append(row)
                splits = points.setdefault((row["model"], row["quantity"], row["unit"]), {})
                splits.setdefault(row["split"], []).append((float(row["spread"]), float(row["error"])))
    rows = []
    for key, splits in points.items():
        arrays = {split: tuple(np.array(values).T) for split, values in splits.items()}
        rows += calibration_rows(*key, arrays)
    write_csv(out_csv, rows, COLUMNS)
    write_csv(out_points, everything, POINT_COLUMNS)


Part = tuple[str, str, "np.ndarray", "np.ndarray"]


def _force_points(model: str | os.PathLike[str], device: str) -> Callable[[LabelEntry], Iterator[Part]]:
    import numpy as np

    from mlepi_core.inference.phonon_spread import forces_with_spread
    from mlepi_core.nn.model_file import load_phonon_net

    net = load_phonon_net(model, device=device)

    def points(entry: LabelEntry) -> Iterator[Part]:
        label, predicted, spread = forces_with_spread(net, entry)
        error = predicted - label
        yield "force", "meV/Å", np.linalg.norm(spread, axis=1), np.linalg.norm(error, axis=1)
        yield "force_component", "meV/Å", spread.ravel(), np.abs(error).ravel()

    return points


def _block_points(model: str | os.PathLike[str], device: str) -> Callable[[LabelEntry], Iterator[Part]]:
    from mlepi_core.graph import relation_masks
    from mlepi_core.inference.electron_spread import block_rms, hamiltonians_with_spread, member_models
    from mlepi_core.nn.hamiltonian import load_hamiltonian_model

    members = member_models(load_hamiltonian_model(model, device=device))

    def points(entry: LabelEntry) -> Iterator[Part]:
        ((matrix, spread),) = hamiltonians_with_spread(members, [entry.atoms], [entry.blocks])
        error = block_rms(matrix.hamiltonian - entry.blocks.hamiltonian, matrix.offsets)
        pairs, arrays = matrix.pairs, entry.atoms.arrays
        onsite = (pairs[:, 0] == pairs[:, 1]) & (pairs[:, 2:] == 0).all(axis=1)
        intra, inter = relation_masks(
            pairs[:, 0], pairs[:, 1], pairs[:, 2:], arrays["layer"], arrays.get("winding")
        )
        for name, mask in (("onsite", onsite), ("intra", intra & ~onsite), ("inter", inter)):
            yield f"hamiltonian_{name}", "meV", spread[mask], error[mask]

    return points

"""Rows of the phonon tables of a run: bands beside DFT, differences, rigid-layer modes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from phonopy import Phonopy

from mlepi_core.phonons.bands import (
    BAND_COLUMNS,
    PhononBands,
    QPath,
    frequencies_at,
    gamma_m_k_gamma,
    phonon_bands,
)
from mlepi_core.phonons.reference import compare, lattice_map
from mlepi_core.phonons.slip import slip_reference
from mlepi_core.phonons.storage import read_phonons

#: `source` is ``model`` or ``dft``; `commensurate` is 1 where the DFT supercell holds the q point.
BANDS_TABLE_COLUMNS = ("source", "label", "commensurate", *BAND_COLUMNS)
#: `table` is ``commensurate`` (differences, by branch group) or ``rigid_layer`` (frequencies, by mode).
ERRORS_TABLE_COLUMNS = (
    "table",
    "group",
    "source",
    "n_modes",
    "rms_cm1",
    "mean_cm1",
    "max_abs_cm1",
    "frequency_cm1",
    "frequency_se_cm1",
)


def band_rows(model: Phonopy, reference: Phonopy | None, points: int) -> Iterator[dict[str, Any]]:
    """Bands along Γ–M–K–Γ of the model and of the DFT reference, on the same path.

    Between the commensurate points the reference is an interpolation of its own force constants.
    """
    path = gamma_m_k_gamma(model.primitive.cell, points)
    on_mesh = np.zeros(len(path.qpoints), dtype=int)
    bands = {"model": phonon_bands(model, path)}
    if reference is not None:
        to_reference = lattice_map(model.primitive.cell, reference.primitive.cell)
        qpoints = path.qpoints @ to_reference.T
        bands["dft"] = PhononBands(path, frequencies_at(reference, qpoints))
        matrix = np.round(np.linalg.solve(reference.primitive_matrix, reference.supercell_matrix))
        folded = qpoints @ matrix
        on_mesh = (np.abs(folded - np.round(folded)).max(axis=1) < 1e-8).astype(int)
    labels = _labels(path)
    for source, computed in bands.items():
        for row in computed.rows():
            yield {
                "source": source,
                "label": labels.get(row["iq"], ""),
                "commensurate": int(on_mesh[row["iq"]]),
            } | row


def error_rows(
    model: Phonopy,
    reference: Phonopy | None,
    rigid_layer: Sequence[Mapping[str, Any]],
    slips: str | os.PathLike[str] | None,
    n_layers: int,
) -> list[dict[str, Any]]:
    """Differences by branch group, then the rigid-layer modes of model, slips and DFT displacements.

    Parameters
    ----------
    rigid_layer
        Modes of the model as in relaxation.json: kind and frequency_cm1.
    slips
        CSV of rigid slips, the accurate reference of these modes.
    """
    rows = []
    if reference is not None:
        rows += [
            {"table": "commensurate", "source": "model - dft"} | row
            for row in compare(model, reference, n_layers)
        ]
    rows += [_rigid(mode["kind"], "model", mode["frequency_cm1"]) for mode in rigid_layer]
    if slips is not None:
        mass = float(np.mean(model.primitive.masses))
        for row in slip_reference(slips, mass, len(model.primitive) // max(n_layers, 1)):
            source = f"dft slips, {row['source']}"
            rows.append(_rigid(row["mode"], source, row["frequency_cm1"], row["frequency_se_cm1"]))
    return rows


def phonon_tables(
    folder: str | os.PathLike[str],
    reference: Phonopy | None,
    slips: str | os.PathLike[str] | None,
    points: int,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of both tables for a phonon folder."""
    phonons = read_phonons(folder)
    n_layers = len(set(phonons.reference.arrays["layer"].tolist()))
    rigid = phonons.report.get("rigid_layer_modes") or []
    return (
        list(band_rows(phonons.phonon, reference, points)),
        error_rows(phonons.phonon, reference, rigid, slips if n_layers == 2 else None, n_layers),
    )


def _labels(path: QPath) -> dict[int, str]:
    places = [int(np.argmin(np.abs(path.distances - distance))) for distance in path.label_distances]
    return dict(zip(places, path.labels, strict=True))


def _rigid(mode: str, source: str, frequency: float, error: float | None = None) -> dict[str, Any]:
    row = {
        "table": "rigid_layer",
        "group": mode,
        "source": source,
        "frequency_cm1": round(float(frequency), 3),
    }
    return row if error is None else row | {"frequency_se_cm1": error}

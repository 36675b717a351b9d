"""Velocity of undisplaced cells from the true and from the predicted Hamiltonian, by the same code."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mlepi_core.artefacts import InputError, located, write_csv

if TYPE_CHECKING:
    from mlepi_core.electrons import VelocitySamples, VelocitySpec
    from mlepi_core.electrons.estimators import Window
    from mlepi_core.formats.store import LabelEntry
    from mlepi_core.nn.hamiltonian import HamiltonianModel

Path = str | os.PathLike[str]

STATIC_COLUMNS = (
    "structure",
    "layers",
    "estimator",
    "window_lo_per_A",
    "window_hi_per_A",
    "v_true_m_per_s",
    "v_predicted_m_per_s",
    "relative_difference",
)


def static_velocity(
    model: Path, references: Sequence[Path], out_csv: Path, section: Any, *, device: str = "auto"
) -> list[dict[str, Any]]:
    """Velocity of static cells with known H and S, and of the network's H and S for the same structures.

    The true values test everything from the reader to the estimators; the differences are the error of
    the electron network at the Dirac point. S is predicted too, as for a new structure.

    Parameters
    ----------
    model
        Electron model.
    references
        Label stores of one entry, or OpenMX `.scfout` files (also compressed). With none the table has no
        rows.
    out_csv
        Columns `STATIC_COLUMNS`, velocities in m/s, ``relative_difference`` = predicted / true - 1.
    section
        Section `velocity` of the configuration: estimators and windows.
    device
        "cpu", "cuda" or "auto".

    Returns
    -------
    list of dict
        The rows of the table. A value is None where the estimator is not defined: the bands do not rise
        with |k|, or `bilayer` for a stacking other than AB; the reason goes to the log as a warning.
        `bilayer` is left out for cells other than bilayers.

    Raises
    ------
    InputError
        If a reference is no such file, is not converged or lacks H or S, is no cell with a Dirac cone, or
        the model does not know its species or distances.
    """
    from mlepi_core.electrons import VelocitySpec
    from mlepi_core.nn.hamiltonian import load_hamiltonian_model
    from mlepi_core.stages.measure import solver_device

    spec = VelocitySpec.from_section(section)
    loaded = load_hamiltonian_model(model, device=device)
    rows: list[dict[str, Any]] = []
    for path in references:
        entry = read_reference(path)
        with located(path):
            rows += _rows(loaded, entry, spec, solver_device(device))
    write_csv(out_csv, rows, STATIC_COLUMNS)
    return rows


def read_reference(path: Path) -> LabelEntry:
    """The cell of a label store of one entry, or of an OpenMX `.scfout` file, with layers assigned.

    Raises
    ------
    InputError
        If the file is of another kind or holds several entries, or the entry is not converged or lacks H
        or S.
    """
    from mlepi_core.formats.detect import detect
    from mlepi_core.formats.openmx import read_openmx
    from mlepi_core.formats.store import LabelStore
    from mlepi_core.stages.velocity import read_one
    from mlepi_core.structures import ensure_layers

    kind = detect(path)
    if kind == "scfout":
        entry, _ = read_openmx(path)
    elif kind == "store":
        with LabelStore(path) as store:
            if len(store) != 1:
                raise InputError(path, f"holds {len(store)} entries", "give a store of the static cell alone")
        entry = read_one(path, None, "")
    else:
        raise InputError(path, f"is of kind {kind!r}", "give a label store or an OpenMX .scfout file")
    if entry.converged is False:
        raise InputError(path, f"the calculation of {entry.name} is not converged", "converge it first")
    entry.atoms = ensure_layers(entry.atoms)
    return entry


def _rows(
    model: HamiltonianModel, entry: LabelEntry, spec: VelocitySpec, device: str
) -> Iterator[dict[str, Any]]:
    """All estimators and windows of one structure."""
    from dataclasses import replace

    from mlepi_core.electrons import evaluate_label

    predicted = replace(entry, blocks=model.predict([entry.atoms])[0])
    samples = {
        "true": evaluate_label(entry, spec, device),
        "predicted": evaluate_label(predicted, spec, device),
    }
    layers = samples["true"].layers
    for estimator in spec.estimators:
        if estimator == "bilayer" and layers != 2:
            continue
        for window in spec.windows_of(estimator):
            true, network = (
                _velocity(one, f"{entry.name}, {kind} H", estimator, window) for kind, one in samples.items()
            )
            low, high = (None, None) if window is None else window
            values = (entry.name, layers, estimator, low, high, true, network, _relative(network, true))
            yield dict(zip(STATIC_COLUMNS, values, strict=True))


def _velocity(samples: VelocitySamples, where: str, estimator: str, window: Window | None) -> float | None:
    """Velocity (m/s) of one cell by one estimator; None, and a warning, where it is not defined."""
    from mlepi_core.electrons import FiniteSizeWarning, reduce_velocity

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FiniteSizeWarning)  # an undisplaced cell has no Kekule gap
        try:
            return reduce_velocity(samples, samples, estimator, window)["v_static_m_per_s"]
        except InputError as error:
            reason = f"{where}: no value, {error}"
    warnings.warn(reason, stacklevel=2)
    return None


def _relative(value: float | None, reference: float | None) -> float | None:
    return None if value is None or reference is None else value / reference - 1

"""Verb `bands`, and the comparison of predicted with DFT bands of a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from mlepi_core.formats.store import LabelEntry
    from mlepi_core.nn.hamiltonian import HamiltonianModel

BAND_COLUMNS = ("ik", "kx", "ky", "kz", "band", "energy_eV")
COMPARED_COLUMNS = (
    "structure",
    "split",
    "ik",
    "distance_per_A",
    "label",
    "band",
    "energy_dft_eV",
    "energy_predicted_eV",
)
BAND_ERROR_COLUMNS = (
    "structure",
    "split",
    "window_eV",
    "n_states",
    "rms_meV",
    "max_meV",
    "shift_meV",
    "max_20_states_meV",
    "n_projected",
    "projection_meV",
    "splitting_at",
    "splitting_dft_meV",
    "splitting_predicted_meV",
)
# Bands kept in the table of a comparison: those within this distance of the Fermi level (eV).
_DRAWN_WINDOW = 3.0


def bands(
    store: str | os.PathLike[str],
    name: str | None,
    kpoints_file: str | os.PathLike[str],
    out_csv: str | os.PathLike[str],
    *,
    device: str = "cpu",
    overlap_threshold: float | None = None,
) -> dict[str, object]:
    """Write the bands of a structure as a CSV file.

    Parameters
    ----------
    store
        Label store with H and S.
    name
        Entry; None takes the only one.
    kpoints_file
        Fractional k, one per line.
    out_csv
        Columns ``ik, kx, ky, kz, band, energy_eV``: band from 0, absolute energies, 12 decimals. States
        lost to the projection of a nearly singular S leave no row. Collinear spin adds the column ``spin``,
        ``up`` or ``down``, and counts bands per spin; spinors have twice as many bands as orbitals.
    device
        "cpu", "cuda" or "auto".
    overlap_threshold
        Combinations of orbitals whose eigenvalue of S is smaller are left out, see
        `mlepi_core.electrons.solve`; None takes its default.

    Returns
    -------
    dict
        ``structure``, ``n_kpoints``, ``n_bands`` (of each spin, if there are two), ``n_projected``.

    Raises
    ------
    InputError
        If the store has several entries and `name` is None, or the entry has no H or S.
    """
    from mlepi_core.artefacts import located, write_csv
    from mlepi_core.electrons import OVERLAP_THRESHOLD, eigenvalues, read_kpoints, spin_channels
    from mlepi_core.stages.velocity import read_one

    kpoints = read_kpoints(kpoints_file)
    entry = read_one(store, name, "--structure")
    with located(f"{os.fspath(store)}: {entry.name}"):
        channels = spin_channels(entry.atoms, entry.blocks)
        options = {"threshold": OVERLAP_THRESHOLD if overlap_threshold is None else overlap_threshold}
        solved = {
            spin: eigenvalues(bloch, kpoints, device=device, **options) for spin, bloch in channels.items()
        }
    rows = [row for spin, (energies, _) in solved.items() for row in _csv_rows(kpoints, energies, spin)]
    write_csv(out_csv, rows, (*BAND_COLUMNS, "spin") if len(solved) > 1 else BAND_COLUMNS)
    return {
        "structure": entry.name,
        "n_kpoints": len(kpoints),
        "n_bands": min(energies.shape[1] for energies, _ in solved.values()),
        "n_projected": max(n_projected for _, n_projected in solved.values()),
    }


def _csv_rows(kpoints: np.ndarray, energies: np.ndarray, spin: str) -> Iterator[dict[str, Any]]:
    import numpy as np

    for ik, (k, row) in enumerate(zip(kpoints, energies, strict=True)):
        for band, energy in enumerate(row):
            if np.isfinite(energy):
                values = (ik, *(f"{x:.12g}" for x in k), band, f"{energy:.12f}")
                yield dict(zip(BAND_COLUMNS, values, strict=True)) | ({"spin": spin} if spin else {})


def compare(
    model: str | os.PathLike[str],
    stores: Sequence[str | os.PathLike[str]],
    bands_csv: str | os.PathLike[str],
    errors_csv: str | os.PathLike[str],
    section: Any,
    *,
    device: str = "auto",
    progress: Callable[..., None] | None = None,
) -> None:
    """Bands along Γ–M–K–Γ from predicted and from DFT Hamiltonians of the splits test and reference.

    The predicted bands use the overlaps of the model, as inference on a new structure does.

    Parameters
    ----------
    model
        Electron model.
    stores
        Label stores; converged entries with H and S.
    bands_csv
        Columns `COMPARED_COLUMNS`: energies relative to the DFT Fermi level, after one common shift of the
        predicted ones (H has a free constant).
    errors_csv
        Columns `BAND_ERROR_COLUMNS`: rms and largest difference of the states within ± `section.window` of
        the Fermi level, and the largest of the 20 states nearest to it at each k; how many states
        `section.overlap_threshold` takes out, and the largest change that this alone makes to the DFT
        bands of the window. Of spinors also the distance of the two highest occupied states, at the
        labelled k where that of DFT is largest.
    section
        `bands` of the configuration.
    """
    from mlepi_core.artefacts import write_csv
    from mlepi_core.nn.hamiltonian import load_hamiltonian_model
    from mlepi_core.stages.train import read_split

    loaded = load_hamiltonian_model(model, device=device)
    entries = [entry for split in ("test", "reference") for entry in read_split(stores, split, blocks=True)]
    rows: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    for done, entry in enumerate(entries):
        drawn, error = _compare_entry(loaded, entry, section)
        rows += drawn
        errors.append(error)
        if progress is not None:
            progress(done + 1, len(entries), entry.name)
    write_csv(bands_csv, rows, COMPARED_COLUMNS)
    write_csv(errors_csv, errors, BAND_ERROR_COLUMNS)


def _compare_entry(
    model: HamiltonianModel, entry: LabelEntry, section: Any
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    import numpy as np

    from mlepi_core.artefacts import InputError
    from mlepi_core.electrons import (
        BlochHamiltonian,
        band_difference,
        eigenvalues,
        fermi_level_of,
        path_lengths,
        symmetry_path,
    )

    kpoints, labels = symmetry_path(entry.atoms.cell.array, section.points)
    true = BlochHamiltonian.from_atoms(entry.atoms, entry.blocks)
    predicted = BlochHamiltonian.from_atoms(entry.atoms, model.predict([entry.atoms])[0])
    fermi = fermi_level_of(true, entry.n_electrons)
    first = eigenvalues(true, kpoints)[0]
    second, n_projected = eigenvalues(predicted, kpoints, threshold=section.overlap_threshold)
    inside = np.abs(first - fermi) <= section.window
    if not np.isfinite(second[inside]).all():
        raise InputError(
            "bands.overlap_threshold",
            f"{section.overlap_threshold:g} takes states of the window out of the bands of {entry.name}",
            "choose a smaller one",
        )
    difference = band_difference(first, second, fermi, section.window)
    projected = eigenvalues(true, kpoints, threshold=section.overlap_threshold)[0] if n_projected else first
    second = second + difference.shift
    nearest = np.argsort(np.abs(first - fermi), axis=1)[:, :20]
    worst = np.abs(np.take_along_axis(second - first, nearest, axis=1)).max()
    common = {"structure": entry.name, "split": entry.split}
    error = common | {
        "window_eV": section.window,
        "n_states": difference.n_states,
        "rms_meV": 1e3 * difference.rms,
        "max_meV": 1e3 * difference.largest,
        "shift_meV": 1e3 * difference.shift,
        "max_20_states_meV": 1e3 * float(worst),
        "n_projected": n_projected,
        "projection_meV": 1e3 * float(np.abs((projected - first)[inside]).max()),
    }
    if true.spinor and entry.n_electrons is not None:
        error |= _spin_splitting(first, second, labels, round(entry.n_electrons))
    distances = path_lengths(kpoints, true.reciprocal)
    return [common | row for row in _band_rows(first - fermi, second - fermi, distances, labels)], error


def _spin_splitting(
    dft: np.ndarray, predicted: np.ndarray, labels: dict[int, str], n_occupied: int
) -> dict[str, Any]:
    """Splitting of the valence band by spin-orbit coupling; time reversal makes it zero at Γ and M."""
    first, second = (row[:, n_occupied - 1] - row[:, n_occupied - 2] for row in (dft, predicted))
    ik = max(labels, key=lambda index: first[index])
    return {
        "splitting_at": labels[ik],
        "splitting_dft_meV": 1e3 * float(first[ik]),
        "splitting_predicted_meV": 1e3 * float(second[ik]),
    }


def _band_rows(
    dft: np.ndarray, predicted: np.ndarray, distances: np.ndarray, labels: dict[int, str]
) -> Iterator[dict[str, Any]]:
    import numpy as np

    drawn = np.flatnonzero((np.abs(dft) <= _DRAWN_WINDOW).any(axis=0))
    for ik, distance in enumerate(distances):
        for band in drawn:
            yield {
                "ik": ik,
                "distance_per_A": f"{distance:.8f}",
                "label": labels.get(ik, ""),
                "band": int(band),
                "energy_dft_eV": f"{dft[ik, band]:.6f}",
                "energy_predicted_eV": f"{predicted[ik, band]:.6f}",
            }

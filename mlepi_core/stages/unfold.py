"""Verb `unfold`: spectral function of displaced supercells at primitive k, averaged with an error bar."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms

    from mlepi_core.formats.store import LabelEntry
    from mlepi_core.progress import Progress

UNFOLD_COLUMNS = ("ik", "kx", "ky", "kz", "energy_eV", "spectral_per_eV", "spectral_se_per_eV")
ALIGNMENTS = ("fermi", "none")


def unfold(
    stores: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    primitive: str | os.PathLike[str],
    kpoints_file: str | os.PathLike[str],
    out_csv: str | os.PathLike[str],
    *,
    window: tuple[float, float] = (-3.0, 3.0),
    points: int = 301,
    width: float = 0.03,
    shape: str = "lorentzian",
    weights: str = "lowdin",
    align: str = "fermi",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Spectral function A(k, E) of the snapshots of one temperature, unfolded onto a primitive cell.

    Parameters
    ----------
    stores
        Label stores with H and S of supercells. Members of a pair (attribute ``pair``), and pairs that depend
        on each other, are averaged first and count as one sample; entries without a pair count alone.
    primitive
        Primitive structure, undisplaced, in any format that ASE reads.
    kpoints_file
        Fractional k of the primitive reciprocal lattice, one per line.
    out_csv
        Columns `UNFOLD_COLUMNS`: energies relative to the alignment; A is that of one spin, its integral over
        all energies the number of orbitals of the primitive cell. The standard error is empty for a
        single sample.
    window, points
        Energies in eV and their number.
    width, shape
        Broadening, see `mlepi_core.electrons.spectral.spectral_function`.
    weights
        See `mlepi_core.electrons.unfolding`.
    align
        ``fermi``: energies of every snapshot relative to its own Fermi level, which removes the constant that
        H is free to have; ``none``: as they are.

    Returns
    -------
    dict
        ``n_samples``, ``n_entries``, ``n_kpoints``, ``temperature_K``, ``fermi_level_eV`` (mean, None without
        alignment).

    Raises
    ------
    InputError
        If an entry is no supercell of `primitive`, or entries of two temperatures meet.
    """
    import numpy as np

    from mlepi_core.artefacts import InputError, write_csv
    from mlepi_core.electrons import read_kpoints
    from mlepi_core.electrons.spectral import RunningMean
    from mlepi_core.stages.snapshots import n_snapshots, snapshots
    from mlepi_core.structures import read_structure

    if align not in ALIGNMENTS:
        raise InputError("align", f"{align!r} is unknown", f"use one of {', '.join(ALIGNMENTS)}")
    if not (window[0] < window[1] and points > 1):
        raise InputError("window", f"{window} eV with {points} points", "give LO < HI and at least 2 points")
    kpoints = read_kpoints(kpoints_file)
    grid = np.linspace(*window, points)
    cell = read_structure(primitive)
    options = {"width": width, "shape": shape, "weights": weights, "align": align}
    groups: dict[Any, list[np.ndarray]] = {}
    levels, temperature, total = [], None, n_snapshots(stores)
    for done, (path, entry) in enumerate(snapshots(stores), start=1):
        spectrum, level = _spectrum(path, entry, cell, kpoints, grid, **options)
        groups.setdefault(independent_group(entry), []).append(spectrum)
        levels.append(level)
        temperature = entry.attrs.get("temperature")
        if progress is not None:
            progress(done, total, entry.name)
    average = RunningMean()
    for spectra in groups.values():
        average.add(np.mean(spectra, axis=0))
    write_csv(out_csv, _rows(kpoints, grid, average), UNFOLD_COLUMNS)
    return {
        "n_samples": average.count,
        "n_entries": len(levels),
        "n_kpoints": len(kpoints),
        "temperature_K": temperature,
        "fermi_level_eV": float(np.mean(levels)) if align == "fermi" else None,
    }


def independent_group(entry: LabelEntry) -> Any:
    """What the statistically independent sample of a snapshot is called."""
    from mlepi_core.sampling import independent_groups

    if "pair" not in entry.attrs:
        return entry.name
    scheme = str(entry.attrs.get("scheme", "antithetic"))
    return int(independent_groups(scheme, int(entry.attrs["pair"])))


def _spectrum(
    path: str | os.PathLike[str],
    entry: LabelEntry,
    primitive: Atoms,
    kpoints: np.ndarray,
    grid: np.ndarray,
    *,
    width: float,
    shape: str,
    weights: str,
    align: str,
) -> tuple[np.ndarray, float]:
    """A (K, E) of one snapshot and the energy that was taken as zero."""
    import numpy as np

    from mlepi_core.artefacts import InputError, located
    from mlepi_core.electrons import BlochHamiltonian, fermi_level_of
    from mlepi_core.electrons.spectral import spectral_function
    from mlepi_core.electrons.unfolding import BlochSums, unfold

    with located(f"{os.fspath(path)}: {entry.name}"):
        if entry.blocks is None:
            raise InputError(entry.name, "has no H and S", "give a store of predictions or DFT results")
        bloch = BlochHamiltonian.from_atoms(entry.atoms, entry.blocks)
        sums = BlochSums.of(bloch, entry.atoms, primitive)
        zero = fermi_level_of(bloch, entry.n_electrons) if align == "fermi" else 0.0
        states = unfold(bloch, sums, kpoints, kind=weights)
        spectra = [spectral_function(one, grid + zero, width, shape) for one in states]
    return np.array(spectra), zero


def _rows(kpoints: np.ndarray, grid: np.ndarray, average: Any) -> Iterator[dict[str, Any]]:
    errors = average.standard_error
    for ik, k in enumerate(kpoints):
        for ie, energy in enumerate(grid):
            error = f"{errors[ik, ie]:.4g}" if average.count > 1 else None
            mean = f"{average.mean[ik, ie]:.8g}"
            values = (ik, *(f"{x:.12g}" for x in k), f"{energy:.6f}", mean, error)
            yield dict(zip(UNFOLD_COLUMNS, values, strict=True))

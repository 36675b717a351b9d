"""Verb `unfold`: spectral function of displaced supercells at primitive k, averaged with an error bar."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms

    from mlepi_core.formats.store import LabelEntry
    from mlepi_core.progress import Progress

_K_COLUMNS = ("ik", "kx", "ky", "kz", "distance_per_A", "label")
UNFOLD_COLUMNS = (*_K_COLUMNS[:4], "energy_eV", "spectral_per_eV", "spectral_se_per_eV", *_K_COLUMNS[4:])
BARE_COLUMNS = (*_K_COLUMNS[:4], "band", "energy_eV", *_K_COLUMNS[4:])
ALIGNMENTS = ("fermi", "none")


def unfold(
    stores: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    primitive: str | os.PathLike[str],
    kpoints_file: str | os.PathLike[str] | None,
    out_csv: str | os.PathLike[str],
    *,
    path_points: int | None = None,
    static: str | os.PathLike[str] | None = None,
    figure: str | os.PathLike[str] | None = None,
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
        Fractional k of the primitive reciprocal lattice, one per line; None takes the path Γ–M–K–Γ (Γ–X–M–Γ
        of a lattice that is not hexagonal) with `path_points` on each of its lines.
    out_csv
        Columns `UNFOLD_COLUMNS`: energies relative to the alignment; A is that of one spin, its integral over
        all energies the number of orbitals of the primitive cell. The standard error is empty for a
        single sample. ``distance_per_A``: length of the way from the first k.
    static
        Store with the undisplaced cell, of any size, for bare bands in the figure.
    figure
        Path without suffix: A(k, E) as PNG, SVG and CSV; with `static` also ``_bare.csv``, columns
        `BARE_COLUMNS`.
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
    from mlepi_core.electrons.spectral import RunningMean
    from mlepi_core.stages.snapshots import n_snapshots, snapshots
    from mlepi_core.structures import read_structure

    if align not in ALIGNMENTS:
        raise InputError("align", f"{align!r} is unknown", f"use one of {', '.join(ALIGNMENTS)}")
    if not (window[0] < window[1] and points > 1):
        raise InputError("window", f"{window} eV with {points} points", "give LO < HI and at least 2 points")
    if figure is not None and FilePath(figure).with_suffix(".csv") == FilePath(out_csv):
        raise InputError("figure", f"{figure}.csv would replace the table {out_csv}", "give another name")
    grid = np.linspace(*window, points)
    cell = read_structure(primitive)
    kpoints, places = _way(cell, kpoints_file, path_points)
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
    write_csv(out_csv, _rows(places, grid, average), UNFOLD_COLUMNS)
    if figure is not None:
        _draw(out_csv, figure, static, cell, kpoints, places, align)
    return {
        "n_samples": average.count,
        "n_entries": len(levels),
        "n_kpoints": len(kpoints),
        "temperature_K": temperature,
        "fermi_level_eV": float(np.mean(levels)) if align == "fermi" else None,
    }


def _way(
    cell: Atoms, kpoints_file: str | os.PathLike[str] | None, path_points: int | None
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """The wanted k (K, 3) and their columns `_K_COLUMNS`."""
    import numpy as np

    from mlepi_core.artefacts import InputError
    from mlepi_core.electrons import path_lengths, read_kpoints, symmetry_path

    if (kpoints_file is None) == (path_points is None):
        raise InputError("kpoints", "a file and a path exclude each other", "give one of both")
    labels: dict[int, str] = {}
    if kpoints_file is None:
        kpoints, labels = symmetry_path(cell.cell.array, path_points)
    else:
        kpoints = read_kpoints(kpoints_file)
    lengths = path_lengths(kpoints, 2 * np.pi * np.linalg.inv(cell.cell.array).T)
    values = (
        (ik, *(f"{x:.12g}" for x in k), f"{length:.8f}", labels.get(ik, ""))
        for ik, (k, length) in enumerate(zip(kpoints, lengths, strict=True))
    )
    return kpoints, [dict(zip(_K_COLUMNS, row, strict=True)) for row in values]


def _draw(
    spectral_csv: str | os.PathLike[str],
    figure: str | os.PathLike[str],
    static: str | os.PathLike[str] | None,
    cell: Atoms,
    kpoints: np.ndarray,
    places: list[dict[str, Any]],
    align: str,
) -> None:
    from mlepi_core.analysis import draw
    from mlepi_core.artefacts import write_csv
    from mlepi_core.config.figures import FiguresSection

    stem, tables = FilePath(figure), {"spectral": FilePath(spectral_csv)}
    if static is not None:
        tables["bare"] = stem.with_name(f"{stem.name}_bare.csv")
        write_csv(tables["bare"], _bare_rows(static, cell, kpoints, places, align), BARE_COLUMNS)
    draw("spectral", tables, stem, FiguresSection())


def _bare_rows(
    static: str | os.PathLike[str], cell: Atoms, kpoints: np.ndarray, places: list[dict[str, Any]], align: str
) -> Iterator[dict[str, Any]]:
    """Bands of the undisplaced cell."""
    import numpy as np

    from mlepi_core.artefacts import located
    from mlepi_core.electrons import BlochHamiltonian, fermi_level_of
    from mlepi_core.electrons.unfolding import BlochSums, primitive_hamiltonians
    from mlepi_core.stages.velocity import read_one

    entry = read_one(static, None, "a store of one")
    with located(f"{os.fspath(static)}: {entry.name}"):
        bloch = BlochHamiltonian.from_atoms(entry.atoms, entry.blocks)
        sums = BlochSums.of(bloch, entry.atoms, cell)
        zero = fermi_level_of(bloch, entry.n_electrons) if align == "fermi" else 0.0
        bands = np.linalg.eigvalsh(primitive_hamiltonians(bloch, sums, kpoints))
    for place, energies in zip(places, bands, strict=True):
        for band, energy in enumerate(energies):
            yield place | {"band": band, "energy_eV": f"{energy - zero:.8f}"}


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


def _rows(places: list[dict[str, Any]], grid: np.ndarray, average: Any) -> Iterator[dict[str, Any]]:
    errors = average.standard_error
    for ik, place in enumerate(places):
        for ie, energy in enumerate(grid):
            error = f"{errors[ik, ie]:.4g}" if average.count > 1 else None
            mean = f"{average.mean[ik, ie]:.8g}"
            yield place | dict(zip(UNFOLD_COLUMNS[4:7], (f"{energy:.6f}", mean, error), strict=True))

"""Extended XYZ through ASE: structures with energy, forces and layers, without matrices.

ASE writes eight decimals, so positions and forces are rounded to 1e-8 Å and 1e-8 eV/Å.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import iread, write

from mlepi_core.artefacts import InputError, atomic_path
from mlepi_core.formats.store import LabelEntry, refuse_not_finite

_SCALARS = ("fermi_level", "n_electrons", "converged", "split")
_COLUMNS = ("layer", "winding")


def to_atoms(entry: LabelEntry) -> Atoms:
    """Structure with ``layer``, labels in ASE's calculator (energy, forces) and the rest in ``info``."""
    source = entry.atoms
    atoms = Atoms(numbers=source.numbers, positions=source.positions, cell=source.cell, pbc=source.pbc)
    for column in _COLUMNS:
        if column in source.arrays:
            atoms.set_array(column, source.arrays[column])
    if entry.forces_spread is not None:
        atoms.set_array("forces_spread", entry.forces_spread)
    atoms.info["name"] = entry.name
    for key in _SCALARS:
        if (value := getattr(entry, key)) is not None:
            atoms.info[key] = value
    results: dict[str, Any] = {"energy": entry.energy, "forces": entry.forces}
    results = {key: value for key, value in results.items() if value is not None}
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def from_atoms(atoms: Atoms, name: str) -> LabelEntry:
    """Inverse of `to_atoms`; `name` is used where ``info`` has none."""
    info = dict(atoms.info)
    results = dict(atoms.calc.results) if atoms.calc is not None else {}
    bare = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    for column in _COLUMNS:
        if column in atoms.arrays:
            bare.set_array(column, np.asarray(atoms.arrays[column]).astype(int))
    converged = info.get("converged")
    return LabelEntry(
        name=str(info.get("name", name)),
        atoms=bare,
        energy=_float(results.get("energy")),
        forces=np.asarray(results["forces"], dtype=float) if "forces" in results else None,
        fermi_level=_float(info.get("fermi_level")),
        n_electrons=_float(info.get("n_electrons")),
        converged=None if converged is None else bool(converged),
        split=info.get("split"),
        forces_spread=np.asarray(atoms.arrays["forces_spread"], dtype=float)
        if "forces_spread" in atoms.arrays
        else None,
    )


def write_extxyz(path: str | os.PathLike[str], entries: Iterable[LabelEntry]) -> int:
    """Write entries to an extxyz file, atomically; number of structures written."""
    frames = [to_atoms(entry) for entry in entries]
    with atomic_path(path) as temporary:
        write(temporary, frames, format="extxyz")
    return len(frames)


def read_extxyz(path: str | os.PathLike[str]) -> Iterator[LabelEntry]:
    """Entries of any file of structures that ASE reads; unnamed ones are called `<stem>_<number>`.

    Raises
    ------
    InputError
        If ASE cannot read the file, or a number in it is not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(path, "no such file", "check the path")
    try:
        frames = list(iread(path, index=":"))
    except Exception as error:  # ASE's parsers raise whatever their format's parser raised
        raise InputError(path, f"ASE cannot read it ({error})", "give a complete structure file") from None
    digits = max(4, len(str(len(frames) - 1)))
    for number, atoms in enumerate(frames):
        entry = from_atoms(atoms, path.stem if len(frames) == 1 else f"{path.stem}_{number:0{digits}d}")
        refuse_not_finite(entry, path)
        yield entry


def _float(value: Any) -> float | None:
    return None if value is None else float(value)

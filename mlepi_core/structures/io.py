"""Structures in files: anything ASE reads, written as extxyz with the column ``layer``."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from mlepi_core.artefacts import InputError, atomic_path
from mlepi_core.structures.layers import ensure_layers
from mlepi_core.structures.neighbours import neighbour_pairs

_SHORTEST = 0.5
"""Å; closer atoms mean a wrong cell, wrong units or doubled atoms."""


def read_structure(path: str | os.PathLike[str], n_layers: int | None = None) -> Atoms:
    """One structure from any file that ASE reads, with labels in ``arrays["layer"]``.

    Parameters
    ----------
    path
        File; of several frames the one to use is named as in ASE, ``name.extxyz@3``.
    n_layers
        Expected number of layers; default: whatever is found.

    Raises
    ------
    InputError
        If the file is missing, unreadable, empty, holds several structures, has no periodic
        in-plane directions or atoms on top of each other, or if no layers are found.
    """
    frames = read_frames(path)
    if len(frames) != 1:
        raise InputError(
            path, f"it holds {len(frames)} structures", f"choose one, such as {Path(path).name}@0"
        )
    atoms = frames[0]
    try:
        _check(atoms)
        return ensure_layers(atoms, n_layers)
    except InputError as error:
        raise InputError(path, f"{error.where}: {error.problem}", error.remedy) from error


def read_frames(path: str | os.PathLike[str]) -> list[Atoms]:
    """All structures of a file that ASE reads, unchecked; `path` may end in ``@index``."""
    name, _, index = os.fspath(path).rpartition("@") if not Path(path).is_file() else (path, "", "")
    name, index = (name, index) if name else (path, "")
    if not Path(name).is_file():
        raise InputError(path, "no such file", "check the path")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frames = ase.io.read(name, index=index or ":")
    except Exception as error:  # ASE's many readers raise whatever they meet
        raise InputError(
            path,
            f"ASE cannot read it ({type(error).__name__}: {_first_line(error)})",
            "give a format that ASE knows, such as extxyz, POSCAR or cif",
        ) from error
    frames = frames if isinstance(frames, list) else [frames]
    if not frames or any(len(atoms) == 0 for atoms in frames):
        raise InputError(path, "it holds no atoms", "give a file with a structure")
    return frames


def write_structure(path: str | os.PathLike[str], atoms: Atoms | list[Atoms]) -> None:
    """Write one structure or several as extxyz, atomically, with every per-atom array.

    Positions are kept to 8 decimals; see `structure_hash`.
    """
    with atomic_path(path) as temporary:
        ase.io.write(temporary, atoms, format="extxyz")


def _check(atoms: Atoms) -> None:
    if not (atoms.pbc[0] and atoms.pbc[1]):
        raise InputError(
            "pbc", "the structure is not periodic along a1 and a2", "give a cell, as in extxyz or POSCAR"
        )
    i, j, _ = neighbour_pairs(atoms.get_positions(), atoms.cell.array, atoms.pbc, _SHORTEST)
    if len(i):
        raise InputError(
            "positions",
            f"atoms {i[0]} and {j[0]} are closer than {_SHORTEST} Å",
            "check the cell and the units (Å)",
        )
    if not np.isfinite(atoms.get_positions()).all():
        raise InputError("positions", "a coordinate is not finite")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "no message"

"""What kind of file or folder a path is: by content where the content says it, else by name."""

from __future__ import annotations

import os
from pathlib import Path

import h5py

from mlepi_core.artefacts import InputError
from mlepi_core.formats.compressed import plain_name

_SCHEMAS = {"mlepi-labels": "store", "mlepi-samples": "samples", "mlepi-tables": "overlap-tables"}
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_SUFFIXES = {
    ".scfout": "scfout",
    ".out": "openmx-out",
    ".Band": "band",
    ".xyz": "extxyz",
    ".extxyz": "extxyz",
    ".pt": "model",
    ".h5": "store",  # without HDF5's magic number: damaged, which opening it will say
    ".hdf5": "store",
}
_STRUCTURE_SUFFIXES = {".cif", ".vasp", ".poscar", ".traj", ".pdb", ".xsf", ".json", ".db"}
_STRUCTURE_NAMES = ("POSCAR", "CONTCAR", "geometry.in")
# file that tells a kind of folder, most telling first
_FOLDERS = (
    ("phonopy_params.yaml", "phonons"),
    ("hamiltonians.h5", "deeph-legacy"),
    ("overlaps.h5", "deeph-legacy"),
    ("hamiltonian.h5", "deeph"),
    ("overlap.h5", "deeph"),
    ("SHA256SUMS", "folder"),
)

KINDS = (
    "store", "samples", "overlap-tables", "model", "phonons", "scfout", "openmx-out", "band", "extxyz",
    "structure", "deeph", "deeph-legacy", "folder",
)  # fmt: skip


def detect(path: str | os.PathLike[str]) -> str:
    """Kind of a file or folder, one of `KINDS`.

    ``folder`` is a folder of several sources. A damaged HDF5 or model file keeps its kind, so that
    opening it names the damage.

    Raises
    ------
    InputError
        If the path does not exist or its kind is not known.
    """
    path = Path(path)
    if path.is_dir():
        return next((kind for name, kind in _FOLDERS if (path / name).is_file()), "folder")
    if not path.is_file():
        raise InputError(path, "no such file or folder", "check the path")
    name = plain_name(path)
    with open(path, "rb") as handle:
        magic = handle.read(8)
    if magic == _HDF5_MAGIC:
        return _hdf5_kind(path)
    if (kind := _SUFFIXES.get(Path(name).suffix)) is not None:
        return kind
    if name.startswith("phonopy") and name.endswith((".yaml", ".yml")):
        return "phonons"
    if Path(name).suffix.lower() in _STRUCTURE_SUFFIXES or name.startswith(_STRUCTURE_NAMES):
        return "structure"
    raise InputError(path, "kind of file not recognised", f"known kinds: {', '.join(KINDS)}")


def _hdf5_kind(path: Path) -> str:
    try:
        with h5py.File(path, "r") as handle:
            schema = handle.attrs.get("schema")
    except OSError:
        return "store"
    if schema not in _SCHEMAS:
        raise InputError(path, f"HDF5 file with schema {schema!r}", f"known schemas: {', '.join(_SCHEMAS)}")
    return _SCHEMAS[schema]

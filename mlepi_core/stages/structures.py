"""Stage `build`: a structure file with layer labels from a kind of stacking or from another file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlepi_core.artefacts import InputError

if TYPE_CHECKING:
    from ase import Atoms

KINDS = ("ab", "aa", "shift", "twist", "monolayer", "file")


def build(
    kind: str,
    out: str | os.PathLike[str],
    *,
    size: Sequence[int] = (1, 1),
    shift: Sequence[float] | None = None,
    index: Sequence[int] | None = None,
    distance: float | None = None,
    lattice_constant: float | None = None,
    cell_height: float | None = None,
    elements: Sequence[str] | None = None,
    file: str | os.PathLike[str] | None = None,
) -> Atoms:
    """Build a structure, write it to `out` as extxyz with a ``layer`` column, and return it.

    Parameters
    ----------
    kind
        ``ab``, ``aa``, ``shift`` (needs `shift`), ``twist`` (needs `index`), ``monolayer`` or ``file``
        (needs `file`).
    out
        Path of the extxyz file.
    size
        Repetitions along a1 and a2.
    shift
        Shift of the upper layer in fractions of (a1, a2) of the primitive cell.
    index
        Commensurate index (m, r) of the twist.
    distance, lattice_constant, cell_height
        Å; default: those of the data set (3.16, 2.474, 14).
    elements
        Two species of the honeycomb; default carbon.
    file
        Any file that ASE reads.

    Raises
    ------
    InputError
        For an unknown kind, a parameter that is missing or belongs to another kind, or values out
        of range.
    """
    from mlepi_core.structures import build_supercell, supercell_matrix, write_structure

    lengths = {
        "lattice_constant": lattice_constant,
        "distance": distance,
        "cell_height": cell_height,
        "elements": tuple(elements) if elements is not None else None,
    }
    _check_parameters(kind, shift=shift, index=index, file=file, **lengths)
    if len(tuple(size)) != 2:
        raise InputError("size", f"{tuple(size)}", "give two repetitions, along a1 and a2")
    supercell_matrix(size)
    options = {name: value for name, value in lengths.items() if value is not None}
    atoms = _primitive(kind, shift, index, file, options)
    if tuple(size) != (1, 1):
        atoms = build_supercell(atoms, size)
    write_structure(out, atoms)
    return atoms


def _primitive(
    kind: str,
    shift: Sequence[float] | None,
    index: Sequence[int] | None,
    file: str | os.PathLike[str] | None,
    options: dict[str, Any],
) -> Atoms:
    from mlepi_core import structures

    if kind == "file":
        assert file is not None
        return structures.read_structure(file)
    if kind == "monolayer":
        return structures.build_monolayer(**options)
    if kind == "twist":
        assert index is not None
        return structures.build_twisted((index[0], index[1]), **options)
    if kind == "shift":
        assert shift is not None
        return structures.build_bilayer((shift[0], shift[1]), **options)
    return structures.build_ab(**options) if kind == "ab" else structures.build_aa(**options)


def _check_parameters(kind: str, **parameters: Any) -> None:
    """Refuse parameters that are missing or that the kind would silently ignore."""
    if kind not in KINDS:
        raise InputError("kind", f"{kind!r} is unknown", f"choose one of {', '.join(KINDS)}")
    owners = {"shift": "shift", "index": "twist", "file": "file"}
    for name, owner in owners.items():
        if kind == owner and parameters[name] is None:
            raise InputError(name, f"missing for a structure of kind {kind}", f"give {name}")
        if kind != owner and parameters[name] is not None:
            raise InputError(name, f"belongs to kind {owner}, but the kind is {kind}", f"remove {name}")
    for name in ("shift", "index"):
        if parameters[name] is not None and len(tuple(parameters[name])) != 2:
            raise InputError(name, f"{tuple(parameters[name])}", "give two numbers")
    ignored = {
        "file": ("distance", "lattice_constant", "cell_height", "elements"),
        "monolayer": ("distance",),
    }
    for name in ignored.get(kind, ()):
        if parameters[name] is not None:
            raise InputError(name, f"has no effect on a structure of kind {kind}", f"remove {name}")

"""Folders of the DeepH programs, old and new: H(R), S(R) and structure of one cell each, read and written.

Legacy folder (DeepH-pack, DeepH-E3): text files with column vectors, a data set per block named by R, i, j
with atoms counted from 1, orbitals in OpenMX's order. New folder: POSCAR, and flat arrays of blocks, atoms
counted from 0, real harmonics m = -l ... l, which is the internal order. Both hold both copies of every
Hermitian pair. Blocks with spin are dense, [[uu, ud], [du, dd]]. Neither format carries energies or forces.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase import Atoms
from ase.io import read, write

from mlepi_core.artefacts import InputError, write_text
from mlepi_core.formats.blocks import BlockMatrix, block_offsets, from_directed, reversed_pairs
from mlepi_core.formats.store import LabelEntry
from mlepi_core.orbitals import Basis, symbol_of

KINDS = ("deeph", "deeph-legacy")
# Largest difference of the two copies of a block, eV; folders in float32 reach 1e-5.
_HERMITIAN_TOLERANCE = 1e-4
_FILES = {"deeph": ("hamiltonian.h5", "overlap.h5"), "deeph-legacy": ("hamiltonians.h5", "overlaps.h5")}
_SPIN_PARTS = {"none": 1, "soc": 2}


def read_deeph(
    folder: str | os.PathLike[str], kind: str, name: str | None = None
) -> tuple[LabelEntry, Basis]:
    """One DeepH folder as a label entry, and its basis.

    Parameters
    ----------
    kind
        One of `KINDS`.
    name
        Name of the entry; by default that of the folder.

    Raises
    ------
    InputError
        If a file is missing or damaged, blocks do not fit the orbitals, or a Hermitian pair disagrees.
    """
    folder = Path(folder)
    facts = _json(folder / "info.json")
    atoms, basis, level, spinful = (_legacy_structure if kind == "deeph-legacy" else _structure)(
        folder, facts
    )
    read_matrix = _legacy_matrix if kind == "deeph-legacy" else _flat_matrix
    parts = [read_matrix(folder / file) if (folder / file).is_file() else None for file in _FILES[kind]]
    if parts == [None, None]:
        raise InputError(folder, "has neither H nor S", f"expected {' or '.join(_FILES[kind])}")
    blocks = _joined(folder, atoms, basis, "soc" if spinful else "none", *parts)
    if kind == "deeph-legacy":
        blocks = _reordered(blocks, basis, to_internal=True)
    entry = LabelEntry(name or folder.resolve().name, atoms, fermi_level=level, blocks=blocks)
    if "occupation" in facts:
        entry.n_electrons = float(facts["occupation"])
    return entry, basis


def write_deeph(folder: str | os.PathLike[str], kind: str, entry: LabelEntry, basis: Basis) -> None:
    """Write H, S and structure of an entry into an existing, empty folder.

    The new format groups atoms by element; the order is kept otherwise.

    Raises
    ------
    InputError
        If the entry has neither H nor S, or collinear spin, which the formats do not know.
    """
    folder = Path(folder)
    if entry.blocks is None:
        raise InputError(entry.name, "has neither H nor S", "choose entries with --entry, or --to extxyz")
    if entry.blocks.spin not in _SPIN_PARTS:
        raise InputError(
            entry.name, f"has a Hamiltonian of spin {entry.blocks.spin!r}", "DeepH knows none and soc only"
        )
    if kind == "deeph-legacy":
        _write_legacy(folder, entry, basis)
    else:
        _write_new(folder, entry, basis)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "a DeepH folder needs it") from None
    except ValueError as error:
        raise InputError(path, f"is no JSON ({error})", "repair it") from None
    if not isinstance(content, dict):
        raise InputError(path, "is no JSON object", "repair it")
    return content


def _legacy_structure(folder: Path, facts: dict[str, Any]) -> tuple[Atoms, Basis, float | None, bool]:
    numbers = _numbers(folder / "element.dat", ndmin=1).astype(int)
    cell, positions = (_numbers(folder / file, ndmin=2).T for file in ("lat.dat", "site_positions.dat"))
    if cell.shape != (3, 3) or positions.shape != (len(numbers), 3):
        raise InputError(
            folder,
            f"lat.dat is {cell.T.shape} and site_positions.dat {positions.T.shape} for {len(numbers)} atoms",
            "both hold column vectors, 3 × 3 and 3 × N",
        )
    lines = _lines(folder / "orbital_types.dat")
    if len(lines) != len(numbers):
        raise InputError(
            folder / "orbital_types.dat", f"{len(lines)} lines for {len(numbers)} atoms", "one each"
        )
    shells: dict[str, tuple[int, ...]] = {}
    for number, line in zip(numbers, lines, strict=True):
        own = tuple(int(word) for word in line.split())
        if shells.setdefault(symbol_of(number), own) != own:
            raise InputError(
                folder / "orbital_types.dat", f"atoms of {symbol_of(number)} differ", "one basis per element"
            )
    if "isspinful" not in facts:
        raise InputError(folder / "info.json", "lacks isspinful", "add true or false")
    atoms = Atoms(numbers=numbers, positions=positions, cell=cell, pbc=True)
    level = facts.get("fermi_level")
    return atoms, Basis(shells), None if level is None else float(level), bool(facts["isspinful"])


def _structure(folder: Path, facts: dict[str, Any]) -> tuple[Atoms, Basis, float | None, bool]:
    missing = [key for key in ("elements_orbital_map", "spinful") if key not in facts]
    if missing:
        raise InputError(folder / "info.json", f"lacks {missing[0]}", "it belongs to the new DeepH format")
    try:
        atoms = read(folder / "POSCAR", format="vasp")
    except (OSError, ValueError, IndexError) as error:
        raise InputError(folder / "POSCAR", f"cannot be read ({error})", "a DeepH folder needs it") from None
    basis = Basis({symbol: tuple(shells) for symbol, shells in facts["elements_orbital_map"].items()})
    plain = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
    level = facts.get("fermi_energy_eV")
    return plain, basis, None if level is None else float(level), bool(facts["spinful"])


def _numbers(path: Path, ndmin: int) -> np.ndarray:
    try:
        return np.loadtxt(path, ndmin=ndmin)
    except (OSError, ValueError) as error:
        raise InputError(path, f"cannot be read ({error})", "a legacy DeepH folder needs it") from None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").strip().splitlines()
    except OSError as error:
        raise InputError(
            path, f"cannot be read ({error.strerror})", "a legacy DeepH folder needs it"
        ) from None


Matrix = tuple[np.ndarray, list[np.ndarray]]
"""Pairs (P, 5) as i, j, R and their dense blocks."""


def _legacy_matrix(path: Path) -> Matrix:
    """Blocks of a file with a data set per block."""
    with _opened(path) as file:
        keys = list(file.keys())
        try:
            places = np.array([json.loads(key) for key in keys], dtype=np.int64).reshape(-1, 5)
        except ValueError:
            raise InputError(
                path, "a data set is not named [Rx, Ry, Rz, i, j]", "give a DeepH file"
            ) from None
        pairs = np.column_stack([places[:, 3:] - 1, places[:, :3]])
        return pairs, [file[key][()] for key in keys]


def _flat_matrix(path: Path) -> Matrix:
    """Blocks of a file with flat arrays."""
    with _opened(path) as file:
        try:
            places, shapes, bounds, entries = (
                file[key][()] for key in ("atom_pairs", "chunk_shapes", "chunk_boundaries", "entries")
            )
        except KeyError as error:
            raise InputError(path, f"lacks {error}", "give a file of the new DeepH format") from None
    pairs = np.column_stack([places[:, 3:], places[:, :3]]).astype(np.int64)
    if bounds[-1] != len(entries) or len(bounds) != len(pairs) + 1:
        raise InputError(path, f"{len(entries)} entries, its chunks need {bounds[-1]}", "write it anew")
    chunks = (entries[a:b].reshape(s) for a, b, s in zip(bounds, bounds[1:], shapes, strict=False))
    return pairs, list(chunks)


def _opened(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise InputError(path, f"not a complete HDF5 file ({error})", "copy or make it again") from None


def _joined(
    folder: Path, atoms: Atoms, basis: Basis, spin: str, hamiltonian: Matrix | None, overlap: Matrix | None
) -> BlockMatrix:
    """H and S on the union of their pairs, one of each Hermitian pair; what one of them lacks is zero."""
    counts = basis.counts(atoms.numbers)
    pairs = np.unique(np.concatenate([part[0] for part in (hamiltonian, overlap) if part]), axis=0)
    if pairs[:, :2].min() < 0 or pairs[:, :2].max() >= len(atoms):
        raise InputError(
            folder, f"a block names atom {pairs[:, :2].max() + 1} of {len(atoms)}", "check the files"
        )
    blank = BlockMatrix(atoms.numbers, counts, pairs, block_offsets(counts, pairs), spin=spin)
    values = {}
    if hamiltonian is not None:
        values["hamiltonian"] = _flat(
            folder, blank, hamiltonian, blank.empty_hamiltonian(), _SPIN_PARTS[spin]
        )
    if overlap is not None:
        values["overlap"] = _flat(folder, blank, overlap, np.zeros(int(blank.offsets[-1])), 1)
    matrix = blank.with_values(**values)
    partners = np.unique(reversed_pairs(pairs), axis=0)
    if np.array_equal(partners, pairs):
        return from_directed(matrix, _HERMITIAN_TOLERANCE, str(folder))
    return matrix.canonical()


def _flat(folder: Path, blank: BlockMatrix, matrix: Matrix, entries: np.ndarray, parts: int) -> np.ndarray:
    """Entries (…, M) of dense blocks with `parts` x `parts` spin parts."""
    place = {tuple(pair): p for p, pair in enumerate(blank.pairs.tolist())}
    for pair, block in zip(matrix[0].tolist(), matrix[1], strict=True):
        p = place[tuple(pair)]
        n_i, n_j = blank.shape(p)
        if block.shape != (parts * n_i, parts * n_j):
            i, j, *r = pair
            wanted = (parts * n_i, parts * n_j)
            raise InputError(
                folder, f"block of atoms {i}, {j}, R = {r} is {block.shape}, the orbitals need {wanted}",
                "check the orbitals and isspinful or spinful",
            )  # fmt: skip
        split = block.reshape(parts, n_i, parts, n_j).swapaxes(1, 2).reshape(parts**2, n_i * n_j)
        if not np.isfinite(split).all():
            raise InputError(folder, f"block of atoms {pair[0]}, {pair[1]} has values that are no numbers")
        entries[..., blank.offsets[p] : blank.offsets[p + 1]] = split if parts > 1 else split[0]
    return entries


def _reordered(matrix: BlockMatrix, basis: Basis, *, to_internal: bool) -> BlockMatrix:
    """The same blocks with their orbitals in the internal order (from OpenMX's), or the other way."""
    index = np.empty(int(matrix.offsets[-1]), dtype=np.int64)
    numbers = matrix.numbers
    orders = {int(z): basis.openmx_permutation(int(z)) for z in np.unique(numbers)}
    if not to_internal:
        orders = {z: np.argsort(order) for z, order in orders.items()}
    for p, (i, j) in enumerate(matrix.pairs[:, :2]):
        rows, columns = orders[int(numbers[i])], orders[int(numbers[j])]
        local = (rows[:, None] * len(columns) + columns).ravel()
        index[matrix.offsets[p] : matrix.offsets[p + 1]] = matrix.offsets[p] + local
    h, s = matrix.hamiltonian, matrix.overlap
    return matrix.with_values(None if h is None else h[..., index], None if s is None else s[index])


def _dense(matrix: BlockMatrix, name: str) -> Iterator[np.ndarray]:
    """Dense blocks of all pairs, spin parts as [[uu, ud], [du, dd]]."""
    for p in range(len(matrix.pairs)):
        block = matrix.block(p, name)
        if block.ndim == 3:
            n_i, n_j = matrix.shape(p)
            block = block.reshape(2, 2, n_i, n_j).swapaxes(1, 2).reshape(2 * n_i, 2 * n_j)
        yield block


def _write_legacy(folder: Path, entry: LabelEntry, basis: Basis) -> None:
    atoms, matrix = entry.atoms, _reordered(entry.blocks.directed(), basis, to_internal=False)
    cell = np.asarray(atoms.cell)
    np.savetxt(folder / "element.dat", atoms.numbers, fmt="%d")
    for file, columns in (
        ("lat.dat", cell.T),
        ("rlat.dat", 2 * np.pi * np.linalg.inv(cell)),
        ("site_positions.dat", atoms.positions.T),
    ):
        np.savetxt(folder / file, columns, fmt="%.17g")
    shells = (" ".join(map(str, basis.shells_of(int(z)))) for z in atoms.numbers)
    write_text(folder / "orbital_types.dat", "\n".join(shells) + "\n")
    translations = np.unique(matrix.pairs[:, 2:], axis=0)
    np.savetxt(folder / "R_list.dat", translations, fmt="%d")
    facts = {"isspinful": matrix.spin == "soc"}
    if entry.fermi_level is not None:
        facts["fermi_level"] = entry.fermi_level
    write_text(folder / "info.json", json.dumps(facts) + "\n")
    for name, file in zip(("hamiltonian", "overlap"), _FILES["deeph-legacy"], strict=True):
        if getattr(matrix, name) is None:
            continue
        with h5py.File(folder / file, "w") as handle:
            for (i, j, *r), block in zip(matrix.pairs.tolist(), _dense(matrix, name), strict=True):
                handle[str([*r, i + 1, j + 1])] = block


def _write_new(folder: Path, entry: LabelEntry, basis: Basis) -> None:
    order = np.argsort(entry.atoms.numbers, kind="stable")
    matrix = _by_element(entry.blocks.directed(), order)
    atoms = Atoms(
        numbers=entry.atoms.numbers[order],
        positions=entry.atoms.positions[order],
        cell=entry.atoms.cell,
        pbc=True,
    )
    write(folder / "POSCAR", atoms, format="vasp", direct=False)
    spinful = matrix.spin == "soc"
    facts = {
        "atoms_quantity": len(atoms),
        "orbits_quantity": matrix.n_orbitals,
        "orthogonal_basis": False,
        "spinful": spinful,
        "elements_orbital_map": {
            symbol: list(basis.shells_of(symbol)) for symbol in sorted(set(atoms.symbols))
        },
    }
    if entry.fermi_level is not None:
        facts["fermi_energy_eV"] = entry.fermi_level
    if entry.n_electrons is not None:
        facts["occupation"] = entry.n_electrons
    write_text(folder / "info.json", json.dumps(facts) + "\n")
    for name, file in zip(("hamiltonian", "overlap"), _FILES["deeph"], strict=True):
        if getattr(matrix, name) is None:
            continue
        blocks = list(_dense(matrix, name))
        with h5py.File(folder / file, "w") as handle:
            handle["atom_pairs"] = np.column_stack([matrix.pairs[:, 2:], matrix.pairs[:, :2]]).astype(
                np.int64
            )
            handle["chunk_shapes"] = np.array([block.shape for block in blocks], dtype=np.int64)
            sizes = [block.size for block in blocks]
            handle["chunk_boundaries"] = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
            handle["entries"] = np.concatenate([block.ravel() for block in blocks])


def _by_element(matrix: BlockMatrix, order: np.ndarray) -> BlockMatrix:
    """Directed blocks with the atoms in another order."""
    place = np.argsort(order)
    pairs = matrix.pairs.copy()
    pairs[:, :2] = place[pairs[:, :2]]
    return replace(matrix, numbers=matrix.numbers[order], counts=matrix.counts[order], pairs=pairs)

"""Label store: energies, forces, Hamiltonians and overlaps of many structures in one HDF5 file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from mlepi_core.artefacts import InputError, atomic_path, located
from mlepi_core.formats.blocks import BlockMatrix, block_offsets
from mlepi_core.formats.spin import DTYPE, SPINS
from mlepi_core.orbitals import Basis

SCHEMA = "mlepi-labels"
#: What numbers in a store mean; other values are refused rather than misread.
CONVENTIONS = {"orbital_order": "e3nn", "energy_unit": "eV", "length_unit": "angstrom"}
VERSION = 1
SPLITS = ("train", "validation", "test", "reference")
# What h5py, ase and numpy raise for a file whose content is not what its schema promises.
_DAMAGE = (OSError, KeyError, ValueError, TypeError, IndexError, RuntimeError)
_SCALARS = ("energy", "fermi_level", "n_electrons", "converged", "split")


@dataclass
class LabelEntry:
    """One structure with whatever labels it has.

    `atoms` carries the integer array ``layer``; energies are in eV, forces (N, 3) in eV/Å with the
    engine's net force left in, blocks in eV. `attrs` holds what else the engine reported. Predictions of a
    committee have the spread of its members: `forces_spread` (N, 3) in eV/Å, `block_spread` (P,) in eV, the
    rms over the elements of each of the canonical blocks.
    """

    name: str
    atoms: Atoms
    energy: float | None = None
    forces: np.ndarray | None = None
    fermi_level: float | None = None
    n_electrons: float | None = None
    converged: bool | None = None
    split: str | None = None
    blocks: BlockMatrix | None = None
    forces_spread: np.ndarray | None = None
    block_spread: np.ndarray | None = None
    attrs: dict[str, Any] = field(default_factory=dict)


class LabelStore:
    """Read access to a label store; use as a context manager.

    Raises
    ------
    InputError
        If the file is missing, truncated, of another kind or of a newer version.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(path, "no such label store", "check the path")
        try:
            self._file = h5py.File(self.path, "r")
        except OSError as error:
            raise InputError(
                path, f"not a complete HDF5 file ({error})", "delete it and make it again"
            ) from None
        schema = self._file.attrs.get("schema")
        if schema != SCHEMA:
            self._file.close()
            raise InputError(path, f"schema is {schema!r}, not {SCHEMA!r}", "give a label store")
        try:
            self._read_root()
        except BaseException:
            self._file.close()
            raise

    def _read_root(self) -> None:
        try:
            self.attrs: dict[str, Any] = dict(self._file.attrs)
            if int(self.attrs["version"]) > VERSION:
                raise InputError(self.path, "was written by a newer version", "update mlepi")
            for name, ours in CONVENTIONS.items():
                if self.attrs.get(name, ours) != ours:
                    raise InputError(
                        self.path, f"{name} is {self.attrs[name]!r}, not {ours!r}", "convert its source anew"
                    )
            self.spin = str(self.attrs.get("spin", "none"))
            if self.spin not in SPINS:
                raise InputError(self.path, f"spin {self.spin!r} is unknown", f"use {', '.join(SPINS)}")
            with located(self.path):
                self.basis = Basis.from_json(self.attrs["basis"]) if "basis" in self.attrs else None
            self.names: list[str] = sorted(self._file)
            strange = [name for name in self.names if not isinstance(self._file[name], h5py.Group)]
        except _DAMAGE as error:
            raise InputError(
                self.path, f"attributes of the root cannot be read ({error})", "make the store again"
            ) from None
        if strange:
            raise InputError(
                self.path, f"{strange[0]} is no group", "the root of a label store holds structures only"
            )

    def __enter__(self) -> LabelStore:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[LabelEntry]:
        return (self.read(name) for name in self.names)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def refuse_derivatives(self) -> None:
        """Raise if H and S of this store are derivatives along a displacement, not those of a structure."""
        if self.attrs.get("quantity") == "derivative":
            raise InputError(
                self.path,
                "holds derivatives of H and S, no Hamiltonians",
                "give a store of H and S themselves",
            )

    def splits(self) -> dict[str, str | None]:
        """Split of every entry; None where none is given; a misspelt one is an error."""
        splits = {name: self._file[name].attrs.get("split") for name in self.names}
        for name, split in splits.items():
            if split is not None and split not in SPLITS:
                raise InputError(
                    self.path, f"entry {name}: split {split!r} is unknown", f"use one of {', '.join(SPLITS)}"
                )
        return splits

    def converged(self) -> dict[str, bool | None]:
        """Convergence flag of every entry; None where the engine gave none."""
        flags = {name: self._file[name].attrs.get("converged") for name in self.names}
        return {name: None if flag is None else bool(flag) for name, flag in flags.items()}

    def select(self, split: str | None = None, converged_only: bool = True) -> list[str]:
        """Names of the entries of a split (None: all), without those marked as not converged."""
        splits, converged = self.splits(), self.converged()
        return [
            name
            for name in self.names
            if (split is None or splits[name] == split)
            and (converged[name] is not False or not converged_only)
        ]

    def attributes(self, name: str) -> dict[str, Any]:
        """All attributes of an entry, without reading its arrays."""
        return dict(self._group(name).attrs)

    def read(self, name: str, blocks: bool = True) -> LabelEntry:
        """Entry `name`; float64 and canonical pairs whatever the file holds.

        Parameters
        ----------
        blocks
            False leaves H and S unread.
        """
        group = self._group(name)
        try:
            return self._read(group, name, blocks)
        except _DAMAGE as error:
            raise InputError(
                self.path, f"entry {name} cannot be read ({error})", "the file is damaged: make it again"
            ) from None

    def _group(self, name: str) -> h5py.Group:
        if name not in self._file:
            known = ", ".join(self.names[:8]) + (" …" if len(self.names) > 8 else "")
            raise InputError(self.path, f"has no entry {name!r}", f"it holds: {known}")
        return self._file[name]

    def _read(self, group: h5py.Group, name: str, blocks: bool) -> LabelEntry:
        attrs = dict(group.attrs)
        known = {key: attrs.pop(key) for key in _SCALARS if key in attrs}
        atoms = Atoms(
            numbers=group["numbers"][:],
            positions=group["positions"][:],
            cell=group["cell"][:],
            pbc=group["pbc"][:],
        )
        for label in ("layer", "winding"):
            if label in group:
                atoms.set_array(label, group[label][:].astype(int), shape=())
        if atoms.numbers.min(initial=0) < 0 or atoms.numbers.max(initial=0) >= len(chemical_symbols):
            raise ValueError("numbers are not those of elements")
        if "forces" in group and group["forces"].shape != atoms.positions.shape:
            raise ValueError(f"forces have shape {group['forces'].shape}, not {atoms.positions.shape}")
        entry = LabelEntry(
            name=name,
            atoms=atoms,
            energy=_optional(known, "energy", float),
            forces=group["forces"][:] if "forces" in group else None,
            fermi_level=_optional(known, "fermi_level", float),
            n_electrons=_optional(known, "n_electrons", float),
            converged=_optional(known, "converged", bool),
            split=_optional(known, "split", str),
            blocks=self._read_blocks(group, atoms) if blocks and "pairs" in group else None,
            forces_spread=group["forces_spread"][:] if "forces_spread" in group else None,
            attrs=attrs,
        )
        if entry.blocks is not None and "hamiltonian_spread" in group:
            entry.block_spread = group["hamiltonian_spread"][:].astype(np.float64)
            if len(entry.block_spread) != len(entry.blocks.pairs) or not np.array_equal(
                group["pairs"][:], entry.blocks.pairs
            ):
                raise ValueError("hamiltonian_spread does not belong to canonical pairs")
        refuse_not_finite(entry, self.path)
        return entry

    def _read_blocks(self, group: h5py.Group, atoms: Atoms) -> BlockMatrix:
        if self.basis is None:
            raise InputError(
                self.path, "has blocks but no attribute 'basis'", "convert the calculation again"
            )
        pairs = group["pairs"][:]
        counts = self.basis.counts(atoms.numbers)
        matrix = BlockMatrix(atoms.numbers, counts, pairs, group["offsets"][:], spin=self.spin)
        if not np.array_equal(matrix.offsets, block_offsets(counts, pairs)):
            raise InputError(
                self.path, f"{group.name[1:]}: block sizes do not fit the basis {self.basis.to_json()}"
            )
        wanted = {"hamiltonian": DTYPE[self.spin], "overlap": np.float64}
        values = {key: group[key][:] for key in wanted if key in group}
        for key, entries in values.items():
            if np.iscomplexobj(entries) and wanted[key] is np.float64:
                raise ValueError(f"{key} is complex, which spin {self.spin!r} does not allow")
        return matrix.with_values(
            **{key: entries.astype(wanted[key]) for key, entries in values.items()}
        ).canonical()


class StoreWriter:
    """Write a label store atomically; use as a context manager.

    Parameters
    ----------
    path
        File to write; it appears when the block ends without an exception.
    basis
        Shells per species; None for a store without blocks.
    attrs
        Root attributes, e.g. ``engine`` and ``xc``.
    dtype
        Type of H and S: float64, or float32 for bundled training sets. Spinors are written in the complex
        type of the same precision.
    spin
        Spin of every Hamiltonian, one of `mlepi_core.formats.spin.SPINS`; None takes that of the first one.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        basis: Basis | None,
        attrs: dict[str, Any] | None = None,
        dtype: str = "float64",
        spin: str | None = None,
    ) -> None:
        self.path = Path(path)
        self._spin = spin
        self.dtype = np.dtype(dtype)
        self._attrs = {"schema": SCHEMA, "version": VERSION, "spin": spin or "none"}
        self._attrs |= CONVENTIONS | (attrs or {})
        if basis is not None:
            self._attrs["basis"] = basis.to_json()

    def __enter__(self) -> StoreWriter:
        self._context = atomic_path(self.path)
        self._file = h5py.File(self._context.__enter__(), "w")
        self._file.attrs.update(self._attrs)
        return self

    def __exit__(self, *exc: Any) -> None:
        self._file.close()
        self._context.__exit__(*exc)

    def add(self, entry: LabelEntry) -> None:
        """Append one entry; its name must be new."""
        if entry.name in self._file:
            raise InputError(
                self.path, f"entry {entry.name!r} is there already", "give every structure its own name"
            )
        if entry.split is not None and entry.split not in SPLITS:
            raise InputError(
                self.path, f"{entry.name}: split {entry.split!r} is not one of {', '.join(SPLITS)}"
            )
        refuse_not_finite(entry, self.path)
        self._refuse_other_spin(entry)
        group = self._file.create_group(entry.name)
        group.attrs.update(entry.attrs)
        for key in _SCALARS:
            if (value := getattr(entry, key)) is not None:
                group.attrs[key] = value
        atoms = entry.atoms
        _write(group, "cell", np.asarray(atoms.cell))
        _write(group, "positions", atoms.positions)
        _write(group, "numbers", atoms.numbers.astype(np.int32))
        _write(group, "pbc", atoms.pbc)
        for label in ("layer", "winding"):
            if label in atoms.arrays:
                _write(group, label, atoms.arrays[label].astype(np.int32))
        if entry.forces is not None:
            _write(group, "forces", entry.forces)
        if entry.forces_spread is not None:
            _write(group, "forces_spread", entry.forces_spread)
        if entry.blocks is not None:
            self._write_blocks(group, entry.blocks)
        if entry.block_spread is not None:
            _write(group, "hamiltonian_spread", entry.block_spread)

    def _refuse_other_spin(self, entry: LabelEntry) -> None:
        if entry.blocks is None or entry.blocks.hamiltonian is None:
            return
        if self._spin is None:
            self._spin = entry.blocks.spin
            self._file.attrs["spin"] = self._spin
        if entry.blocks.spin != self._spin:
            raise InputError(
                self.path,
                f"entry {entry.name} has spin {entry.blocks.spin!r}, the store {self._spin!r}",
                "write calculations of each kind of spin into a store of their own",
            )

    def _write_blocks(self, group: h5py.Group, blocks: BlockMatrix) -> None:
        _write(group, "pairs", blocks.pairs.astype(np.int32))
        _write(group, "offsets", blocks.offsets)
        for name in ("hamiltonian", "overlap"):
            if (entries := getattr(blocks, name)) is not None:
                complex_type = np.result_type(self.dtype, np.complex64)
                _write(group, name, entries.astype(complex_type if np.iscomplexobj(entries) else self.dtype))


def refuse_not_finite(entry: LabelEntry, where: str | os.PathLike[str]) -> None:
    """Raise if a coordinate or a label of `entry`, which is in the file `where`, is NaN or infinite."""
    blocks = entry.blocks
    values = {
        "cell": entry.atoms.cell.array,
        "positions": entry.atoms.positions,
        "energy": entry.energy,
        "forces": entry.forces,
        "fermi_level": entry.fermi_level,
        "hamiltonian": None if blocks is None else blocks.hamiltonian,
        "overlap": None if blocks is None else blocks.overlap,
        "forces_spread": entry.forces_spread,
        "hamiltonian_spread": entry.block_spread,
    }
    for key, value in values.items():
        if value is not None and not np.isfinite(value).all():
            raise InputError(
                where, f"entry {entry.name}: {key} is not finite", "take the entry out or compute it again"
            )


def _write(group: h5py.Group, name: str, data: np.ndarray) -> None:
    """Chunked, compressed and check-summed: a flipped bit is a read error, not a wrong number."""
    if data.size == 0:
        group.create_dataset(name, data=data)
        return
    group.create_dataset(name, data=data, chunks=True, compression="gzip", shuffle=True, fletcher32=True)


def _optional(values: dict[str, Any], key: str, kind: type) -> Any:
    return kind(values[key]) if key in values else None

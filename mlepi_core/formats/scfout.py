"""OpenMX `.scfout` files of version 3 (OpenMX 3.9), field by field.

The file is little-endian without record markers. Per-atom vectors run from 1 in the C code, so column 0
of the tables is uninitialised memory and never read. R belongs to the positions as stored (`Gxyz`), which
are therefore not wrapped into the cell.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from mlepi_core.artefacts import InputError
from mlepi_core.formats.blocks import block_offsets
from mlepi_core.formats.compressed import read_bytes
from mlepi_core.formats.openmx_input import OpenmxInput
from mlepi_core.formats.openmx_out import BOHR, HARTREE
from mlepi_core.orbitals import Basis

SCFOUT_VERSION = 3
ELECTRON_TOLERANCE = 1e-9  # relative, of 2 Tr(DM S) = N_e; measured 4e-11
_N_SETS = {0: 1, 1: 2, 3: 4}  # matrices Hks, DM and Vxc per SpinP_switch
_LINE_BYTES = 256  # of the input text at the end of the file


@dataclass(frozen=True)
class Scfout:
    """Content of one `.scfout` file, blocks in OpenMX's order of pairs and orbitals.

    Parameters
    ----------
    path
        The file.
    spin
        SpinP_switch: 0 none, 1 collinear, 3 non-collinear.
    atoms
        Elements, cell and positions (Å) as stored; periodic in all directions, as OpenMX is.
    basis
        Shells of every element, from the input text in the file.
    pairs, offsets
        (P, 5) i, j, Rx, Ry, Rz, both directed copies; (P + 1) first entry of each block.
    hamiltonian
        (sets, M) Ha: one set, two for collinear spin, four (Re uu, Re dd, Re ud, Im ud) for spinors.
    hamiltonian_imaginary
        (3, M) Ha of spinors (Im uu, Im dd, Im ud), else None.
    overlap
        (M) unitless.
    position
        (3, order_max, M) Bohr, **about atom i**: add x_i S for the origin of the cell.
    momentum
        (3, M) atomic units.
    density
        (sets, M) density matrix, sets as `hamiltonian`.
    density_imaginary
        (2, M) of spinors (Im uu, Im dd), else None.
    exchange_correlation
        (sets, M) Ha, None unless the file has this optional tail.
    fermi_level
        Chemical potential (eV).
    temperature
        Electronic temperature (K).
    n_electrons, total_spin
        Valence electrons and total spin of the cell.
    settings
        The input text.
    """

    path: str
    spin: int
    atoms: Atoms
    basis: Basis
    pairs: np.ndarray
    offsets: np.ndarray
    hamiltonian: np.ndarray
    hamiltonian_imaginary: np.ndarray | None
    overlap: np.ndarray
    position: np.ndarray
    momentum: np.ndarray
    density: np.ndarray
    density_imaginary: np.ndarray | None
    exchange_correlation: np.ndarray | None
    fermi_level: float
    temperature: float
    n_electrons: float
    total_spin: float
    settings: OpenmxInput

    @property
    def _occupation(self) -> float:
        return 2.0 if self.spin == 0 else 1.0

    def electron_count(self) -> float:
        """2 Tr(DM S), or the sum of Tr(DM_s S) over the spins: N_e if the file is sound."""
        diagonal_sets = self.density[:2]  # of four spinor sets, uu and dd
        return self._occupation * float((diagonal_sets @ self.overlap).sum())

    def band_energy(self) -> float:
        """2 Tr(DM H), or the sum over the spins, in Ha: "Uele" of the `.out` file.

        Of spinors Re sum_ss' DM_ss' H_ss' over all entries, without conjugation: so OpenMX stores its DM.
        """
        if self.hamiltonian_imaginary is None or self.density_imaginary is None:
            return self._occupation * float(np.vdot(self.density, self.hamiltonian))
        h, density = self.hamiltonian, self.density
        diagonal = np.vdot(density[:2], h[:2]) - np.vdot(
            self.density_imaginary, self.hamiltonian_imaginary[:2]
        )
        imaginary_ud = h[3] + self.hamiltonian_imaginary[2]
        return float(diagonal + 2 * (np.vdot(density[2], h[2]) - np.vdot(density[3], imaginary_ud)))


def read_scfout(path: str | os.PathLike[str]) -> Scfout:
    """Read a `.scfout` file (plain, xz or gz) and assert 2 Tr(DM S) = N_e.

    Raises
    ------
    InputError
        If the file is not version 3, is truncated, has bytes left over, or contradicts itself.
    """
    cursor = _Cursor(read_bytes(path), path)
    n_atoms, spin, n_cells, order_max = _header(cursor)
    vectors = cursor.floats("atv", (n_cells + 1, 4))[:, 1:]
    images = cursor.ints("atv_ijk", (n_cells + 1, 4))[:, 1:]
    counts = cursor.ints("Total_NumOrbs", (n_atoms,)).astype(np.int64)
    neighbours = cursor.ints("FNAN", (n_atoms,)).astype(np.int64) + 1  # the self block comes first
    if counts.min() < 1 or neighbours.min() < 1 or neighbours.max() > n_atoms * (n_cells + 1):
        raise InputError(
            path, "orbital or neighbour counts make no sense", "the file is damaged: run OpenMX again"
        )
    pairs = _pairs(cursor, neighbours, images)
    cell = cursor.floats("tv", (3, 4))[:, 1:]
    cursor.floats("rtv", (3, 4))
    positions = cursor.floats("Gxyz", (n_atoms, 4))[:, 1:]
    if not np.allclose(vectors, images @ cell, rtol=0, atol=1e-6):
        raise InputError(path, "atv is not atv_ijk times the cell", "the file is damaged: run OpenMX again")

    offsets = block_offsets(counts, pairs)
    n_sets, size = _N_SETS[spin], int(offsets[-1])
    hamiltonian = cursor.floats("Hks", (n_sets, size))
    imaginary = cursor.floats("iHks", (3, size)) if spin == 3 else None
    overlap = cursor.floats("OLP", (size,))
    position = cursor.floats("OLP_r", (3, order_max, size))
    momentum = cursor.floats("OLP_p", (3, size))
    density = cursor.floats("DM", (n_sets, size))
    density_imaginary = cursor.floats("iDM", (2, size))
    cursor.ints("solver", (1,))
    chemical_potential, temperature, *_, n_electrons, total_spin = cursor.floats("ChemP", (10,)).tolist()
    settings = OpenmxInput(_text(cursor), path)
    tail = cursor.rest(n_sets * size)

    symbols, basis = settings.symbols_and_basis()
    numbers = np.array([atomic_numbers[symbol] for symbol in symbols])
    if len(numbers) != n_atoms or not np.array_equal(basis.counts(numbers), counts):
        raise InputError(
            path, "orbitals per atom do not fit the species in its input text", "run OpenMX again"
        )
    scfout = Scfout(
        path=os.fspath(path),
        spin=spin,
        atoms=Atoms(numbers=numbers, positions=positions * BOHR, cell=cell * BOHR, pbc=True),
        basis=basis,
        pairs=pairs,
        offsets=offsets,
        hamiltonian=hamiltonian,
        hamiltonian_imaginary=imaginary,
        overlap=overlap,
        position=position,
        momentum=momentum,
        density=density,
        density_imaginary=density_imaginary if spin == 3 else None,
        exchange_correlation=None if tail is None else tail.reshape(n_sets, size),
        fermi_level=chemical_potential * HARTREE,
        temperature=temperature,
        n_electrons=n_electrons,
        total_spin=total_spin,
        settings=settings,
    )
    assert_identity(path, "2 Tr(DM S)", scfout.electron_count(), "electrons", n_electrons, ELECTRON_TOLERANCE)
    return scfout


class _Cursor:
    """Reads fields one after another from the bytes of a file; views, not copies."""

    def __init__(self, data: bytes, path: str | os.PathLike[str]) -> None:
        self._data = data
        self.path = path
        self._at = 0

    def floats(self, field: str, shape: tuple[int, ...]) -> np.ndarray:
        return self._take(field, "<f8", shape)

    def ints(self, field: str, shape: tuple[int, ...]) -> np.ndarray:
        return self._take(field, "<i4", shape)

    def characters(self, field: str, shape: tuple[int, ...]) -> np.ndarray:
        return self._take(field, "u1", shape)

    def rest(self, size: int) -> np.ndarray | None:
        """The optional tail of exactly `size` floats; None at the end of the file."""
        left = len(self._data) - self._at
        if left == 0:
            return None
        if left != 8 * size:
            problem = f"{left} bytes after the input text, expected 0 or {8 * size} (V_xc)"
            raise InputError(
                self.path, f"is truncated or was appended to: {problem}", "copy it again or run OpenMX again"
            )
        return self.floats("V_xc", (size,))

    def _take(self, field: str, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        count = int(np.prod(shape, dtype=np.int64))
        need, left = count * np.dtype(dtype).itemsize, len(self._data) - self._at
        if need > left:
            raise InputError(
                self.path,
                f"is truncated in field {field}: {need} bytes expected, {left} left",
                "copy it again",
            )
        array: Any = np.frombuffer(self._data, dtype=dtype, count=count, offset=self._at)
        self._at += need
        return array.reshape(shape)


def _header(cursor: _Cursor) -> tuple[int, int, int, int]:
    """Number of atoms, SpinP_switch, number of copied cells and highest order of the position matrices."""
    header = cursor.ints("header", (7,)).tolist()
    n_atoms, switch, *_, n_cells, order_max = header
    spin, version = switch % 4, switch // 4
    if not 0 < n_atoms < 10**7 or spin not in _N_SETS or not 0 <= version < 10**3:
        raise InputError(
            cursor.path, f"is not an .scfout file (header {header})", "give the .scfout of OpenMX 3.9"
        )
    if version == 0:
        raise InputError(
            cursor.path,
            "has the header of OpenMX 3.8 or older (no version number)",
            "run it again with OpenMX 3.9",
        )
    if version != SCFOUT_VERSION:
        raise InputError(
            cursor.path,
            f"is .scfout version {version}; version {SCFOUT_VERSION} is supported",
            "run it again with OpenMX 3.9",
        )
    if not 0 <= n_cells < 10**7 or not 0 <= order_max < 100:
        raise InputError(cursor.path, f"has a damaged header {header}", "copy it again")
    return n_atoms, spin, n_cells, order_max


def _pairs(cursor: _Cursor, neighbours: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Pairs (P, 5), 0-based, from the neighbour tables natn and ncn."""
    total, n_atoms = int(neighbours.sum()), len(neighbours)
    j = cursor.ints("natn", (total,)).astype(np.int64) - 1
    copies = cursor.ints("ncn", (total,)).astype(np.int64)
    if j.min() < 0 or j.max() >= n_atoms or copies.min() < 0 or copies.max() >= len(images):
        raise InputError(
            cursor.path, "neighbour table points outside the cell", "the file is damaged: copy it again"
        )
    i = np.repeat(np.arange(n_atoms), neighbours)
    pairs = np.column_stack([i, j, images[copies]]).astype(np.int32)
    first = np.concatenate([[0], np.cumsum(neighbours)[:-1]])
    if (pairs[first, 1] != np.arange(n_atoms)).any() or pairs[first, 2:].any():
        raise InputError(
            cursor.path, "an atom's first block is not its own", "the file is damaged: copy it again"
        )
    return pairs


def _text(cursor: _Cursor) -> list[str]:
    """Lines of the input text; what follows a NUL is left over from longer lines."""
    count = int(cursor.ints("number of input lines", (1,))[0])
    if not 0 <= count < 10**7:
        raise InputError(
            cursor.path, f"number of input lines is {count}", "the file is damaged: copy it again"
        )
    rows = cursor.characters("input text", (count, _LINE_BYTES))
    return [row.tobytes().split(b"\0", 1)[0].decode("utf-8", errors="replace") for row in rows]


def assert_identity(
    path: str | os.PathLike[str], name: str, value: float, unit: str, expected: float, tolerance: float
) -> None:
    """Raise unless `value` equals `expected` to a tolerance relative to max(1, |expected|)."""
    if not abs(value - expected) <= tolerance * max(1.0, abs(expected)):
        raise InputError(
            path,
            f"{name} = {value:.10f}, expected {expected:.10f} {unit}",
            "the file is damaged: run OpenMX again",
        )

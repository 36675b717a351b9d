"""Bloch sums H(k), S(k) of a block matrix and their derivatives with respect to k.

Two gauges. Cell gauge: H(k) = sum_R exp(2 pi i k.R) H(R). Atomic gauge: the phase
is exp(i k.v) with v = x_j + R.L - x_i, so H_atomic(k) = P^+ H_cell P, P = diag(exp(i k.x)). Both
have the same eigenvalues; off-diagonal velocities inside a split manifold differ.

Spinors: H(k) is [[uu, ud], [du, dd]] of (n, n) parts, all orbitals up and then all down, and S(k) stands
twice on the diagonal. Collinear spin: two independent problems, `spin_channels`.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike

from mlepi_core.artefacts import InputError
from mlepi_core.formats.blocks import BlockMatrix
from mlepi_core.formats.spin import ELECTRONS_PER_STATE

GAUGES = ("cell", "atomic")


class BlochHamiltonian:
    """H and S of one structure, ready to be summed at any k.

    Index arrays are made once; each k costs one `numpy.bincount` over the stored entries and one
    Hermitian completion. At k where every phase is real (Gamma, M) the matrices are real.

    Parameters
    ----------
    blocks
        H and S, one of each Hermitian pair; eV and unitless.
    positions
        (N, 3) Cartesian positions in Å, those that the lattice vectors R of the pairs refer to.
    cell
        (3, 3) lattice vectors as rows, Å.
    electrons_per_state
        Electrons that a state holds; None: 2 without spin, 1 for spinors.

    Attributes
    ----------
    n_orbitals, n_states
        Orbitals of the cell, and rows of H(k): twice as many for spinors.

    Raises
    ------
    InputError
        If H or S is missing, the number of atoms differs, or H has two spin channels.
    """

    def __init__(
        self,
        blocks: BlockMatrix,
        positions: ArrayLike,
        cell: ArrayLike,
        electrons_per_state: float | None = None,
    ) -> None:
        if blocks.hamiltonian is None or blocks.overlap is None:
            missing = "H" if blocks.hamiltonian is None else "S"
            raise InputError("Bloch sum", f"the entry holds no {missing}", "give a store with H and S")
        if blocks.spin == "collinear":
            raise InputError("Bloch sum", "H has two spin channels", "take them one by one (spin_channels)")
        self.positions = np.asarray(positions, dtype=float)
        self.cell = np.asarray(cell, dtype=float)
        if len(self.positions) != len(blocks.counts):
            raise InputError(
                "Bloch sum", f"{len(self.positions)} positions, {len(blocks.counts)} atoms in the blocks"
            )
        self.blocks = blocks
        self.numbers = blocks.numbers
        self.spinor = blocks.spin == "soc"
        self.n_orbitals = blocks.n_orbitals
        self.n_states = self.n_orbitals * (2 if self.spinor else 1)
        self.electrons_per_state = electrons_per_state or ELECTRONS_PER_STATE[blocks.spin]
        pairs = blocks.pairs.astype(np.int64)
        first, second, self._shift = pairs[:, 0], pairs[:, 1], pairs[:, 2:]
        self._vector = self.positions[second] - self.positions[first] + self._shift @ self.cell
        self._slot, self._pair = _dense_slots(blocks)
        # A self block is its own Hermitian partner: half of it, so that A + A^+ gives it once.
        own = (first == second) & (self._shift == 0).all(axis=1)
        self._weight = np.where(own, 0.5, 1.0)

    @classmethod
    def from_atoms(cls, atoms: Atoms, blocks: BlockMatrix) -> BlochHamiltonian:
        """H and S of `atoms`, whose positions and cell the blocks refer to."""
        return cls(blocks, atoms.positions, np.asarray(atoms.cell))

    @property
    def reciprocal(self) -> np.ndarray:
        """(3, 3) reciprocal vectors as rows, 1/Å, with the factor 2 pi."""
        return 2 * np.pi * np.linalg.inv(self.cell).T

    def fractional(self, k: ArrayLike) -> np.ndarray:
        """Fractional coordinates of Cartesian k (..., 3) in 1/Å."""
        return np.asarray(k, dtype=float) @ self.cell.T / (2 * np.pi)

    def matrices(self, k: ArrayLike, gauge: str = "cell") -> tuple[np.ndarray, np.ndarray]:
        """H(k) in eV and S(k), each (n_states, n_states); S is real if all phases are, H too without spinors.

        Parameters
        ----------
        k
            (3,) fractional.
        gauge
            "cell" or "atomic".
        """
        phase = self._phases(k, gauge) * self._weight
        return self._dense(self.blocks.hamiltonian, phase, 1), self._dense(self.blocks.overlap, phase, 1)

    def derivatives(self, k: ArrayLike, gauge: str = "atomic") -> tuple[np.ndarray, np.ndarray]:
        """dH/dk in eV Å and dS/dk in Å, Cartesian, each (3, n_states, n_states).

        In the atomic gauge i sum_R v exp(i k.v) H(R) with the positions of this very structure; in
        the cell gauge R.L takes the place of v. Where all phases are real the result is i times a
        real antisymmetric matrix.
        """
        phase = self._phases(k, gauge) * self._weight
        lever = self._vector if gauge == "atomic" else self._shift @ self.cell
        result = []
        for entries in (self.blocks.hamiltonian, self.blocks.overlap):
            result.append(np.stack([1j * self._dense(entries, phase * lever[:, x], -1) for x in range(3)]))
        return result[0], result[1]

    def _phases(self, k: ArrayLike, gauge: str) -> np.ndarray:
        """Phase of every pair (P,), real where it can be."""
        k = np.asarray(k, dtype=float)
        if gauge == "cell":
            if np.array_equal(2 * k, np.round(2 * k)):
                return np.where((self._shift @ np.round(2 * k).astype(int)) % 2, -1.0, 1.0)
            return np.exp(2j * np.pi * (self._shift @ k))
        if gauge != "atomic":
            raise InputError("gauge", f"{gauge!r} is unknown", f"use one of {', '.join(GAUGES)}")
        if not k.any():
            return np.ones(len(self._shift))
        return np.exp(1j * (self._vector @ (k @ self.reciprocal)))

    def _dense(self, entries: np.ndarray, factor: np.ndarray, sign: int) -> np.ndarray:
        """A + sign A^+ with A = sum over pairs of factor x block; (n_states, n_states)."""
        if entries.ndim == 2:
            uu, ud, du, dd = (self._summed(part, factor) for part in entries)
            half = np.block([[uu, ud], [du, dd]])
        else:
            half = self._summed(entries, factor)
        full = half + half.conj().T if sign > 0 else half - half.conj().T
        return np.kron(np.eye(2), full) if self.spinor and entries.ndim == 1 else full

    def _summed(self, entries: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """Sum over pairs of factor x block, (n, n) with the orbitals counted once."""
        n = self.n_orbitals
        values = factor[self._pair] * entries
        if not np.iscomplexobj(values):
            return np.bincount(self._slot, values, minlength=n * n).reshape(n, n)
        total = np.empty(n * n, dtype=complex)
        total.real = np.bincount(self._slot, values.real, minlength=n * n)
        total.imag = np.bincount(self._slot, values.imag, minlength=n * n)
        return total.reshape(n, n)


def spin_channels(atoms: Atoms, blocks: BlockMatrix) -> dict[str, BlochHamiltonian]:
    """Independent Bloch Hamiltonians by spin: "up" and "down" for collinear spin, else one named ""."""
    if blocks.spin != "collinear":
        return {"": BlochHamiltonian.from_atoms(atoms, blocks)}
    cell, electrons = np.asarray(atoms.cell), ELECTRONS_PER_STATE["collinear"]
    return {
        name: BlochHamiltonian(blocks.channel(s), atoms.positions, cell, electrons)
        for s, name in enumerate(("up", "down"))
    }


def _dense_slots(blocks: BlockMatrix) -> tuple[np.ndarray, np.ndarray]:
    """Place of every stored entry in the flattened (n, n) matrix (M,), and its pair (M,)."""
    size = int(blocks.offsets[-1])
    slot, pair = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.int64)
    start, n = blocks.orbital_offsets, blocks.n_orbitals
    for (n_i, n_j), members in blocks.groups():
        rows = start[blocks.pairs[members, 0]][:, None, None] + np.arange(n_i)[:, None]
        columns = start[blocks.pairs[members, 1]][:, None, None] + np.arange(n_j)
        place = blocks.offsets[members][:, None] + np.arange(n_i * n_j)
        slot[place] = (rows * n + columns).reshape(len(members), -1)
        pair[place] = members[:, None]
    return slot, pair

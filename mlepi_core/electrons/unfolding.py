"""Unfolding: how much of a primitive k there is in the states of a displaced supercell, in a basis with S.

For a primitive k that folds onto K of the supercell, with N primitive cells R and supercell coefficients C
(C^+ S C = 1), the components of a state J along the Bloch sums of k are b = P C and c = P S C,
P_(a, a'R) = delta_aa' exp(-i k.R)/sqrt(N). Three weights are made of them:

- ``lowdin``: sum_a |(P S^(1/2) C)_a|^2. Non-negative; their sum over the N folded k is exactly 1.
- ``mulliken``: Re sum_a b_a^* c_a (Lee, Yamada-Takamura and Ozaki 2013, doi:10.1088/0953-8984/25/34/345501).
  The sum is exactly 1 too, single weights may be negative.
- ``projector``: c^+ (P S P^+)^-1 c, the square of the orthogonal projection on the Bloch sums. Non-negative;
  the sum is only near 1, as Bloch sums of different k of a displaced cell are not orthogonal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from ase import Atoms
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from mlepi_core.artefacts import InputError
from mlepi_core.electrons.bloch import BlochHamiltonian
from mlepi_core.electrons.solver import OVERLAP_THRESHOLD, Eigenpairs, solve
from mlepi_core.structures.lattice import SupercellMap, displaced_map, lattice_points

WEIGHTS = ("lowdin", "mulliken", "projector")


@dataclass(frozen=True)
class BlochSums:
    """Bloch sums of a primitive cell in the orbitals of a supercell.

    Attributes
    ----------
    places
        Primitive atom and cell of every supercell atom.
    counts
        Orbitals of every supercell atom (N,).
    """

    places: SupercellMap
    counts: np.ndarray

    @classmethod
    def of(cls, bloch: BlochHamiltonian, atoms: Atoms, primitive: Atoms) -> BlochSums:
        """Those of a displaced supercell `atoms`; see `mlepi_core.structures.lattice.displaced_map`.

        Raises
        ------
        InputError
            If `atoms` is no displaced supercell of `primitive`, or H has spin.
        """
        if bloch.spinor:
            raise InputError("unfolding", "H is one of spinors", "give a spinless calculation")
        return cls(displaced_map(atoms, primitive), bloch.blocks.counts)

    @property
    def n_cells(self) -> int:
        """Primitive cells in the supercell, N."""
        return abs(round(np.linalg.det(self.places.matrix)))

    @property
    def n_primitive(self) -> int:
        """Orbitals of the primitive cell."""
        return int(self.counts.sum()) // self.n_cells

    def supercell_k(self, k: ArrayLike) -> np.ndarray:
        """Fractional coordinates (3,), in the supercell's reciprocal lattice, of a primitive k (3,)."""
        return self.places.matrix @ np.asarray(k, dtype=float)

    def folded(self, k: ArrayLike) -> np.ndarray:
        """The N primitive k (N, 3) that fold onto the same point as k; k itself is the first."""
        steps = lattice_points(self.places.matrix.T) @ np.linalg.inv(self.places.matrix).T
        return np.asarray(k, dtype=float) + steps[np.lexsort(np.round(steps, 9).T[::-1])]

    def projector(self, k: ArrayLike) -> csr_array:
        """P of a primitive k: sparse (n_primitive, n), rows by primitive atom and orbital."""
        first = np.zeros(int(self.places.kappa.max()) + 1, dtype=np.int64)
        first[self.places.kappa] = self.counts
        start = np.concatenate([[0], np.cumsum(first)])[:-1]
        within = np.arange(self.counts.sum()) - np.repeat(np.cumsum(self.counts) - self.counts, self.counts)
        rows = np.repeat(start[self.places.kappa], self.counts) + within
        phase = np.exp(-2j * np.pi * (self.places.cells @ np.asarray(k, dtype=float)))
        values = np.repeat(phase, self.counts) / np.sqrt(self.n_cells)
        return csr_array((values, (rows, np.arange(len(rows)))), shape=(self.n_primitive, len(rows)))


@dataclass(frozen=True)
class UnfoldedStates:
    """States of one snapshot at the supercell point of one primitive k.

    Attributes
    ----------
    energies
        (m,) eV, ascending.
    weights
        (m,) share of the primitive k in each.
    """

    energies: np.ndarray
    weights: np.ndarray


def unfold(
    bloch: BlochHamiltonian,
    sums: BlochSums,
    kpoints: ArrayLike,
    *,
    kind: str = "lowdin",
    subset: tuple[int, int] | None = None,
    threshold: float = OVERLAP_THRESHOLD,
) -> list[UnfoldedStates]:
    """Energies and weights of supercell states at primitive k; one diagonalisation per supercell point.

    Parameters
    ----------
    bloch
        H and S of the supercell.
    sums
        `BlochSums` of the same cell.
    kpoints
        (K, 3) fractional, of the primitive reciprocal lattice.
    kind
        One of `WEIGHTS`.
    subset
        First and last state; None for all.
    threshold
        Smallest eigenvalue of S that is kept.

    Returns
    -------
    list
        One `UnfoldedStates` for each k, in the order given.
    """
    if kind not in WEIGHTS:
        raise InputError("weights", f"{kind!r} is unknown", f"use one of {', '.join(WEIGHTS)}")
    kpoints = np.atleast_2d(np.asarray(kpoints, dtype=float))
    found: dict[int, UnfoldedStates] = {}
    for point, members in supercell_points(sums, kpoints):
        h, s = bloch.matrices(point)
        states = solve(h, s, vectors=True, subset=subset, threshold=threshold, where="S of the supercell")
        kept = np.isfinite(states.energies)
        states = Eigenpairs(states.energies[kept], states.vectors[:, kept], states.n_projected)
        half = overlap_root(s) @ states.vectors if kind == "lowdin" else None
        for index in members:
            # The same point up to a supercell reciprocal vector: the cell gauge is periodic in it.
            projector = sums.projector(kpoints[index])
            found[index] = UnfoldedStates(states.energies, _weights(projector, s, states.vectors, half, kind))
    return [found[index] for index in range(len(kpoints))]


def primitive_hamiltonians(bloch: BlochHamiltonian, sums: BlochSums, kpoints: ArrayLike) -> np.ndarray:
    """P S^(-1/2) H S^(-1/2) P^+ (K, n, n) in eV at primitive k (K, 3), n orbitals of the primitive cell.

    Of an undisplaced cell this is the Löwdin-orthogonalised Hamiltonian of the primitive cell, whatever else
    of the same energy folds onto the same point.
    """
    kpoints = np.atleast_2d(np.asarray(kpoints, dtype=float))
    result = np.empty((len(kpoints), sums.n_primitive, sums.n_primitive), dtype=complex)
    for point, members in supercell_points(sums, kpoints):
        h, s = bloch.matrices(point)
        half = overlap_root(s)
        orthogonal = np.linalg.solve(half, np.linalg.solve(half, h).conj().T)
        for index in members:
            projector = sums.projector(kpoints[index])
            block = projector @ (projector @ orthogonal.conj().T).conj().T
            result[index] = (block + block.conj().T) / 2
    return result


def overlap_root(overlap: np.ndarray) -> np.ndarray:
    """S^(1/2) (n, n) of a Hermitian positive S."""
    values, vectors = scipy.linalg.eigh(overlap)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.conj().T


def supercell_points(sums: BlochSums, kpoints: np.ndarray) -> Iterator[tuple[np.ndarray, list[int]]]:
    """Points of the supercell, in [0, 1), and which k fold onto each."""
    places = np.array([sums.supercell_k(k) for k in kpoints])
    # Rounded, so that Gamma is exactly Gamma, where matrices are real.
    places = np.round(places - np.floor(places + 1e-9), 12) + 0.0
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, place in enumerate(places):
        groups.setdefault(tuple(np.round(place * 1e9).astype(np.int64).tolist()), []).append(index)
    for members in groups.values():
        yield places[members[0]], members


def _weights(
    projector: csr_array, overlap: np.ndarray, vectors: np.ndarray, half: np.ndarray | None, kind: str
) -> np.ndarray:
    if half is not None:
        return np.sum(np.abs(projector @ half) ** 2, axis=0)
    c = projector @ (overlap @ vectors)
    if kind == "mulliken":
        return np.sum((projector @ vectors).conj() * c, axis=0).real
    block = projector @ (projector @ overlap.conj().T).conj().T
    return np.sum(c.conj() * scipy.linalg.solve(block, c, assume_a="pos"), axis=0).real

"""Sparse matrices H(R), S(R) in a localised basis, as one flat list of blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mlepi_core.artefacts import InputError


def is_canonical(pairs: np.ndarray) -> np.ndarray:
    """Which of the pairs (P, 5) = i, j, Rx, Ry, Rz are the stored half of their Hermitian pair (P,).

    The first non-zero component of R is positive, or R = 0 and i <= j.
    """
    i, j, rx, ry, rz = pairs.T
    first = np.where(rx != 0, rx, np.where(ry != 0, ry, rz))
    return (first > 0) | ((first == 0) & (i <= j))


def reversed_pairs(pairs: np.ndarray) -> np.ndarray:
    """The Hermitian partners (j, i, -R) of pairs (P, 5)."""
    return np.concatenate([pairs[:, 1::-1], -pairs[:, 2:]], axis=1)


@dataclass(frozen=True)
class BlockMatrix:
    """H and S of one structure as blocks (i, j, R) = <phi_i,0| · |phi_j,R>.

    Parameters
    ----------
    numbers
        Atomic numbers (N,).
    counts
        Orbitals per atom (N,).
    pairs
        (P, 5) int: i, j (0-based) and the integer lattice vector R of j.
    offsets
        (P + 1,): block p is ``entries[offsets[p]:offsets[p + 1]].reshape(counts[i], counts[j])``.
    hamiltonian, overlap
        Flat entries (M,) in eV and unitless; None when absent.
    """

    numbers: np.ndarray
    counts: np.ndarray
    pairs: np.ndarray
    offsets: np.ndarray
    hamiltonian: np.ndarray | None = None
    overlap: np.ndarray | None = None

    @property
    def n_orbitals(self) -> int:
        """Orbitals of the cell."""
        return int(self.counts.sum())

    @property
    def orbital_offsets(self) -> np.ndarray:
        """First orbital of each atom, and the total (N + 1,)."""
        return np.concatenate([[0], np.cumsum(self.counts)])

    def shape(self, p: int) -> tuple[int, int]:
        """Rows and columns of block p."""
        return int(self.counts[self.pairs[p, 0]]), int(self.counts[self.pairs[p, 1]])

    def block(self, p: int, name: str = "hamiltonian") -> np.ndarray:
        """Block p (n_i, n_j) of `hamiltonian` or `overlap`."""
        entries = getattr(self, name)
        return entries[self.offsets[p] : self.offsets[p + 1]].reshape(self.shape(p))

    def groups(self) -> list[tuple[tuple[int, int], np.ndarray]]:
        """Pairs grouped by block shape: list of ((n_i, n_j), indices of the pairs)."""
        n_i, n_j = self.counts[self.pairs[:, 0]], self.counts[self.pairs[:, 1]]
        shapes = sorted(set(zip(n_i.tolist(), n_j.tolist(), strict=True)))
        return [((a, b), np.flatnonzero((n_i == a) & (n_j == b))) for a, b in shapes]

    def dense_blocks(self, name: str, index: np.ndarray) -> np.ndarray:
        """Blocks of equal shape, stacked (len(index), n_i, n_j)."""
        n_i, n_j = self.shape(int(index[0]))
        columns = np.arange(n_i * n_j)
        return getattr(self, name)[self.offsets[index][:, None] + columns].reshape(len(index), n_i, n_j)

    def with_values(
        self, hamiltonian: np.ndarray | None = None, overlap: np.ndarray | None = None
    ) -> BlockMatrix:
        """Copy with other entries; None keeps those that are there."""
        changes = {"hamiltonian": hamiltonian, "overlap": overlap}
        return replace(self, **{key: value for key, value in changes.items() if value is not None})

    def canonical(self) -> BlockMatrix:
        """The same matrix with every pair in canonical form and in lexicographic order.

        Raises
        ------
        InputError
            If a pair stands twice, or beside its Hermitian partner.
        """
        keep = is_canonical(self.pairs)
        pairs = np.where(keep[:, None], self.pairs, reversed_pairs(self.pairs))
        order = np.lexsort(pairs.T[::-1])
        duplicate = np.flatnonzero((np.diff(pairs[order], axis=0) == 0).all(axis=1))
        if len(duplicate):
            raise InputError("pairs", f"block {tuple(pairs[order[duplicate[0]]].tolist())} is stored twice")
        return self._rebuild(pairs[order], order, ~keep[order])

    def directed(self) -> BlockMatrix:
        """Both copies of every pair; on-site blocks once. Sorted by (i, j, R)."""
        own = (self.pairs == reversed_pairs(self.pairs)).all(axis=1)
        source = np.concatenate([np.arange(len(self.pairs)), np.flatnonzero(~own)])
        transposed = np.arange(len(source)) >= len(self.pairs)
        pairs = np.where(transposed[:, None], reversed_pairs(self.pairs)[source], self.pairs[source])
        order = np.lexsort(pairs.T[::-1])
        return self._rebuild(pairs[order], source[order], transposed[order])

    def _rebuild(self, pairs: np.ndarray, source: np.ndarray, transposed: np.ndarray) -> BlockMatrix:
        sizes = self.counts[pairs[:, 0]] * self.counts[pairs[:, 1]]
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        new = BlockMatrix(self.numbers, self.counts, pairs.astype(np.int32), offsets)
        index = np.empty(int(offsets[-1]), dtype=np.int64)
        for (n_i, n_j), members in new.groups():
            straight = np.arange(n_i * n_j)
            turned = straight.reshape(n_j, n_i).T.ravel()
            columns = np.where(transposed[members][:, None], turned, straight)
            index[offsets[members][:, None] + straight] = self.offsets[source[members]][:, None] + columns
        values = {
            name: entries[index]
            for name in ("hamiltonian", "overlap")
            if (entries := getattr(self, name)) is not None
        }
        return replace(new, **values)


def block_offsets(counts: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Offsets (P + 1,) of blocks of pairs (P, 5) for atoms with `counts` orbitals."""
    sizes = counts[pairs[:, 0]] * counts[pairs[:, 1]]
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def from_directed(matrix: BlockMatrix, tolerance: float, where: str = "blocks") -> BlockMatrix:
    """Canonical half of a matrix that holds both copies of every pair; the two are averaged.

    Parameters
    ----------
    matrix
        Both directed copies, in any order.
    tolerance
        Largest difference allowed between a block and the transpose of its partner, in eV (H)
        and unitless (S).
    where
        File named in the error.

    Raises
    ------
    InputError
        If a partner is missing, or the copies differ by more than `tolerance`.
    """
    order = np.lexsort(matrix.pairs.T[::-1])
    partner_order = np.lexsort(reversed_pairs(matrix.pairs).T[::-1])
    if not np.array_equal(matrix.pairs[order], reversed_pairs(matrix.pairs)[partner_order]):
        raise InputError(where, "a block has no Hermitian partner", "the file is damaged: convert again")
    forward = matrix._rebuild(matrix.pairs[order], order, np.zeros(len(order), dtype=bool))
    backward = matrix._rebuild(matrix.pairs[order], partner_order, np.ones(len(order), dtype=bool))
    values = {}
    for name in ("hamiltonian", "overlap"):
        a, b = getattr(forward, name), getattr(backward, name)
        if a is None:
            continue
        worst = float(np.abs(a - b).max()) if len(a) else 0.0
        if not worst <= tolerance:
            raise InputError(
                where, f"{name}: Hermitian copies differ by {worst:.1e}, allowed {tolerance:.0e}"
            )
        values[name] = (a + b) / 2
    half = replace(forward, **values)
    keep = np.flatnonzero(is_canonical(half.pairs))
    return half._rebuild(half.pairs[keep], keep, np.zeros(len(keep), dtype=bool))

"""Sparse matrices H(R), S(R) in a localised basis, as one flat list of blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mlepi_core.artefacts import InputError
from mlepi_core.formats import spin as spins


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
        Flat entries in eV and unitless; None when absent. The overlap is (M,) always, the Hamiltonian
        ``(*lead, M)`` with the leading shape and type of `spin`.
    spin
        One of `mlepi_core.formats.spin.SPINS`: "none" (M,) float; "collinear" (2, M) float, up and down;
        "soc" (4, M) complex, the parts uu, ud, du, dd of spinor blocks.
    """

    numbers: np.ndarray
    counts: np.ndarray
    pairs: np.ndarray
    offsets: np.ndarray
    hamiltonian: np.ndarray | None = None
    overlap: np.ndarray | None = None
    spin: str = "none"

    def __post_init__(self) -> None:
        size = int(self.offsets[-1])
        for name, shape in (("hamiltonian", self.hamiltonian_shape), ("overlap", (size,))):
            entries = getattr(self, name)
            if entries is not None and entries.shape != shape:
                raise ValueError(f"{name} has shape {entries.shape}, its pairs need {shape} ({self.spin})")

    @property
    def hamiltonian_shape(self) -> tuple[int, ...]:
        """Shape of `hamiltonian`, whether there is one or not."""
        return (*spins.LEAD[self.spin], int(self.offsets[-1]))

    @property
    def n_orbitals(self) -> int:
        """Orbitals of the cell, each counted once whatever the spin."""
        return int(self.counts.sum())

    @property
    def orbital_offsets(self) -> np.ndarray:
        """First orbital of each atom, and the total (N + 1,)."""
        return np.concatenate([[0], np.cumsum(self.counts)])

    def shape(self, p: int) -> tuple[int, int]:
        """Rows and columns of block p."""
        return int(self.counts[self.pairs[p, 0]]), int(self.counts[self.pairs[p, 1]])

    def block(self, p: int, name: str = "hamiltonian") -> np.ndarray:
        """Block p (n_i, n_j) of `hamiltonian` or `overlap`; (2 or 4, n_i, n_j) of H with spin."""
        entries = getattr(self, name)[..., self.offsets[p] : self.offsets[p + 1]]
        return entries.reshape(*entries.shape[:-1], *self.shape(p))

    def groups(self) -> list[tuple[tuple[int, int], np.ndarray]]:
        """Pairs grouped by block shape: list of ((n_i, n_j), indices of the pairs)."""
        n_i, n_j = self.counts[self.pairs[:, 0]], self.counts[self.pairs[:, 1]]
        shapes = sorted(set(zip(n_i.tolist(), n_j.tolist(), strict=True)))
        return [((a, b), np.flatnonzero((n_i == a) & (n_j == b))) for a, b in shapes]

    def dense_blocks(self, name: str, index: np.ndarray) -> np.ndarray:
        """Blocks of equal shape, stacked (len(index), n_i, n_j); of H with spin (…, 2 or 4, n_i, n_j)."""
        n_i, n_j = self.shape(int(index[0]))
        places = self.offsets[index][:, None] + np.arange(n_i * n_j)
        values = np.moveaxis(getattr(self, name)[..., places], -2, 0)
        return values.reshape(*values.shape[:-1], n_i, n_j)

    def empty_hamiltonian(self) -> np.ndarray:
        """Zeros of the shape and type that `spin` asks of the Hamiltonian."""
        return np.zeros(self.hamiltonian_shape, dtype=spins.DTYPE[self.spin])

    def with_values(
        self,
        hamiltonian: np.ndarray | None = None,
        overlap: np.ndarray | None = None,
        spin: str | None = None,
    ) -> BlockMatrix:
        """Copy with other entries or another spin; None keeps what is there."""
        changes = {"hamiltonian": hamiltonian, "overlap": overlap, "spin": spin}
        return replace(self, **{key: value for key, value in changes.items() if value is not None})

    def channel(self, s: int) -> BlockMatrix:
        """Spin channel `s` (0 up, 1 down) of a collinear matrix, as a matrix without spin."""
        if self.spin != "collinear":
            raise InputError("spin channel", f"a matrix of spin {self.spin!r} has none", "use it as it is")
        hamiltonian = None if self.hamiltonian is None else self.hamiltonian[s]
        return replace(self, hamiltonian=hamiltonian, spin="none")

    def scalar_part(self) -> BlockMatrix:
        """The same without spin: A of H = A x 1 + ..., its real part, (Re uu + Re dd)/2 or (up + down)/2."""
        h = self.hamiltonian
        return replace(self, hamiltonian=None if h is None else spins.scalar_part(h, self.spin), spin="none")

    def add_scalar(self, entries: np.ndarray) -> BlockMatrix:
        """Copy with real entries (M,), the same for both spins, added to H: `entries` x 1 in spin."""
        if self.hamiltonian is None:
            raise InputError("blocks", "hold no H to add to", "give H first")
        total = self.hamiltonian.copy()
        for diagonal in spins.diagonal(total, self.spin):
            diagonal += entries
        return replace(self, hamiltonian=total)

    def time_odd_rms(self) -> float:
        """Rms over all entries of H of what changes sign under time reversal, in eV; see `spins.time_odd`.

        Zero without spin, half the exchange splitting for collinear spin.
        """
        if self.hamiltonian is None or self.hamiltonian.size == 0:
            return 0.0
        return float(np.sqrt(np.mean(np.abs(spins.time_odd(self.hamiltonian, self.spin)) ** 2)))

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
        offsets = block_offsets(self.counts, pairs)
        new = BlockMatrix(self.numbers, self.counts, pairs.astype(np.int32), offsets, spin=self.spin)
        index = self._gather_index(new, source, transposed)
        values = {}
        if self.overlap is not None:
            values["overlap"] = self.overlap[index]
        if self.hamiltonian is not None:
            entries = self.hamiltonian[..., index]
            if self.spin == "soc":
                entries = np.where(np.repeat(transposed, np.diff(offsets)), spins.conjugate(entries), entries)
            values["hamiltonian"] = entries
        return replace(new, **values)

    def _gather_index(self, new: BlockMatrix, source: np.ndarray, transposed: np.ndarray) -> np.ndarray:
        """Places here of the entries of `new`, whose block p is block source[p], transposed or not."""
        index = np.empty(int(new.offsets[-1]), dtype=np.int64)
        for (n_i, n_j), members in new.groups():
            straight = np.arange(n_i * n_j)
            turned = straight.reshape(n_j, n_i).T.ravel()
            columns = np.where(transposed[members][:, None], turned, straight)
            index[new.offsets[members][:, None] + straight] = self.offsets[source[members]][:, None] + columns
        return index

    def partner_index(self, where: str = "blocks") -> np.ndarray:
        """Index (M,) such that ``entries[..., index]`` are the transposed blocks of the Hermitian partners.

        Raises
        ------
        InputError
            If a block has no partner; `where` names the file.
        """
        order = np.lexsort(self.pairs.T[::-1])
        partner_order = np.lexsort(reversed_pairs(self.pairs).T[::-1])
        if not np.array_equal(self.pairs[order], reversed_pairs(self.pairs)[partner_order]):
            raise InputError(where, "a block has no Hermitian partner", "the file is damaged: convert again")
        partner = np.empty_like(order)
        partner[order] = partner_order
        return self._gather_index(self, partner, np.ones(len(partner), dtype=bool))


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
        Largest difference allowed between a block and the (conjugate) transpose of its partner, in eV (H)
        and unitless (S).
    where
        File named in the error.

    Raises
    ------
    InputError
        If a partner is missing, or the copies differ by more than `tolerance`.
    """
    index = matrix.partner_index(where)
    values = {}
    for name in ("hamiltonian", "overlap"):
        entries = getattr(matrix, name)
        if entries is None:
            continue
        partner = entries[..., index]
        if name == "hamiltonian" and matrix.spin == "soc":
            partner = spins.conjugate(partner)
        worst = float(np.abs(entries - partner).max()) if entries.size else 0.0
        if not worst <= tolerance:
            raise InputError(
                where, f"{name}: Hermitian copies differ by {worst:.1e}, allowed {tolerance:.0e}"
            )
        values[name] = (entries + partner) / 2
    keep = np.flatnonzero(is_canonical(matrix.pairs))
    keep = keep[np.lexsort(matrix.pairs[keep].T[::-1])]
    half = replace(matrix, **values)
    return half._rebuild(half.pairs[keep], keep, np.zeros(len(keep), dtype=bool))

"""Energies of one manifold at many k from full solutions at a few: a reduced basis in the atomic gauge.

The states of the manifold and of its neighbours, solved at some k, span a small space in which H(k) and S(k)
are projected exactly at every other k (Galerkin). In the atomic gauge these states change slowly with k, and
the error of an energy is of second order in what the space lacks; it falls fast with the number of solved k.
States of one k alone, however many, do not serve: k.p in a localised basis lacks the dipoles within an atom.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike

from mlepi_core.electrons.bloch import BlochHamiltonian
from mlepi_core.electrons.solver import OVERLAP_THRESHOLD, eigenvalues, solve

#: States on either side of the manifold that help to span the space.
BUFFER = 4
#: States of the cell from which on it pays: below, making H(k) costs as much as solving it.
WORTHWHILE = 600
#: Error at the tested k, eV, above which all k are solved in full.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class ReducedBasis:
    """States (n, M) in the atomic gauge, orthonormal in the plain sense, and where the manifold lies.

    Attributes
    ----------
    vectors
        (n, M).
    anchors
        (A, 3) fractional k that were solved.
    solved
        (A, n, b) states of the manifold and its neighbours there.
    inner
        Which of the b states are those of the manifold.
    n_projected
        Largest number of states lost to a nearly singular S where it was solved.
    """

    vectors: np.ndarray
    anchors: np.ndarray
    solved: np.ndarray
    inner: slice
    n_projected: int

    @classmethod
    def of(
        cls,
        bloch: BlochHamiltonian,
        kpoints: ArrayLike,
        subset: tuple[int, int],
        threshold: float = OVERLAP_THRESHOLD,
    ) -> ReducedBasis:
        """Solve some k (K, 3), fractional, in full."""
        wide = max(0, subset[0] - BUFFER), min(bloch.n_states - 1, subset[1] + BUFFER)
        inner = slice(subset[0] - wide[0], subset[1] - wide[0] + 1)
        anchors = np.atleast_2d(np.asarray(kpoints, dtype=float))
        columns, dropped = [], 0
        for k in anchors:
            states = solve(
                *bloch.matrices(k, "atomic"), vectors=True, subset=wide, threshold=threshold, where="S(k)"
            )
            columns.append(states.vectors)
            dropped = max(dropped, states.n_projected)
        vectors, r, _ = scipy.linalg.qr(np.hstack(columns), mode="economic", pivoting=True)
        size = np.abs(np.diag(r))
        return cls(vectors[:, size > 1e-8 * size[0]], anchors, np.array(columns), inner, dropped)

    def energies(self, bloch: BlochHamiltonian, k: ArrayLike) -> tuple[np.ndarray, bool]:
        """Energies (m,) of the manifold at k, fractional, ascending, eV, and whether that is sure.

        The space that the solved states span hardly turns between k, while spurious solutions of the
        projected problem have little part in it. The manifold is looked for by its part in that of the
        nearest anchor, and by its place among the states with the largest part in all that were solved there.
        Bands that cross the edge of the manifold spoil the first, neighbours that leave the space the second.
        """
        h, s = bloch.matrices(k, "atomic")
        left, s_basis = self.vectors.conj().T, s @ self.vectors
        values, mixing = scipy.linalg.eigh(left @ (h @ self.vectors), left @ s_basis)
        nearest = np.argmin(np.linalg.norm((self.anchors - k) @ bloch.reciprocal, axis=1))
        shares = np.abs(self.solved[nearest].conj().T @ (s_basis @ mixing)) ** 2
        by_part = _largest(shares[self.inner].sum(axis=0), self.inner.stop - self.inner.start)
        by_place = _largest(shares.sum(axis=0), len(shares))[self.inner]
        return values[by_part], bool(np.array_equal(by_part, by_place))

    def farthest(self, bloch: BlochHamiltonian, kpoints: np.ndarray) -> int:
        """Which of some k (K, 3) lies farthest from all that were solved."""
        steps = (kpoints[:, None] - self.anchors) @ bloch.reciprocal
        return int(np.argmax(np.linalg.norm(steps, axis=-1).min(axis=1)))


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Places of the largest values, ascending."""
    return np.sort(np.argsort(values)[-count:])


def manifold_energies(
    bloch: BlochHamiltonian,
    kpoints: ArrayLike,
    anchors: ArrayLike,
    subset: tuple[int, int],
    *,
    threshold: float = OVERLAP_THRESHOLD,
    tolerance: float = TOLERANCE,
) -> tuple[np.ndarray, int, float]:
    """Energies of a manifold that is separated from all other states.

    A k where the manifold cannot be told apart surely is solved in full. So is the one farthest from the
    anchors: if the reduced basis is wrong there by more than `tolerance`, all are.

    Parameters
    ----------
    kpoints
        (K, 3) fractional.
    anchors
        (A, 3) fractional k that are solved in full and span the space.
    subset
        First and last state of the manifold.
    threshold
        Smallest eigenvalue of S that is kept.
    tolerance
        eV.

    Returns
    -------
    energies
        (K, m) eV.
    n_projected
        Largest number of eigenvalues of S dropped where it was solved in full.
    error
        Largest error at the tested k, eV.
    """
    kpoints = np.atleast_2d(np.asarray(kpoints, dtype=float))
    basis = ReducedBasis.of(bloch, anchors, subset, threshold)
    tested = basis.farthest(bloch, kpoints)
    options = {"subset": subset, "threshold": threshold}
    found = [basis.energies(bloch, k) for k in kpoints]
    energies = np.array([values for values, _ in found])
    full = np.array([not certain for _, certain in found])
    full[tested] = True
    exact, lost = eigenvalues(bloch, kpoints[full], **options)
    error = float(np.abs(energies[tested] - exact[np.flatnonzero(full) == tested][0]).max())
    if found[tested][1] and error > tolerance:
        return *eigenvalues(bloch, kpoints, **options), error
    energies[full] = exact
    return energies, max(lost, basis.n_projected), error

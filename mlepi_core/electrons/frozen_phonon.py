"""Frozen phonons of graphene: patterns that split the Dirac cone, and the splitting per displacement.

The E2g phonon at Gamma and the A1' phonon at K couple most to the Dirac electrons. With every atom displaced
by d, the degenerate states at K split by dE = 4 D d for E2g and by dE = sqrt(8) D d for A1'. D^2 is the mean
over the four pairs of pi states of the squared matrix element of dV for a displacement normalised to one
cell; S. Piscanec, M. Lazzeri, F. Mauri, A. C. Ferrari, J. Robertson, Phys. Rev. Lett. 93, 185503 (2004),
arXiv cond-mat/0407164, give <g^2> = D^2 hbar / (2 M omega) = 0.0405 and 0.0994 eV^2 from plane-wave DFT.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from mlepi_core.artefacts import InputError
from mlepi_core.electrons.dirac import DiracCone
from mlepi_core.electrons.solver import solve
from mlepi_core.structures.lattice import k_point, plane_normal

__all__ = ["PATTERNS", "PUBLISHED", "Matrices", "coupling_squared", "patterns"]

PATTERNS = ("E2g_x", "E2g_y", "A1'")
#: D^2 in (eV/Å)^2 from the <g^2> above, with hbar omega = 196.0 meV (E2g) and 161.2 meV (A1').
PUBLISHED = {"E2g_x": 45.6, "E2g_y": 45.6, "A1'": 92.1}
_PER_COUPLING = {"E2g_x": 4.0, "E2g_y": 4.0, "A1'": np.sqrt(8.0)}


def coupling_squared(pattern: str, splitting: float) -> float:
    """D^2 in (eV/Å)^2 of a splitting in eV per Å of displacement of every atom."""
    return float((splitting / _PER_COUPLING[pattern]) ** 2)


def patterns(atoms: Atoms, layer: int) -> dict[str, np.ndarray]:
    """Displacements (N, 3) of one layer, every atom of it by 1 Å.

    ``E2g_x`` and ``E2g_y``: sublattices against each other, along a1 and across. ``A1'``: a third of the
    hexagons, none sharing an atom, breathe.

    Parameters
    ----------
    atoms
        Ideal 3m x 3m cell of graphene layers, with the array ``layer``.
    layer
        Label of the layer that moves.

    Raises
    ------
    InputError
        If K does not fold to Gamma, or the layer is no honeycomb.
    """
    cone = DiracCone.from_atoms(atoms)
    if not cone.both_valleys:
        raise InputError("frozen phonon", f"K does not fold to Γ in {cone.n}x{cone.n} cells", "use 3x3")
    lattice = atoms.cell.array / [[cone.n], [cone.n], [1]]
    members = np.flatnonzero(atoms.arrays["layer"] == layer)
    steps = (atoms.positions[members] - atoms.positions[members[0]]) @ np.linalg.inv(lattice)
    first = np.abs(steps - np.round(steps)).max(axis=1) < 1e-3
    if first.sum() * 2 != len(members):
        raise InputError("frozen phonon", "the layer has no two sublattices of equal size")
    sign = np.where(first, 1.0, -1.0)
    axis = lattice[0] / np.linalg.norm(lattice[0])
    normal = plane_normal(lattice)
    moves = {
        "E2g_x": sign[:, None] * axis,
        "E2g_y": sign[:, None] * np.cross(normal, axis),
        "A1'": _breathing(atoms.positions[members], sign, lattice, normal),
    }
    result = {}
    for name, displacement in moves.items():
        result[name] = np.zeros((len(atoms), 3))
        result[name][members] = displacement
    return result


def _breathing(places: np.ndarray, sign: np.ndarray, lattice: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Unit vectors (n, 3) away from the centre of the breathing hexagon that each atom belongs to."""
    steps = places[sign < 0] - places[np.argmax(sign)]
    bond = steps[np.argmin(np.linalg.norm(steps, axis=1))]
    side = np.cross(normal, bond)
    angles = 2 * np.pi / 3 * np.arange(3)
    bonds = np.cos(angles)[:, None] * bond + np.sin(angles)[:, None] * side
    origin = places[np.argmax(sign)] - bond
    corner, inverse = k_point(lattice), np.linalg.inv(lattice)
    result = np.zeros((len(places), 3))
    for turned in bonds:
        outwards = sign[:, None] * turned
        phase = (places - outwards - origin) @ inverse @ corner
        chosen = np.abs(phase - np.round(phase)) < 1e-3
        result[chosen] += (outwards / np.linalg.norm(turned))[chosen]
    if np.abs(np.linalg.norm(result, axis=1) - 1).max() > 1e-6:
        raise InputError("frozen phonon", "the layer is no honeycomb", "give an undisplaced structure")
    return result


@dataclass(frozen=True)
class Matrices:
    """H and S at the folded K, and their derivatives along a pattern; (n, n) each, eV, eV/Å."""

    hamiltonian: np.ndarray
    overlap: np.ndarray
    d_hamiltonian: np.ndarray
    d_overlap: np.ndarray

    def restricted(self, orbitals: np.ndarray) -> Matrices:
        """The block of some orbitals (n,) bool: what the others do enters H, but nothing mixes with them."""
        keep = np.ix_(orbitals, orbitals)
        return Matrices(
            self.hamiltonian[keep], self.overlap[keep], self.d_hamiltonian[keep], self.d_overlap[keep]
        )

    def gap(self, states: tuple[int, int]) -> float:
        """What splits the states first … last without displacement, in eV: zero for a free layer."""
        return half_difference(solve(self.hamiltonian, self.overlap, subset=states).energies)

    def first_order(self, states: tuple[int, int]) -> np.ndarray:
        """Matrix W of degenerate perturbation theory in the states first … last, traceless (m, m), eV/Å.

        W_ij = <i| dH - (E_i + E_j)/2 dS |j> for C^+ S C = 1: dS because the orbitals move with the atoms.
        """
        solution = solve(self.hamiltonian, self.overlap, vectors=True, subset=states)
        energies, vectors = solution.energies, solution.vectors
        mean = (energies[:, None] + energies) / 2
        matrix = vectors.conj().T @ self.d_hamiltonian @ vectors
        matrix -= mean * (vectors.conj().T @ self.d_overlap @ vectors)
        return matrix - np.trace(matrix) / len(matrix) * np.eye(len(matrix))

    def splitting(self, states: tuple[int, int]) -> float:
        """First-order splitting in eV/Å: upper half of the eigenvalues of W less the lower half, means."""
        return half_difference(np.linalg.eigvalsh(self.first_order(states)))

    def coupling_norm(self, states: tuple[int, int]) -> float:
        """Frobenius norm of W in eV/Å: the splitting if four states couple in two pairs and no others do.

        Does not depend on the basis in the manifold, and so not on how layers hybridise.
        """
        return float(np.linalg.norm(self.first_order(states)))

    def finite_splitting(self, states: tuple[int, int], step: float) -> float:
        """The same from the spectra of H ± step dH, S ± step dS (step in Å), gaps at rest removed.

        A gap at rest adds in squares; opposite steps cancel odd orders.
        """
        squares = []
        for shift in (-step, 0.0, step):
            h, s = self.hamiltonian + shift * self.d_hamiltonian, self.overlap + shift * self.d_overlap
            squares.append(half_difference(solve(h, s, subset=states).energies) ** 2)
        return float(np.sqrt(max((squares[0] + squares[2]) / 2 - squares[1], 0.0)) / step)


def half_difference(energies: Sequence[float] | np.ndarray) -> float:
    """Mean of the upper half of sorted energies less that of the lower half."""
    half = len(energies) // 2
    return float(np.mean(energies[half:]) - np.mean(energies[:half]))

"""Toy: Dirac cones of fixed velocity with random cone shifts and Kekule gaps."""

from __future__ import annotations

import numpy as np

from mlepi_core.electrons import VelocitySamples, VelocitySpec

HBAR_V = 5.5
"""eV Å, the same in every snapshot."""
GAMMA_1 = 0.48

_ONE, _X = np.eye(2), np.array([[0, 1], [1, 0]])
_Y, _Z = np.array([[0, -1j], [1j, 0]]), np.diag([1.0, -1.0])


class Snapshots:
    """`count` snapshots of an n x n cell at T = 0: cone shift A (1/Å), Kekule mass D (eV) and its phase."""

    def __init__(self, n: int, count: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.shift = rng.normal(scale=0.2846 / (HBAR_V * n), size=(count, 2))
        z = (rng.normal(size=count) + 1j * rng.normal(size=count)) / np.sqrt(2)
        self.mass, self.phase = 0.446 * np.abs(z) / n, np.angle(z)

    def hamiltonian(self, k: np.ndarray) -> np.ndarray:
        """(count, 4, 4) at Cartesian k (2,); valley x sublattice."""
        h = HBAR_V * np.kron(_ONE, k[0] * _X + k[1] * _Y).astype(complex)[None]
        terms = (
            (HBAR_V * self.shift[:, 0], np.kron(_Z, _X)),
            (HBAR_V * self.shift[:, 1], np.kron(_Z, _Y)),
            (self.mass * np.cos(self.phase), np.kron(_X, _Z)),
            (self.mass * np.sin(self.phase), np.kron(_Y, _Z)),
        )
        return h + sum(factor[:, None, None] * matrix for factor, matrix in terms)


def monolayer(snapshots: Snapshots, k: np.ndarray) -> np.ndarray:
    """Energies (count, 4)."""
    return np.linalg.eigvalsh(snapshots.hamiltonian(k))


def bilayer(lower: Snapshots, upper: Snapshots, k: np.ndarray) -> np.ndarray:
    """Energies (count, 8) of two layers joined by gamma_1 between B of the lower and A of the upper one."""
    first, second = lower.hamiltonian(k), upper.hamiltonian(k)
    joined = np.zeros((len(first), 8, 8), dtype=complex)
    joined[:, :4, :4], joined[:, 4:, 4:] = first, second
    joined[:, :4, 4:] = np.kron(_ONE, [[0, 0], [GAMMA_1, 0]])
    joined[:, 4:, :4] = joined[:, :4, 4:].conj().transpose(0, 2, 1)
    return np.linalg.eigvalsh(joined)


def samples(energies_at, n: int, spec: VelocitySpec, layers: int) -> VelocitySamples:
    """`VelocitySamples` of energies_at(k) -> (count, m), k along x and, for several directions, around."""
    angles = np.pi * np.arange(spec.directions) / spec.directions
    axes = np.column_stack([np.cos(angles), np.sin(angles)])
    energies = np.stack([[energies_at(k * axis) for k in spec.radii] for axis in axes]).transpose(2, 0, 1, 3)
    count = len(energies)
    return VelocitySamples(
        spec=spec,
        cone_n=n,
        layers=layers,
        lattice_constant=2.46,
        energies=energies,
        cone_energies=energies_at(np.zeros(2)),
        velocity_squared=np.full(count, HBAR_V**2),
        pair=np.arange(count),
        sign=np.ones(count, dtype=int),
        temperature=0.0,
    )

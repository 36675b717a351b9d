"""Dispersion energy of DFT-D2 as a fixed part of the phonon net: S. Grimme, J. Comput. Chem. 27, 1787 (2006).

E = -s6/2 Σ_ij Σ_R' √(C_i C_j)/r^6 f(r),  f(r) = 1/(1 + exp(-d (r/(R_i + R_j) - 1))).

C6 of a pair is a geometric mean, so the undamped sum is an Ewald sum, without any cutoff (N. Karasawa and
W. A. Goddard, J. Phys. Chem. 93, 7320 (1989)); damping only adds a term of short range.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols
from ase.units import J, mol, nm
from scipy.special import erfc
from torch import Tensor

from mlepi_core.artefacts import InputError
from mlepi_core.graph import neighbour_pairs

__all__ = ["C6", "DAMPING", "R0", "S6_PBE", "Dispersion", "check_elements"]

#: Global scale of PBE and steepness of the damping.
S6_PBE, DAMPING = 0.75, 20.0

# Element, C6 (J nm^6/mol), van der Waals radius (Å): Table 1 of the publication.
_TABLE = """
H  0.14 1.001   He 0.08 1.012   Li 1.61 0.825   Be 1.61 1.408   B  3.13 1.485   C  1.75 1.452
N  1.23 1.397   O  0.70 1.342   F  0.75 1.287   Ne 0.63 1.243   Na 5.71 1.144   Mg 5.71 1.364
Al 10.79 1.639  Si 9.23 1.716   P  7.84 1.705   S  5.57 1.683   Cl 5.07 1.639   Ar 4.61 1.595
K  10.80 1.485  Ca 10.80 1.474  Ga 16.99 1.650  Ge 17.10 1.727  As 16.37 1.760  Se 12.64 1.771
Br 12.47 1.749  Kr 12.01 1.727  Rb 24.67 1.628  Sr 24.67 1.606  In 37.32 1.672  Sn 38.71 1.804
Sb 38.44 1.881  Te 31.74 1.892  I  31.50 1.892  Xe 29.99 1.881
"""
_SC_TO_ZN, _Y_TO_CD = (10.80, 1.562), (24.67, 1.639)


def _parameters() -> dict[int, tuple[float, float]]:
    words = _TABLE.split()
    rows = zip(words[::3], words[1::3], words[2::3], strict=True)
    found = {atomic_numbers[symbol]: (float(c6), float(r0)) for symbol, c6, r0 in rows}
    return found | dict.fromkeys(range(21, 31), _SC_TO_ZN) | dict.fromkeys(range(39, 49), _Y_TO_CD)


#: C6 (eV Å^6) and van der Waals radius (Å) by atomic number, H to Xe.
C6 = {number: c6 * float(J * nm**6 / mol) for number, (c6, _) in _parameters().items()}
R0 = {number: r0 for number, (_, r0) in _parameters().items()}

_REAL_CUTOFF = 14.0  # Å
_WIDTH = 4.5 / _REAL_CUTOFF  # 1/Å: terms dropped in both spaces are below 1e-12 eV for a pair of carbon atoms
_LARGEST_WAVE = 10.4 * _WIDTH
_VACUUM = 80.0  # Å between images along directions that are not periodic
_SKIN = 1.0  # Å
_WAVES_AT_ONCE = 2_000_000  # atoms times wave vectors


def check_elements(numbers: Sequence[int]) -> None:
    """Refuse elements without parameters."""
    unknown = sorted({int(number) for number in numbers} - set(C6))
    if unknown:
        names = ", ".join(chemical_symbols[number] for number in unknown)
        raise InputError("d2_baseline", f"DFT-D2 has no parameters of {names}", "switch d2_baseline off")


class Dispersion:
    """DFT-D2 of one structure; energies are differentiable in the positions to any order.

    Parameters
    ----------
    numbers
        Atomic numbers (N,), H to Xe.
    cell
        Lattice vectors as rows (3, 3), Å.
    pbc
        Periodic directions (3,). Along others the cell is widened to 80 Å of vacuum, which for two layers is
        an error below 1e-6 eV per atom; with none of the three the sum over pairs is direct.
    s6
        Global scale of the functional; 0.75 is that of PBE.
    """

    def __init__(
        self, numbers: Sequence[int], cell: np.ndarray, pbc: Sequence[bool], *, s6: float = S6_PBE
    ) -> None:
        check_elements(numbers)
        strength = s6 * np.array([C6[int(number)] for number in numbers])
        self.root = torch.as_tensor(np.sqrt(strength))
        self.radius = torch.as_tensor(np.array([R0[int(number)] for number in numbers]))
        self.cell, self.pbc = np.asarray(cell, dtype=float), np.asarray(pbc, dtype=bool)
        self.width = _WIDTH if self.pbc.any() else 0.0
        self._listed: np.ndarray | None = None
        self._pairs: tuple[Tensor, Tensor, Tensor] | None = None
        self._spectrum: tuple[Tensor, Tensor] | None = None

    def node_energies(self, positions: Tensor) -> Tensor:
        """Half of each pair's energy on both atoms, (N,) eV, for positions (N, 3), Å; computed in float64."""
        x = positions.to("cpu", torch.float64)
        energy = self._real(x)
        if self.width:
            energy = energy + self._reciprocal(x) + self.root.square() * self.width**6 / 12
        return energy.to(positions)

    def energy_forces(self, positions: np.ndarray) -> tuple[float, np.ndarray]:
        """Energy (eV) and forces (N, 3) in eV/Å."""
        with torch.enable_grad():
            x = torch.as_tensor(positions, dtype=torch.float64).detach().clone().requires_grad_(True)
            energy = self.node_energies(x).sum()
            (gradient,) = torch.autograd.grad(energy, x)
        return float(energy.detach()), -gradient.numpy()

    def _real(self, positions: Tensor) -> Tensor:
        i, j, shift = self._neighbours(positions)
        square = (positions[j] + shift - positions[i]).square().sum(-1)
        scaled = square * self.width**2
        screened = torch.exp(-scaled) * (1 + scaled + scaled.square() / 2)
        undamped = torch.sigmoid(-DAMPING * (square.sqrt() / (self.radius[i] + self.radius[j]) - 1))
        pair = -0.5 * self.root[i] * self.root[j] * (screened - undamped) / square**3
        return pair.new_zeros(len(positions)).index_add(0, i, pair)

    def _reciprocal(self, positions: Tensor) -> Tensor:
        """Long-range part: one of each pair of opposite wave vectors."""
        if self._spectrum is None:
            self._spectrum = self._wave_vectors(positions)
        waves, weights = self._spectrum
        energy = torch.zeros_like(positions[:, 0])
        chunk = max(1, _WAVES_AT_ONCE // max(len(positions), 1))
        for first in range(0, len(waves), chunk):
            phase = positions @ waves[first : first + chunk].T
            cosine, sine = phase.cos() * self.root[:, None], phase.sin() * self.root[:, None]
            weight = weights[first : first + chunk]
            energy = energy + cosine @ (cosine.sum(0) * weight) + sine @ (sine.sum(0) * weight)
        return energy

    def _wave_vectors(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        lattice = self._periodic_lattice(positions)
        reciprocal = 2 * math.pi * np.linalg.inv(lattice).T
        reach = np.ceil(_LARGEST_WAVE * np.linalg.norm(lattice, axis=1) / (2 * math.pi)).astype(int)
        counts = np.stack(
            np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1
        ).reshape(-1, 3)
        counts = counts[len(counts) // 2 :]  # the origin, and one of every pair
        waves = counts @ reciprocal
        length = np.linalg.norm(waves, axis=1)
        waves, length = waves[length < _LARGEST_WAVE], length[length < _LARGEST_WAVE]
        b = length / (2 * self.width)
        # k^3 (√π erfc b + (1/(2b^3) - 1/b) exp(-b^2)), written without division by b = 0.
        shape = (2 * self.width) ** 3 * (math.sqrt(math.pi) * b**3 * erfc(b) + (0.5 - b**2) * np.exp(-(b**2)))
        weights = -(math.pi**1.5) / (24 * abs(np.linalg.det(lattice))) * shape * np.where(length > 0, 2, 1)
        return torch.as_tensor(waves), torch.as_tensor(weights)

    def _periodic_lattice(self, positions: Tensor) -> np.ndarray:
        """The cell, with vacuum along directions that are not periodic."""
        lattice = self.cell.copy()
        along = list(np.flatnonzero(self.pbc))
        # Orthonormal complement of the periodic vectors.
        normals = np.linalg.svd(lattice[along])[2][len(along) :]
        x = positions.detach().numpy()
        for axis, normal in zip(np.flatnonzero(~self.pbc), normals, strict=True):
            lattice[axis] = normal * (np.ptp(x @ normal) + _VACUUM)
        return lattice

    def _neighbours(self, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pairs of the real-space sum, found anew when an atom has moved by half the skin."""
        x = positions.detach().numpy()
        if self._pairs is None or np.linalg.norm(x - self._listed, axis=1).max(initial=0) > _SKIN / 2:
            reach = _REAL_CUTOFF if self.width else np.linalg.norm(np.ptp(x, axis=0)) + 1
            i, j, image = neighbour_pairs(x, self.cell, self.pbc, reach + _SKIN)
            self._pairs = tuple(torch.as_tensor(part) for part in (i, j, image @ self.cell))
            self._listed = x.copy()
            self._spectrum = None
        return self._pairs

"""A bilayer of springs: an exactly known, conservative force model that needs no trained network."""

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from mlepi_core.structures import neighbour_pairs

SHELLS = ((1.9, 1.0 / np.sqrt(3.0), 40.0), (2.65, 1.0, 8.0), (3.2, 2.0 / np.sqrt(3.0), 4.0))
"""Upper limit (Å), rest length (lattice constants) and spring constant (eV/Å²) of three shells in a layer."""


class SpringBilayer(Calculator):
    """Springs in each layer, a bending term on z, and a pair potential between layers that prefers AB.

    Parameters
    ----------
    lattice_constant
        Å; sets the rest lengths.
    bending
        eV/Å²; energy ½κ(z_i − mean z of its three neighbours)².
    well
        eV; depth of the interlayer pair potential. AA stacking is a saddle for it.
    """

    implemented_properties = ("energy", "forces")

    def __init__(self, lattice_constant: float = 2.474, bending: float = 12.0, well: float = 0.01) -> None:
        super().__init__()
        self.lattice_constant, self.bending, self.well = lattice_constant, bending, well
        self.n_calls = 0

    def calculate(
        self, atoms: Atoms | None = None, properties=("energy",), system_changes=all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        self.n_calls += 1
        positions, cell, layer = self.atoms.positions, self.atoms.cell.array, self.atoms.arrays["layer"]
        i, j, shift = neighbour_pairs(positions, cell, self.atoms.pbc, 7.0)
        vector = positions[j] + shift @ cell - positions[i]
        length = np.linalg.norm(vector, axis=1)
        same = layer[i] == layer[j]
        energy, slope = self._pairs(length, same)
        forces = np.zeros_like(positions)
        # every pair stands twice in the list
        np.add.at(forces, i, (slope / length)[:, None] * vector)
        bonds = same & (length < SHELLS[0][0])
        bent = np.zeros(len(positions))
        np.add.at(bent, i[bonds], -vector[bonds, 2] / 3.0)
        forces[:, 2] -= self.bending * bent
        np.add.at(forces[:, 2], j[bonds], self.bending * bent[i[bonds]] / 3.0)
        self.results = {
            "energy": float(energy.sum() / 2 + self.bending * (bent**2).sum() / 2),
            "forces": forces,
        }

    def _pairs(self, length: np.ndarray, same: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        energy, slope = np.zeros_like(length), np.zeros_like(length)
        lower = 0.0
        for upper, rest, constant in SHELLS:
            shell = same & (length >= lower) & (length < upper)
            stretch = length[shell] - rest * self.lattice_constant
            energy[shell], slope[shell] = constant * stretch**2 / 2, constant * stretch
            lower = upper
        x, r = (3.5 / length[~same]) ** 6, length[~same]
        cut, cut_slope = (1 - (r / 7.0) ** 2) ** 3, -6 * r / 49.0 * (1 - (r / 7.0) ** 2) ** 2
        pair, pair_slope = self.well * (x**2 - 2 * x), self.well * (-12 * x**2 + 12 * x) / r
        energy[~same], slope[~same] = pair * cut, pair_slope * cut + pair * cut_slope
        return energy, slope

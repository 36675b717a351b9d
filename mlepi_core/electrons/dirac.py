"""Where the Dirac cone of graphene layers lies in a supercell, and along which k it is probed.

K comes from the lattice and folds to n K mod 1 in an n x n cell, which is Gamma for n = 3m
(docs/units-and-conventions.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from ase import Atoms

from mlepi_core.artefacts import InputError
from mlepi_core.electrons.occupation import n_occupied
from mlepi_core.structures.lattice import fold_k, k_point, plane_normal
from mlepi_core.structures.layers import ensure_layers

# Strained cells are still probed; thermal samples keep the cell of their reference.
_LATTICE_TOLERANCE = 0.01
# Radius (1/Å) by which two layers (gamma_1 up to 0.5 eV) draw the next folded band nearer to the cone.
_BILAYER_MARGIN = 0.05
# At an angle of 15 degrees to the line Gamma-K the six-fold warping vanishes, and +k with -k removes
# the three-fold one, so that few directions give the average over all.
_FIRST_ANGLE = np.pi / 12


@dataclass(frozen=True)
class DiracCone:
    """Folded Dirac cone of an n x n cell of graphene layers.

    Attributes
    ----------
    n
        Primitive cells along each lattice vector.
    layers
        Graphene layers.
    point
        (3,) fractional coordinates of the folded K in the supercell.
    axes
        (2, 3) Cartesian unit vectors of the plane; the first points from Gamma to K.
    first_state, n_states
        Lowest state of the manifold and its size: both valleys where both fold to Gamma.
    largest_radius
        |k - K| in 1/Å up to which the manifold is not crossed by the next folded bands.
    """

    n: int
    layers: int
    point: tuple[float, float, float]
    axes: np.ndarray
    first_state: int
    n_states: int
    largest_radius: float

    @classmethod
    def from_atoms(cls, atoms: Atoms, n_electrons: float | None = None) -> DiracCone:
        """Cone of an undoped mono- or multilayer in an n x n cell of a hexagonal lattice.

        Parameters
        ----------
        atoms
            With the integer array ``layer``; without it layers are assigned.
        n_electrons
            Electrons of the cell; None counts valence charges.

        Raises
        ------
        InputError
            If the lattice is not hexagonal, the atoms do not fill an n x n cell with two atoms per
            primitive cell and layer, or the electrons do not fill whole bands.
        """
        layers = len(np.unique(ensure_layers(atoms).arrays["layer"]))
        n = _cells_along_vector(len(atoms), layers)
        lattice = np.asarray(atoms.cell) / [[n], [n], [1]]
        corner = k_point(lattice, _LATTICE_TOLERANCE)
        point = fold_k(corner, n)
        both_valleys = not point.any()
        direction = _towards(corner, lattice)
        axes = np.stack([direction, np.cross(plane_normal(lattice), direction)])
        size = 2 * layers * (2 if both_valleys else 1)
        occupied = n_occupied(atoms.numbers, n_electrons)
        zone = 2 * np.pi * np.linalg.norm(np.linalg.inv(lattice)[:, 0]) / n
        return cls(
            n=n,
            layers=layers,
            point=tuple(float(x) for x in point),
            axes=axes,
            first_state=occupied - size // 2,
            n_states=size,
            largest_radius=_clear_radius(zone, layers, both_valleys),
        )

    @property
    def both_valleys(self) -> bool:
        """Whether K and K' fold to Gamma (n = 3m)."""
        return not any(self.point)

    @property
    def subset(self) -> tuple[int, int]:
        """First and last state of the manifold."""
        return self.first_state, self.first_state + self.n_states - 1

    def offsets(self, directions: int) -> np.ndarray:
        """Cartesian unit vectors (D, 3) along which k leaves the cone.

        Evenly spaced lines through K. At Gamma E(-k) = E(k) makes -k superfluous; elsewhere each line
        is taken both ways, which stands for the other valley.
        """
        angles = _FIRST_ANGLE + np.pi * np.arange(directions) / directions
        lines = np.cos(angles)[:, None] * self.axes[0] + np.sin(angles)[:, None] * self.axes[1]
        return lines if self.both_valleys else np.concatenate([lines, -lines])

    def check_radius(self, radius: float) -> None:
        """Refuse a radius (1/Å) at which the manifold mixes with the next folded bands."""
        if radius > self.largest_radius:
            raise InputError(
                "velocity window",
                f"|k| = {radius:g} 1/Å reaches the next folded bands of the {self.n}x{self.n} cell",
                f"stay below {self.largest_radius:.3f} 1/Å or use a smaller cell",
            )


def _towards(corner: np.ndarray, lattice: np.ndarray) -> np.ndarray:
    """Cartesian unit vector (3,) from Gamma to the nearest image of a k point (3,) fractional."""
    reciprocal = 2 * np.pi * np.linalg.inv(lattice).T
    images = np.array([(i, j, 0) for i, j in product((-1, 0), repeat=2)])
    vectors = (corner + images) @ reciprocal
    lengths = np.linalg.norm(vectors, axis=1)
    return vectors[np.argmin(lengths)] / lengths.min()


def _cells_along_vector(n_atoms: int, layers: int) -> int:
    n = round(np.sqrt(n_atoms / (2 * layers)))
    if n < 1 or 2 * layers * n * n != n_atoms:
        raise InputError(
            "structure",
            f"{n_atoms} atoms in {layers} layer(s) are not an n x n cell of graphene layers",
            "give an untwisted cell whose array 'layer' is right",
        )
    return n


def _clear_radius(zone: float, layers: int, both_valleys: bool) -> float:
    """Radius free of other bands, from the length of the supercell's reciprocal vectors."""
    # Away from Gamma the other valley lies at a distance |b|/sqrt(3) in the same zone.
    half = zone / 2 if both_valleys else zone / (2 * np.sqrt(3))
    return half - (_BILAYER_MARGIN if layers > 1 else 0.0)

"""Velocity of the bands of an averaged Green function: estimators `spectral` and `self_energy`.

Both unfold the Green function of every snapshot onto primitive k around K, project it on the bare states of
the Dirac manifold and average it. `spectral` takes the maxima of -Im G_nn/pi in the basis of bare states, as
a photoemission experiment would; `self_energy` the solutions of E = eig Re[z - G(z)^-1], z = E + i eta, the
poles of the averaged propagator (Giustino 2017, doi:10.1103/RevModPhys.89.015003). The bands of either, and
those of the undisplaced cell, go into the form W0 + (hbar v)^2 k^2 of the estimator `manifold`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from ase import Atoms

from mlepi_core.artefacts import InputError
from mlepi_core.electrons.bloch import BlochHamiltonian
from mlepi_core.electrons.dirac import DiracCone
from mlepi_core.electrons.estimators import Window, linear_form, velocity_of_slope
from mlepi_core.electrons.solver import solve
from mlepi_core.electrons.spectral import (
    effective_hamiltonian,
    green_functions,
    quasiparticle_energies,
)
from mlepi_core.electrons.unfolding import BlochSums, primitive_hamiltonians

ESTIMATORS = ("spectral", "self_energy")
#: Window of |k - K| in 1/Å: some 0.2 to 0.7 eV from the cone's centre.
WINDOW: Window = (0.04, 0.12)
#: eV: imaginary part of the energy, which makes single levels of a supercell a band.
ETA = 0.03
# How far beyond the bare bands energies are looked for, eV.
_MARGIN = 0.35
# Energies per eta: maxima and crossings are interpolated between them.
_PER_ETA = 3


@dataclass(frozen=True)
class ConeStates:
    """Bare states around K of the primitive cell, and where Green functions are wanted.

    Attributes
    ----------
    kpoints
        (K, 3) fractional, directions after each other, radii within.
    radii
        (R,) |k - K| in 1/Å.
    energies
        (K, m) of the Dirac manifold, eV relative to its mean at K.
    vectors
        (K, n, m) in Löwdin orbitals of the primitive cell.
    z
        (Z,) E + i eta, eV.
    """

    kpoints: np.ndarray
    radii: np.ndarray
    energies: np.ndarray
    vectors: np.ndarray
    z: np.ndarray

    def mean_square(self, energies: np.ndarray) -> np.ndarray:
        """W (…, R) in eV^2 of bands (…, K, m): their variance, averaged over directions."""
        variance = energies.var(axis=-1)
        return variance.reshape(*variance.shape[:-1], -1, len(self.radii)).mean(axis=-2)

    def velocity(self, energies: np.ndarray) -> np.ndarray:
        """Velocity (…) in m/s of bands (…, K, m); NaN where they do not disperse or are unknown."""
        return velocity_of_slope("manifold", self.mean_square(energies) @ linear_form("manifold", self.radii))


def primitive_cell(atoms: Atoms) -> Atoms:
    """Primitive cell of an undisplaced n x n cell of graphene layers.

    Raises
    ------
    InputError
        If the atoms are not those of a cell repeated n x n.
    """
    n = DiracCone.from_atoms(atoms).n
    lattice = np.asarray(atoms.cell) / [[n], [n], [1]]
    wrapped = np.linalg.solve(lattice.T, atoms.positions.T).T
    cells = np.floor(wrapped[:, :2] - wrapped[0, :2] + 1e-3)
    chosen = atoms[(cells == 0).all(axis=1)]
    if len(chosen) * n * n != len(atoms):
        raise InputError("static cell", f"is no {n}x{n} repetition of one cell", "give an undisplaced one")
    chosen.set_cell(lattice)
    return chosen


def cone_states(
    static: BlochHamiltonian,
    atoms: Atoms,
    primitive: Atoms,
    window: Window = WINDOW,
    *,
    directions: int = 3,
    k_points: int = 3,
    eta: float = ETA,
    n_electrons: float | None = None,
) -> ConeStates:
    """Bare states of the cone, from H and S of an undisplaced cell of any size.

    Parameters
    ----------
    static, atoms
        Undisplaced cell.
    primitive
        Its primitive cell.
    directions
        Lines through K, each taken both ways.
    k_points
        Points of the window in each direction.
    """
    if not (0 <= window[0] < window[1] and k_points > 1 and directions > 0 and eta > 0):
        problem = (
            f"[{window[0]:g}, {window[1]:g}] 1/Å, {k_points} points, {directions} directions, eta {eta:g}"
        )
        raise InputError("velocity window", problem, "give 0 <= LO < HI, two points, eta > 0")
    cells = len(atoms) // len(primitive)
    cone = DiracCone.from_atoms(primitive, None if n_electrons is None else n_electrons / cells)
    radii = np.linspace(*window, k_points)
    offsets = (cone.offsets(directions)[:, None, :] * radii[:, None]).reshape(-1, 3)
    to_fractional = np.asarray(primitive.cell).T / (2 * np.pi)
    kpoints = np.concatenate([[cone.point], np.asarray(cone.point) + offsets @ to_fractional])
    sums = BlochSums.of(static, atoms, primitive)
    first, last = cone.subset
    bare = np.empty((len(kpoints), cone.n_states))
    vectors = np.empty((len(kpoints), sums.n_primitive, cone.n_states), dtype=complex)
    for index, block in enumerate(primitive_hamiltonians(static, sums, kpoints)):
        bare[index], vectors[index] = scipy.linalg.eigh(block, subset_by_index=[first, last])
    bare -= bare[0].mean()
    count = int(np.ceil((np.ptp(bare) + 2 * _MARGIN) * _PER_ETA / eta)) + 1
    grid = np.linspace(bare.min() - _MARGIN, bare.max() + _MARGIN, count)
    return ConeStates(kpoints[1:], radii, bare[1:], vectors[1:], grid + 1j * eta)


def projected_green(
    bloch: BlochHamiltonian,
    atoms: Atoms,
    primitive: Atoms,
    states: ConeStates,
    n_electrons: float | None = None,
) -> np.ndarray:
    """Green function of a snapshot between the bare states: (K, Z, m, m) complex, 1/eV.

    Energies are relative to the mean of the snapshot's own manifold at the folded K, which removes the
    constant that H is free to have. Cost: dense diagonalisations of H and of S at each supercell k.
    """
    sums = BlochSums.of(bloch, atoms, primitive)
    cone = DiracCone.from_atoms(atoms, n_electrons)
    level = solve(*bloch.matrices(cone.point), subset=cone.subset).energies.mean()
    green = green_functions(bloch, sums, states.kpoints, states.z + level)
    return np.einsum("kna,kznm,kmb->kzab", states.vectors.conj(), green, states.vectors, optimize=True)


def band_energies(green: np.ndarray, states: ConeStates, estimator: str) -> np.ndarray:
    """Bands (K, m) in eV of a mean Green function (K, Z, m, m); NaN where there is none within the grid.

    Parameters
    ----------
    estimator
        One of `ESTIMATORS`.
    """
    m = green.shape[-1]
    if estimator == "self_energy":
        return quasiparticle_energies(green, states.z, range(m))
    spectra = -np.diagonal(green, axis1=-2, axis2=-1).imag / np.pi
    return np.sort(np.apply_along_axis(_maximum, 1, spectra, states.z.real), axis=-1)


def half_widths(green: np.ndarray, states: ConeStates, energies: np.ndarray) -> np.ndarray:
    """-Im of the self-energy (K, m) in eV of the bands at `energies` (K, m), in the basis of bare states."""
    effective = effective_hamiltonian(green, states.z)
    imaginary = -np.diagonal(effective, axis1=-2, axis2=-1).imag
    return np.array(
        [
            [np.interp(energy, states.z.real, imaginary[k, :, band]) for band, energy in enumerate(row)]
            for k, row in enumerate(energies)
        ]
    )


def _maximum(spectrum: np.ndarray, grid: np.ndarray) -> float:
    """Position of the highest point, by a parabola through 1/A: exact for a Lorentzian."""
    top = int(np.argmax(spectrum))
    if top in (0, len(grid) - 1):
        return np.nan
    left, middle, right = 1 / spectrum[top - 1 : top + 2]
    return float(grid[top] + (grid[1] - grid[0]) * (left - right) / (2 * (left - 2 * middle + right)))

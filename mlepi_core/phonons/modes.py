"""Gamma modes of a sampling supercell, whatever cell the force constants were computed in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms
from scipy.linalg import eigh, qr

from mlepi_core.artefacts import InputError
from mlepi_core.phonons.force_constants import check_supercell
from mlepi_core.phonons.units import CM1_PER_THZ, THZ_PER_SQRT_EIGENVALUE
from mlepi_core.structures import build_supercell

#: Eigenvalues below this fraction of the largest one have no restoring force to speak of
#: (a frequency ratio of 1e-5, 0.02 cm⁻¹ in graphene): relative.
RELATIVE_ZERO = 1e-10


@dataclass(frozen=True)
class SupercellModes:
    """All 3N − 3 vibrations of a supercell at its Gamma point; uniform translations are not among them.

    Attributes
    ----------
    reference
        Equilibrium supercell, N atoms in the order of `build_supercell`, whose arrays ``kappa`` and
        ``cell_index`` map them to the primitive cell.
    eigenvalues
        ω² (3N − 3), eV/(Å² amu), ascending; negative ones are imaginary modes.
    eigenvectors
        Real orthonormal mass-weighted polarisations, columns of (3N, 3N − 3).
    """

    reference: Atoms
    eigenvalues: np.ndarray
    eigenvectors: np.ndarray

    @property
    def frequencies(self) -> np.ndarray:
        """Frequencies (3N − 3), THz; imaginary ones as negative numbers."""
        return signed_frequencies(self.eigenvalues)

    @property
    def frequencies_cm1(self) -> np.ndarray:
        """Frequencies (3N − 3), cm⁻¹; imaginary ones as negative numbers."""
        return self.frequencies * CM1_PER_THZ

    @property
    def unstable(self) -> np.ndarray:
        """Mask (3N − 3) of modes without a restoring force: imaginary, or zero to `RELATIVE_ZERO`."""
        return self.eigenvalues <= RELATIVE_ZERO * np.abs(self.eigenvalues).max()


def signed_frequencies(eigenvalues: np.ndarray) -> np.ndarray:
    """THz of eigenvalues in eV/(Å² amu); imaginary ones negative."""
    return np.sign(eigenvalues) * np.sqrt(np.abs(eigenvalues)) * THZ_PER_SQRT_EIGENVALUE


def supercell_modes(phonon: Phonopy, reference: Atoms, supercell: Sequence[int]) -> SupercellModes:
    """Modes of an n1 × n2 × n3 supercell of `reference` from force constants of any supercell.

    D is rebuilt from the dynamical matrices at the commensurate q points of the sampling supercell.
    Translations are removed exactly by diagonalising in their orthogonal complement, which is P D P
    without its three null vectors; no mode is chosen by its frequency.

    Parameters
    ----------
    phonon
        Force constants, with a primitive cell equal to `reference`.
    reference
        Primitive reference cell.
    supercell
        Repetitions of the sampling supercell.
    """
    atoms = build_supercell(reference, check_supercell(supercell))
    return modes_of(atoms, supercell_force_constants(phonon, reference, supercell))


def modes_of(atoms: Atoms, fc: np.ndarray) -> SupercellModes:
    """Modes of a supercell from its own force constants (N, N, 3, 3), eV/Å²; see `supercell_modes`."""
    n = len(atoms)
    masses = np.repeat(atoms.get_masses(), 3)
    dynamical = fc.transpose(0, 2, 1, 3).reshape(3 * n, 3 * n) / np.sqrt(np.outer(masses, masses))
    basis = complement(translations(atoms.get_masses()))
    inside = basis.T @ dynamical @ basis
    eigenvalues, vectors = eigh((inside + inside.T) / 2)
    return SupercellModes(atoms, eigenvalues, basis @ vectors)


def translations(masses: np.ndarray) -> np.ndarray:
    """Mass-weighted unit vectors of the three uniform translations, columns of (3N, 3), masses (N,)."""
    weights = np.sqrt(np.asarray(masses) / np.sum(masses))
    return np.kron(weights[:, None], np.eye(3))


def supercell_force_constants(phonon: Phonopy, reference: Atoms, supercell: Sequence[int]) -> np.ndarray:
    """Force constants of the sampling supercell through D(q) at its commensurate points.

     Φ(κ0, κ'R) = √(M M') / N_q · Σ_q D_κκ'(q) exp(−2πi q·(r_κ'R − r_κ0)), D in phonopy's C-type phase
    . For a supercell that the original one contains this is exact; otherwise the
     missing q points come from Fourier interpolation.

     Returns
     -------
     numpy.ndarray
         (N, N, 3, 3), eV/Å², in the order of `build_supercell`.
    """
    repeats = check_supercell(supercell)
    primitive = phonon.primitive
    scaled = _scaled_like(primitive, reference)
    n, n_cells = len(reference), int(np.prod(repeats))
    cells = np.array(list(np.ndindex(repeats)))
    weight = np.sqrt(np.outer(primitive.masses, primitive.masses))
    first_row = np.zeros((n_cells, n, n, 3, 3))
    for q in cells / np.array(repeats):
        matrix = dynamical_matrix(phonon, q).reshape(n, 3, n, 3).transpose(0, 2, 1, 3)
        # to the phase of cells (D-type), in which D is periodic in q and R is an integer vector
        phase = np.exp(2j * np.pi * (scaled @ q))
        in_cells = matrix * (phase[:, None] * phase.conj()[None, :] * weight)[:, :, None, None]
        bloch = np.exp(-2j * np.pi * (cells @ q))
        first_row += np.real(bloch[:, None, None, None, None] * in_cells) / n_cells
    atoms = build_supercell(reference, repeats)
    kappa, home = atoms.arrays["kappa"], atoms.arrays["cell_index"]
    separation = (home[None, :] - home[:, None]) % np.array(repeats)
    return first_row[
        np.ravel_multi_index(np.moveaxis(separation, -1, 0), repeats), kappa[:, None], kappa[None, :]
    ]


def dynamical_matrix(phonon: Phonopy, q: np.ndarray) -> np.ndarray:
    """D(q) (3n, 3n) in eV/(Å² amu), C-type phase, at a fractional q of the primitive cell."""
    if phonon.dynamical_matrix is None:
        raise InputError("phonons", "have no force constants", "compute them first")
    phonon.dynamical_matrix.run(np.asarray(q, dtype=float))
    return np.array(phonon.dynamical_matrix.dynamical_matrix)


def contains_sampling_cell(phonon: Phonopy, supercell: Sequence[int]) -> bool:
    """Whether every commensurate q of the sampling supercell is one of the force-constant supercell."""
    matrix = np.linalg.solve(
        np.asarray(phonon.primitive_matrix, float), np.asarray(phonon.supercell_matrix, float)
    )
    ratio = matrix.T @ np.diag(1.0 / np.array(check_supercell(supercell)))
    return bool(np.allclose(ratio, np.round(ratio), atol=1e-6))


def _scaled_like(primitive: PhonopyAtoms, reference: Atoms) -> np.ndarray:
    """Fractional positions of the reference as phonopy has them, shifted by whole periods only."""
    ours = reference.get_scaled_positions(wrap=False)
    theirs = np.asarray(primitive.scaled_positions)
    if len(ours) != len(theirs) or not np.array_equal(primitive.numbers, reference.numbers):
        raise InputError(
            "reference structure", "has other atoms than the force constants", "make the phonons again"
        )
    if not np.allclose(primitive.cell, reference.cell.array, atol=1e-4):
        raise InputError(
            "reference structure", "has another cell than the force constants", "make the phonons again"
        )
    periods = np.round(ours - theirs)
    if np.abs(ours - theirs - periods).max() * np.abs(reference.cell.array).max() > 1e-3:
        raise InputError(
            "reference structure",
            "its atoms are not where the force constants have them",
            "make the phonons again",
        )
    return theirs + periods


def complement(vectors: np.ndarray) -> np.ndarray:
    """Orthonormal basis of everything orthogonal to the columns of `vectors`, (n, n − m)."""
    return qr(vectors)[0][:, vectors.shape[1] :]

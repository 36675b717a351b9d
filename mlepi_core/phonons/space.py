"""The linear space of the force constants that a crystal's symmetry allows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from phonopy import Phonopy

from mlepi_core.artefacts import InputError
from mlepi_core.phonons.force_constants import make_phonopy
from mlepi_core.phonons.modes import (
    SupercellModes,
    complement,
    modes_of,
    signed_frequencies,
    supercell_force_constants,
    translations,
)
from mlepi_core.phonons.sum_rules import invariant_basis
from mlepi_core.structures import build_supercell


@dataclass(frozen=True)
class ForceConstantSpace:
    """Force constants of a supercell as coefficients c (P,) in an orthonormal basis.

    Attributes
    ----------
    supercell
        Undisplaced cell, N atoms in the order of `build_supercell`, which is phonopy's.
    repeats
        Repetitions of the primitive cell.
    basis
        (n, N, 3, 3, P) rows of the n primitive atoms. The norm of c is the Frobenius norm of all rows, eV/Å².
    translated
        (n_cells, N): number of the atom that every atom becomes when it is moved by each cell.
    """

    supercell: Atoms
    repeats: tuple[int, int, int]
    basis: np.ndarray
    translated: np.ndarray

    @property
    def size(self) -> int:
        """Number of independent force constants P."""
        return self.basis.shape[-1]

    @property
    def n_cells(self) -> int:
        """Number of primitive cells."""
        return len(self.translated)

    def coefficients(self, fc: np.ndarray) -> np.ndarray:
        """Coefficients (P,) of the nearest force constants of the space to (N, N, 3, 3), eV/Å²."""
        found = np.zeros(self.size)
        for moved in self.translated:
            rows = fc[moved[self.first]][:, moved]
            found += np.einsum("ijab,ijabp->p", rows, self.basis, optimize=True)
        return found

    def compact(self, coefficients: np.ndarray) -> np.ndarray:
        """Rows (n, N, 3, 3) of the primitive cell, eV/Å²."""
        return self.basis @ coefficients

    def full(self, coefficients: np.ndarray) -> np.ndarray:
        """All rows (N, N, 3, 3), eV/Å²."""
        rows, n = self.compact(coefficients), len(self.supercell)
        fc = np.empty((n, n, 3, 3))
        for moved in self.translated:
            fc[moved[self.first][:, None], moved[None, :]] = rows
        return fc

    def modes(self, coefficients: np.ndarray) -> SupercellModes:
        """Vibrations of the supercell."""
        return modes_of(self.supercell, self.full(coefficients))

    def frequencies(self, coefficients: np.ndarray) -> np.ndarray:
        """THz of the 3N − 3 modes, imaginary ones negative: by commensurate q, then ascending; Γ first."""
        rows, n = self.compact(coefficients), len(self.first)
        masses = self.supercell.get_masses()[self.first]
        cells = self._cells
        in_cells = (
            rows.reshape(n, n, len(cells), 3, 3) / np.sqrt(np.outer(masses, masses))[:, :, None, None, None]
        )
        phases = np.exp(2j * np.pi * (self.qpoints @ cells.T))
        matrices = np.einsum("qc,ijcab->qiajb", phases, in_cells, optimize=True).reshape(-1, 3 * n, 3 * n)
        matrices = (matrices + matrices.conj().transpose(0, 2, 1)) / 2
        inside = complement(translations(masses))
        at_gamma = np.linalg.eigvalsh(inside.T @ matrices[0].real @ inside)
        elsewhere = np.linalg.eigvalsh(matrices[1:]).ravel()
        return signed_frequencies(np.concatenate([at_gamma, elsewhere]))

    @property
    def qpoints(self) -> np.ndarray:
        """Commensurate q (n_cells, 3), fractional in the primitive cell, Γ first."""
        return self._cells / np.array(self.repeats)

    def mode_labels(self) -> list[tuple[np.ndarray, int]]:
        """Fractional q and branch (from 1, translations at Γ counted) of each of `frequencies`."""
        branches = 3 * len(self.first)
        return [
            (q, branch)
            for number, q in enumerate(self.qpoints)
            for branch in range(1 if number else 4, branches + 1)
        ]

    @property
    def first(self) -> np.ndarray:
        """Atoms of the cell at the origin (n,)."""
        return np.flatnonzero((self.supercell.arrays["cell_index"] == 0).all(axis=1))

    @property
    def _cells(self) -> np.ndarray:
        """Cells (n_cells, 3) in the order of the atoms."""
        return self.supercell.arrays["cell_index"][self.supercell.arrays["kappa"] == 0]


def force_constant_space(
    phonon: Phonopy, reference: Atoms, rules: str = "translational"
) -> tuple[ForceConstantSpace, np.ndarray]:
    """The space for the supercell of `phonon`, and the coefficients of its force constants.

    Parameters
    ----------
    phonon
        With force constants; its supercell repeats the primitive cell along its axes.
    reference
        Primitive cell with layers.
    rules
        ``"translational"`` or ``"rotational"``, `impose_sum_rules`.

    Raises
    ------
    InputError
        The supercell is no repetition, or `rules` are unknown.
    """
    ratio = np.linalg.solve(phonon.primitive_matrix, phonon.supercell_matrix)
    repeats = np.round(np.diag(ratio)).astype(int)
    if not np.allclose(ratio, np.diag(repeats), atol=1e-6):
        raise InputError(
            "phonons",
            "their supercell is no repetition of the primitive cell along its axes",
            "make them with `mlepi phonons`",
        )
    supercell = build_supercell(reference, repeats)
    # of the reference itself, so that atoms and cells have the order of `build_supercell`
    basis = invariant_basis(make_phonopy(reference, repeats), rules)
    space = ForceConstantSpace(
        supercell, tuple(repeats.tolist()), basis, _translations_of(supercell, repeats)
    )
    return space, space.coefficients(supercell_force_constants(phonon, reference, repeats))


def symmetrised(phonon: Phonopy, vectors: np.ndarray) -> np.ndarray:
    """Mean over the space group of vectors (…, n, 3) on the atoms of the primitive cell, Cartesian."""
    cell, places = np.asarray(phonon.primitive.cell), np.asarray(phonon.primitive.scaled_positions)
    operations = phonon.primitive_symmetry.symmetry_operations
    total = np.zeros_like(vectors)
    for rotation, translation in zip(operations["rotations"], operations["translations"], strict=True):
        separation = (places @ rotation.T + translation)[:, None] - places[None, :]
        separation = (separation - np.round(separation)) @ cell
        image = np.argmin(np.linalg.norm(separation, axis=2), axis=1)
        total[..., image, :] += vectors @ (cell.T @ rotation @ np.linalg.inv(cell.T)).T
    return total / len(operations["rotations"])


def _translations_of(supercell: Atoms, repeats: np.ndarray) -> np.ndarray:
    """For each cell (n_cells) the atoms (N,) that the atoms become by this translation."""
    kappa, home = supercell.arrays["kappa"], supercell.arrays["cell_index"]
    cells = home[kappa == 0]
    number = np.empty((kappa.max() + 1, *repeats), dtype=int)
    number[(kappa, *home.T)] = np.arange(len(kappa))
    return np.array([number[(kappa, *((home + cell) % repeats).T)] for cell in cells])

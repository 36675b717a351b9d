"""Second-order force constants of a reference cell from finite displacements or from a Hessian."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from phonopy import Phonopy
from phonopy.harmonic.force_constants import compact_fc_to_full_fc, full_fc_to_compact_fc
from phonopy.structure.atoms import PhonopyAtoms

from mlepi_core.artefacts import InputError

#: Forces (eV/Å) of several structures at once; the batch form of an ASE calculator.
ForceFunction = Callable[[Sequence[Atoms]], Sequence[np.ndarray]]


def make_phonopy(atoms: Atoms, supercell: Sequence[int], *, symmetry_tolerance: float = 1e-5) -> Phonopy:
    """Phonopy object whose primitive cell is `atoms` itself, same atom order.

    Parameters
    ----------
    atoms
        Reference cell; three cell vectors are needed even where pbc is T T F.
    supercell
        Repetitions (n1, n2, n3) in which force constants are computed.
    symmetry_tolerance
        Distance within which a symmetry operation must map atoms, Å.
    """
    repeats = check_supercell(supercell)
    if abs(atoms.cell.volume) < 1e-6:
        raise InputError(
            "structure", "the cell has no volume", "give three cell vectors (vacuum along the third)"
        )
    cell = PhonopyAtoms(
        numbers=atoms.numbers,
        cell=atoms.cell.array,
        scaled_positions=atoms.get_scaled_positions(wrap=False),
        masses=atoms.get_masses(),
    )
    return Phonopy(
        cell, supercell_matrix=np.diag(repeats), primitive_matrix=np.eye(3), symprec=symmetry_tolerance
    )


def check_supercell(supercell: Sequence[int]) -> tuple[int, int, int]:
    """The three repetitions as positive integers; `InputError` otherwise."""
    repeats = tuple(int(n) for n in supercell)
    if len(repeats) != 3 or min(repeats) < 1 or any(n != m for n, m in zip(repeats, supercell, strict=True)):
        raise InputError(
            "supercell", f"is {list(supercell)}", "give three positive integers, for example 4 4 1"
        )
    return repeats


def as_force_function(calculator: Any) -> ForceFunction:
    """The batch form of `calculator`: an ASE calculator, or a function of a list of structures as it is."""
    if not hasattr(calculator, "get_forces"):
        return calculator
    return lambda structures: [np.array(calculator.get_forces(atoms), dtype=float) for atoms in structures]


def supercell_atoms(phonon: Phonopy, reference: Atoms, positions: np.ndarray | None = None) -> Atoms:
    """Phonopy's supercell as ASE atoms with the layers and the pbc of `reference`.

    Parameters
    ----------
    phonon, reference
        From `make_phonopy(reference, …)`.
    positions
        Displaced positions (N, 3), Å; those of the perfect supercell if None.
    """
    supercell = phonon.supercell
    atoms = Atoms(
        numbers=supercell.numbers,
        positions=supercell.positions if positions is None else positions,
        cell=supercell.cell,
        pbc=reference.pbc,
    )
    unit = np.array([phonon.supercell.u2u_map[i] for i in phonon.supercell.s2u_map])
    if "layer" in reference.arrays:
        atoms.arrays["layer"] = reference.arrays["layer"][unit]
    if "winding" in reference.arrays:
        if phonon.supercell_matrix[2, 2] != 1:
            raise InputError("supercell", "repeats a layered cell out of plane", "give N N 1")
        # phonopy wraps atoms into the cell: the winding takes up the whole periods it moved them by.
        height = np.linalg.solve(reference.cell.array.T, supercell.positions.T)[2]
        moved = np.round(height - reference.get_scaled_positions(wrap=False)[unit, 2])
        atoms.arrays["winding"] = reference.arrays["winding"][unit] + moved.astype(int)
    return atoms


def finite_differences(
    phonon: Phonopy, reference: Atoms, calculator: Any, *, displacement: float = 0.02
) -> np.ndarray:
    """Force constants from the symmetry-distinct ± displacements, before any sum rule.

    Parameters
    ----------
    phonon, reference
        From `make_phonopy(reference, …)`.
    calculator
        ASE calculator, or function from a list of structures to their forces (eV/Å).
    displacement
        Length of the displacements, Å. Differences of + and − cancel the odd anharmonic terms and
        the residual force of the reference.

    Returns
    -------
    numpy.ndarray
        (N, N, 3, 3) of the supercell, eV/Å², phonopy's atom order.
    """
    if not 0 < displacement < 0.5:
        raise InputError("displacement", f"is {displacement} Å", "give 0.01 to 0.03 Å")
    phonon.generate_displacements(distance=displacement, is_plusminus=True)
    displaced = phonon.supercells_with_displacements or []
    cells = [supercell_atoms(phonon, reference, cell.positions) for cell in displaced if cell is not None]
    forces = np.array(as_force_function(calculator)(cells), dtype=float)
    if forces.shape != (len(cells), len(cells[0]), 3) or not np.isfinite(forces).all():
        raise InputError(
            "calculator", f"gave forces of shape {forces.shape} or not finite", "check the model"
        )
    # The mean force of a cell is noise: a displaced crystal does not accelerate.
    phonon.forces = forces - forces.mean(axis=1, keepdims=True)
    phonon.produce_force_constants(calculate_full_force_constants=True, fc_calculator="traditional")
    return np.array(phonon.force_constants)


def from_hessian(phonon: Phonopy, reference: Atoms, hessian: Callable[[Atoms], np.ndarray]) -> np.ndarray:
    """Force constants from second derivatives, before any sum rule.

    Parameters
    ----------
    phonon, reference
        From `make_phonopy(reference, …)`.
    hessian
        Function of the supercell → ∂²E/∂x_i∂x_j, (N, 3, N, 3), eV/Å².

    Returns
    -------
    numpy.ndarray
        (N, N, 3, 3) of the supercell, eV/Å².
    """
    second = np.array(hessian(supercell_atoms(phonon, reference)), dtype=float)
    n = len(phonon.supercell)
    if second.shape != (n, 3, n, 3) or not np.isfinite(second).all():
        raise InputError("hessian", f"has shape {second.shape} or is not finite", f"expected {(n, 3, n, 3)}")
    phonon.force_constants = np.ascontiguousarray(second.transpose(0, 2, 1, 3))
    return np.array(phonon.force_constants)


def full_force_constants(phonon: Phonopy) -> np.ndarray:
    """All rows, (N, N, 3, 3) in eV/Å², whichever form phonopy holds."""
    fc = np.array(phonon.force_constants)
    return fc if fc.shape[0] == fc.shape[1] else np.array(compact_fc_to_full_fc(phonon.primitive, fc))


def keep_one_cell(phonon: Phonopy) -> None:
    """Keep only the rows of the primitive cell: the compact form, which is what files hold."""
    if len(phonon.primitive) < len(phonon.supercell):
        full = full_force_constants(phonon)
        phonon.force_constants = np.array(full_fc_to_compact_fc(phonon.primitive, full))

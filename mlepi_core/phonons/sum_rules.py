"""Invariances of force constants: how far they are violated, and their imposition."""

from __future__ import annotations

from typing import Any

import numpy as np
from phonopy import Phonopy
from phonopy.interface.symfc import SymfcFCSolver

from mlepi_core.artefacts import InputError
from mlepi_core.phonons.force_constants import full_force_constants
from mlepi_core.phonons.modes import complement

#: What can be imposed, each level including the one before.
SUM_RULES = ("none", "translational", "rotational")
#: Singular values below this fraction of the largest belong to conditions the space group fulfils already.
#: They vanish for exactly symmetric positions; symmetry within 1e-5 Å, as required, leaves up to 2e-6. The
#: smallest of a true condition is 1e-2 (layers, shifted and twisted bilayers, cells up to 12x12).
RANK_TOLERANCE = 1e-4
#: Largest change of a dynamical matrix by the rotational conditions, as a fraction of its Frobenius norm.
#: Good force constants change by 1e-3 or less. For a stiff mode of a bilayer of four atoms, 2 % of the norm
#: are at most 2 % of its frequency.
LARGEST_CHANGE = 0.02


def impose_sum_rules(phonon: Phonopy, rules: str = "translational") -> None:
    """Replace the force constants by the nearest ones that obey `rules`.

    ``translational``
        Σ_j Φ_ij = 0, Φ_ij = Φ_jiᵀ and the space group at once: the orthogonal projection of symfc
        (Seko and Togo, Phys. Rev. B 110, 214302 (2024)).
    ``rotational``
        In addition Born–Huang rotational invariance and the Huang conditions (Born and Huang, Dynamical
        Theory of Crystal Lattices, 1954; Lin, Poncé and Marzari, npj Comput. Mater. 8, 236 (2022)), as a
        least-squares projection within the basis of symfc. Pairs at the border of the supercell count at
        the mean of their shortest images. They hold for a crystal without stress, which a relaxation at fixed
        cell does not guarantee, hence not by default.

    Raises
    ------
    InputError
        `rules` is unknown, or the rotational conditions could change a dynamical matrix by more than
        `LARGEST_CHANGE`; the force constants then stay as they were.
    """
    if rules not in SUM_RULES:
        raise InputError("phonons.sum_rules", f"is {rules!r}", f"give one of {', '.join(SUM_RULES)}")
    if rules == "none":
        return
    fc = full_force_constants(phonon)
    expand, basis = _symmetric_basis(phonon)
    coefficients = basis.T @ (expand.T @ fc.ravel())
    if rules == "rotational":
        projected = _project_rotations(phonon, expand, basis, coefficients)
        _refuse_large_change(phonon, coefficients, projected)
        coefficients = projected
    phonon.force_constants = np.asarray(expand @ (basis @ coefficients)).reshape(fc.shape)


def invariant_basis(phonon: Phonopy, rules: str = "translational") -> np.ndarray:
    """Orthonormal basis of the force constants that obey `rules` of `impose_sum_rules` and the space group.

    Returns
    -------
    numpy.ndarray
        Rows of the primitive cell, (n, N, 3, 3, P); norm and products are those of all N rows.

    Raises
    ------
    InputError
        `rules` is neither ``"translational"`` nor ``"rotational"``.
    """
    if rules not in SUM_RULES[1:]:
        raise InputError("sum_rules", f"is {rules!r}", f"give one of {', '.join(SUM_RULES[1:])}")
    expand, basis = _symmetric_basis(phonon)
    n_super, rows = len(phonon.supercell), np.array(phonon.primitive.p2s_map)
    compact = np.asarray(_rows(expand, rows, n_super) @ (basis @ np.eye(basis.shape[1])))
    if rules == "rotational":
        left = _violating_directions(phonon, expand, basis, basis.shape[1])
        compact = compact @ complement(left)
    return compact.reshape(len(rows), n_super, 3, 3, -1)


def sum_rule_violation(phonon: Phonopy) -> dict[str, float]:
    """Largest violation of each invariance by the force constants as they are.

    Returns
    -------
    dict
        translation_eV_per_A2 : max |Σ_j Φ_ij|;
        permutation_eV_per_A2 : max |Φ_ij − Φ_jiᵀ|;
        rotation_eV_per_A : max |Σ_j (Φ_ij^{ab} r_ij^c − Φ_ij^{ac} r_ij^b)| over atoms and components;
        huang_eV : max |Σ_ij (Φ_ij^{ab} r^c r^d − Φ_ij^{cd} r^a r^b)| over components.
        Vectors r_ij go to the shortest image, averaged over equivalent ones.
    """
    fc = full_force_constants(phonon)
    rows = fc[np.array(phonon.primitive.p2s_map)]
    rotation, huang = _rotation_conditions(rows, *_image_moments(phonon))
    return {
        "translation_eV_per_A2": float(max(np.abs(fc.sum(axis=0)).max(), np.abs(fc.sum(axis=1)).max())),
        "permutation_eV_per_A2": float(np.abs(fc - fc.transpose(1, 0, 3, 2)).max()),
        "rotation_eV_per_A": float(np.abs(rotation).max()),
        "huang_eV": float(np.abs(huang).max()),
    }


def _symmetric_basis(phonon: Phonopy) -> tuple[Any, Any]:
    """Matrices E, B of symfc: force constants (9 N²) = E B c with E B orthonormal."""
    solver = SymfcFCSolver(phonon.supercell)
    solver.compute_basis_set(orders=[2])
    basis_set = solver.basis_set[2]
    return basis_set.compression_matrix.tocsr(), basis_set.blocked_basis_set


def _rows(expand: Any, atoms: np.ndarray, n_super: int) -> Any:
    """Part of E that gives the force constants of some atoms' rows."""
    return expand[(atoms[:, None] * n_super * 9 + np.arange(n_super * 9)).ravel()]


def _project_rotations(phonon: Phonopy, expand: Any, basis: Any, coefficients: np.ndarray) -> np.ndarray:
    """Nearest coefficients for which the rotational conditions, linear in them, vanish."""
    left = _violating_directions(phonon, expand, basis, len(coefficients))
    return coefficients - left @ (left.T @ coefficients)


def _violating_directions(phonon: Phonopy, expand: Any, basis: Any, n_coefficients: int) -> np.ndarray:
    """Orthonormal directions of the coefficients in which a rotational condition is violated, as columns.

    Positions that are symmetric only within a tolerance leave a tiny remainder of the conditions that vanish
    by symmetry. Imposing it would fix combinations of force constants that rotations say nothing about.
    """
    n_super = len(phonon.supercell)
    rows = np.array(phonon.primitive.p2s_map)
    compact = _rows(expand, rows, n_super)
    moments = _image_moments(phonon)
    conditions = np.empty((n_coefficients, len(rows) * 27 + 81))
    for index in range(n_coefficients):
        unit = np.zeros(n_coefficients)
        unit[index] = 1.0
        fc = np.asarray(compact @ (basis @ unit)).reshape(len(rows), n_super, 3, 3)
        rotation, huang = _rotation_conditions(fc, *moments)
        conditions[index] = np.concatenate([rotation.ravel(), huang.ravel()])
    left, values, _ = np.linalg.svd(conditions, full_matrices=False)
    return left[:, values > RANK_TOLERANCE * values.max(initial=0.0)]


def _refuse_large_change(phonon: Phonopy, before: np.ndarray, after: np.ndarray) -> None:
    """`InputError` if the step from `before` to `after` could spoil the dynamical matrix of a wave vector.

    The basis is orthonormal, so norms of coefficients are Frobenius norms of force constants, and their
    squares are means over the N commensurate wave vectors. A relative change δ may fall on one alone, where
    it amounts to δ √N of the root mean square: 17 % of the force constants of a 6x6 cell are all of Γ.
    """
    n_vectors = len(phonon.supercell) / len(phonon.primitive)
    change, size = np.linalg.norm(after - before) * np.sqrt(n_vectors), np.linalg.norm(before)
    if change > LARGEST_CHANGE * size:
        raise InputError(
            "phonons.sum_rules",
            f"the rotational conditions could change a dynamical matrix by {100 * change / size:.3g} % "
            f"(limit {100 * LARGEST_CHANGE:g} %), so far are the force constants from obeying them",
            "use translational, or relax the structure and take a larger supercell",
        )


def _rotation_conditions(
    rows: np.ndarray, vectors: np.ndarray, products: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Born–Huang (n, 3, 3, 3) and Huang (3, 3, 3, 3) conditions of the rows (n, N, 3, 3); zero if obeyed."""
    first = np.einsum("ijab,ijc->iabc", rows, vectors)
    second = np.einsum("ijab,ijcd->abcd", rows, products)
    return first - first.transpose(0, 1, 3, 2), second - second.transpose(2, 3, 0, 1)


def _image_moments(phonon: Phonopy) -> tuple[np.ndarray, np.ndarray]:
    """Means of r (n, N, 3) and of r rᵀ (n, N, 3, 3) over the shortest images, Å and Å²."""
    shortest, multiplicity = phonon.primitive.get_smallest_vectors()
    shortest = shortest @ phonon.primitive.cell
    n_super, n = multiplicity.shape[:2]
    vectors, products = np.empty((n, n_super, 3)), np.empty((n, n_super, 3, 3))
    for j, i in np.ndindex(n_super, n):
        count, start = multiplicity[j, i]
        images = shortest[start : start + count]
        vectors[i, j] = images.mean(axis=0)
        products[i, j] = images.T @ images / count
    return vectors, products

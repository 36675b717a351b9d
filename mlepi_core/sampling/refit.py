"""Least-squares fit of harmonic force constants to forces at displaced positions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlepi_core.artefacts import InputError
from mlepi_core.phonons.space import ForceConstantSpace

#: Groups of pairs of the delete-group jackknife.
GROUPS = 16
#: Smallest over largest eigenvalue of the normal equations below which samples do not determine a fit. The
#: true ratio is that of squared amplitudes, 1e-3 to 1e-5.
RANK_TOLERANCE = 1e-11


@dataclass(frozen=True)
class Fit:
    """Fitted force constants.

    Attributes
    ----------
    coefficients
        (P,) in the space's basis.
    without
        (G, P): the fits without each of G groups of pairs, for the jackknife.
    residual
        Root of the weighted mean square of f + Φu over components, eV/Å.
    """

    coefficients: np.ndarray
    without: np.ndarray
    residual: float

    def standard_error(self, values: np.ndarray) -> np.ndarray:
        """Jackknife standard error (…) of a function of the coefficients, `values` (G, …) of `without`."""
        groups = len(values)
        return np.sqrt((groups - 1) / groups * np.square(values - values.mean(axis=0)).sum(axis=0))


def fit_force_constants(
    space: ForceConstantSpace,
    displacements: np.ndarray,
    forces: np.ndarray,
    weights: np.ndarray,
    pair: np.ndarray,
) -> Fit:
    """The Φ of `space` that makes Σ_s w_s |f_s + Φ u_s|² smallest.

    Of infinitely many samples of a Gaussian it is the mean of the second derivatives, ⟨∂²V⟩ =
    −⟨f uᵀ⟩⟨u uᵀ⟩⁻¹ (Stein's identity), projected on the space. Translations enter through sums of Σ w u uᵀ
    and Σ w f uᵀ over the cells, the space group through the basis.

    Parameters
    ----------
    displacements, forces
        (M, N, 3) in Å and eV/Å. Mean forces drop out where samples come in pairs (u, −u) of equal weight.
    weights
        (M,), positive.
    pair
        (M,) number of the pair that a sample belongs to; pairs are independent.

    Raises
    ------
    InputError
        The samples do not determine the force constants.
    """
    numbers, index = np.unique(pair, return_inverse=True)
    n_groups = min(GROUPS, len(numbers))
    group = index % n_groups
    parts = [
        _normal_equations(space, displacements[group == g], forces[group == g], weights[group == g])
        for g in range(n_groups)
    ]
    matrix, right = sum(part[0] for part in parts), sum(part[1] for part in parts)
    eigenvalues = np.linalg.eigvalsh(matrix)
    if eigenvalues[0] <= RANK_TOLERANCE * eigenvalues[-1]:
        raise InputError(
            "pairs", f"{len(numbers)} do not determine the {space.size} force constants", "give more pairs"
        )
    coefficients = np.linalg.solve(matrix, right)
    without = np.array([np.linalg.lstsq(matrix - a, right - b)[0] for a, b in parts])
    fc = space.full(coefficients).transpose(0, 2, 1, 3).reshape(3 * len(space.supercell), -1)
    left_over = forces.reshape(len(forces), -1) + displacements.reshape(len(displacements), -1) @ fc.T
    residual = np.sqrt(np.average(np.square(left_over).mean(axis=1), weights=weights))
    return Fit(coefficients, without, float(residual))


def _normal_equations(
    space: ForceConstantSpace, displacements: np.ndarray, forces: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A (P, P) and b (P,) of A c = b."""
    n_super, origin = len(space.supercell), space.first
    products = np.zeros((n_super, 3, n_super, 3))
    mixed = np.zeros((len(space.basis), 3, n_super, 3))
    square = np.einsum("s,sia,sjb->iajb", weights, displacements, displacements, optimize=True)
    for moved in space.translated:
        products += square[moved][:, :, moved]
        mixed += np.einsum(
            "s,sia,sjb->iajb", weights, forces[:, moved[origin]], displacements[:, moved], optimize=True
        )
    # basis as (n a, N b, P)
    basis = space.basis.transpose(0, 2, 1, 3, 4).reshape(3 * len(space.basis), 3 * n_super, -1)
    turned = np.einsum("jk,rkp->rjp", products.reshape(3 * n_super, -1), basis, optimize=True)
    matrix = np.tensordot(basis, turned, axes=([0, 1], [0, 1]))
    right = -np.tensordot(basis, mixed.reshape(basis.shape[:2]), axes=([0, 1], [0, 1]))
    return (matrix + matrix.T) / 2, right

"""Schemes of sampling: which standard numbers xi the modes of a supercell get.

A scheme makes *units*: independent statistical samples that are evaluated at one or two displacements. Unit j
of a seed is the same whatever the number of units, their order and the temperature.

``plain``
    One normal vector.
``antithetic``
    A normal vector and its negative: odd orders in the displacement vanish exactly.
``signs``
    +-1 for every mode, and the negative: thermal lines (Monserrat 2016, doi:10.1103/PhysRevB.93.014302).
    The diagonal of the second order has no scatter either; biased from fourth order on.
``gauss_hermite``
    0 or +-sqrt(3) with probabilities 2/3 and 1/6, and the negative: right moments up to the fifth; biased
    from sixth order on.
``sobol``
    Points of scrambled Sobol sequences through the inverse normal distribution, and the negative.
``special``
    One set of signs, chosen so that correlations within a primitive cell come nearest to the exact ones, and
    the negative, in the manner of Zacharias and Giustino (2020, doi:10.1103/PhysRevResearch.2.013357). No
    statistics: the error vanishes with the size of the cell.

The last four act on modes one by one, and the modes of a degenerate subspace are a matter of choice: a basis
that depends on the subspace alone (`canonical_modes`) makes samples agree between machines.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import norm, qmc

from mlepi_core.artefacts import InputError
from mlepi_core.randomness import stream

if TYPE_CHECKING:
    from mlepi_core.phonons.modes import SupercellModes

SCHEMES = ("antithetic", "plain", "signs", "gauss_hermite", "sobol", "special")
#: Independent scramblings of `sobol`, of which unit j belongs to number j mod this.
SOBOL_REPLICATES = 8
#: Random sets of signs that `special` starts from.
SPECIAL_STARTS = 4
# Modes whose eigenvalues differ by less than this fraction of the largest one count as degenerate.
_DEGENERATE = 1e-9


def members(scheme: str) -> int:
    """Displacements of a unit: 1 or 2.

    Raises
    ------
    InputError
        For an unknown scheme.
    """
    if scheme not in SCHEMES:
        raise InputError("scheme", f"{scheme!r} is unknown", f"use one of {', '.join(SCHEMES)}")
    return 1 if scheme == "plain" else 2


def independent_groups(scheme: str, units: np.ndarray) -> np.ndarray:
    """Number of the independent group (n,) that each unit (n,) belongs to.

    Units are independent of each other but for `sobol`, where the points of one scrambling are not: there the
    scatter between the scramblings is what the error follows from.
    """
    units = np.asarray(units)
    return units % SOBOL_REPLICATES if scheme == "sobol" else units


def canonical_modes(modes: SupercellModes) -> SupercellModes:
    """The same modes in a basis that does not depend on the eigensolver's choice.

    Every degenerate subspace gets the basis to which its projector takes fixed random vectors, made
    orthonormal one after the other; a single mode gets a sign in this way.
    """
    vectors = modes.eigenvectors.copy()
    limit = _DEGENERATE * np.abs(modes.eigenvalues).max()
    edges = np.flatnonzero(np.diff(modes.eigenvalues) > limit) + 1
    for group in np.split(np.arange(len(modes.eigenvalues)), edges):
        own = vectors[:, group]
        guide = stream(0, "mode gauge", int(group[0])).standard_normal((len(own), len(group)))
        q, r = np.linalg.qr(own.T @ guide)
        vectors[:, group] = own @ (q * np.sign(np.diag(r)))
    return replace(modes, eigenvectors=vectors)


def unit_numbers(scheme: str, n_modes: int, seed: int, unit: int) -> np.ndarray:
    """The numbers xi (n_modes,) of the first member of a unit, for the schemes that act mode by mode.

    Parameters
    ----------
    scheme
        ``signs``, ``gauss_hermite`` or ``sobol``.
    n_modes
        Modes, ordered so that those that matter most come first (soft ones): `sobol` covers its first
        dimensions best.
    seed, unit
        What the numbers depend on.
    """
    if scheme == "signs":
        return stream(seed, "signs", unit).choice([-1.0, 1.0], n_modes)
    if scheme == "gauss_hermite":
        return np.sqrt(3.0) * stream(seed, "gauss-hermite", unit).choice(
            [-1.0, 0.0, 1.0], n_modes, p=[1 / 6, 2 / 3, 1 / 6]
        )
    if scheme == "sobol":
        replicate, point = unit % SOBOL_REPLICATES, unit // SOBOL_REPLICATES
        scrambling = int(stream(seed, "sobol", replicate).integers(2**63))
        engine = qmc.Sobol(n_modes, scramble=True, rng=scrambling)
        if point:
            engine.fast_forward(point)
        uniform = engine.random(1)[0]
        # A point may lie on the edge of the unit cube.
        return norm.ppf(0.5 + (uniform - 0.5) * (1 - 1e-10))
    raise InputError("scheme", f"{scheme!r} does not act mode by mode", "use signs, gauss_hermite or sobol")


def special_signs(modes: SupercellModes, variance: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """Signs of the scheme ``special``, and how far correlations are from the exact ones.

    Averaged over the N cells of the supercell, the products of displacements u_a u_b of two coordinates of a
    primitive cell should be those of the thermal distribution; products of different modes spoil it. From
    `SPECIAL_STARTS` random sets signs are flipped one by one as long as that helps; the best end is taken.

    Parameters
    ----------
    modes
        In a basis of `canonical_modes`, with the arrays `kappa` of the reference.
    variance
        sigma^2 (3N - 3), amu A^2.
    seed
        Of the starts.

    Returns
    -------
    signs
        (3N - 3,) of +-1.
    deviation
        Norm of C^(-1/2) P C^(-1/2) - 1 over that of 1, with the products P and their exact mean C.
    """
    atoms = modes.reference
    if "kappa" not in atoms.arrays:
        raise InputError("special", "the reference has no map to a primitive cell", "build it as a supercell")
    masses = np.repeat(atoms.get_masses(), 3)
    scaled = modes.eigenvectors * np.sqrt(variance) / np.sqrt(masses)[:, None]
    cells = np.unique(atoms.arrays["cell_index"], axis=0, return_inverse=True)[1].ravel()
    order = np.lexsort((atoms.arrays["kappa"], cells))
    n_cells = int(cells.max()) + 1
    rows = (3 * order[:, None] + np.arange(3)).reshape(n_cells, -1)
    by_cell = scaled[rows]
    exact = np.einsum("cam,cbm->ab", by_cell, by_cell) / n_cells
    # White coordinates, in which soft modes do not drown the others.
    by_cell = np.einsum("ab,cbm->cam", np.linalg.inv(np.linalg.cholesky(exact)), by_cell)
    found = [
        _descended(by_cell, stream(seed, "special", start).choice([-1.0, 1.0], scaled.shape[1]))
        for start in range(SPECIAL_STARTS)
    ]
    signs, distance = min(found, key=lambda pair: pair[1])
    return signs, distance / np.sqrt(len(exact))


def _descended(by_cell: np.ndarray, signs: np.ndarray) -> tuple[np.ndarray, float]:
    """Flip one sign after the other as long as that brings the products nearer to the unit matrix."""

    def distance(moved: np.ndarray) -> float:
        return float(np.linalg.norm(moved.T @ moved / len(moved) - np.eye(moved.shape[1])))

    moved = by_cell @ signs
    best, improved = distance(moved), True
    while improved:
        improved = False
        for mode in range(len(signs)):
            flipped = moved - 2 * signs[mode] * by_cell[:, :, mode]
            if (other := distance(flipped)) < best * (1 - 1e-9):
                moved, best, improved = flipped, other, True
                signs[mode] *= -1
    return signs, best

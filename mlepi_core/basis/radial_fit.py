"""From blocks to radial functions: rotation into the edge frame and penalised least squares."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import BSpline

from mlepi_core.basis.radial_table import DEGREE, RadialTable, radial_functions, uniform_knots
from mlepi_core.basis.rotations import edge_frames, wigner_matrices
from mlepi_core.orbitals import Basis

__all__ = ["SplineSettings", "radial_samples", "solve_radial", "spherical_part"]

_ROWS_PER_STEP = 20_000


@dataclass(frozen=True)
class SplineSettings:
    """How the splines are fitted.

    Parameters
    ----------
    spacing
        Knot spacing, Å.
    weight, derivative
        The penalty is weight x density of samples x integral of the squared derivative of this order.
    bridge
        Whether intervals without samples may be evaluated.
    start_fraction
        The splines start at this fraction of the shortest distance.
    """

    spacing: float
    weight: float
    derivative: int
    bridge: bool
    start_fraction: float = 1.0


def radial_samples(
    basis: Basis, first: int, second: int, vectors: np.ndarray, blocks: np.ndarray
) -> tuple[np.ndarray, float]:
    """Radial functions (E, F) of blocks turned into the edge frame, and the largest forbidden entry.

    Forbidden are entries off the diagonal in m, differences between +m and -m and, for equal species, between
    f^ba and (-1)^(l1+l2) f^ab; each pair of equals is averaged.
    """
    shells_i, shells_j = basis.shells_of(first), basis.shells_of(second)
    slices_i, slices_j = basis.shell_slices(first), basis.shell_slices(second)
    frames = edge_frames(torch.from_numpy(np.ascontiguousarray(vectors)))
    wigner = [w.numpy() for w in wigner_matrices(frames, max(*shells_i, *shells_j))]
    functions, worst = {}, 0.0
    for a, l1 in enumerate(shells_i):
        for b, l2 in enumerate(shells_j):
            turned = wigner[l1] @ blocks[:, slices_i[a], slices_j[b]] @ wigner[l2].swapaxes(1, 2)
            rest = turned.copy()
            for m in range(min(l1, l2) + 1):
                mean = (turned[:, l1 + m, l2 + m] + turned[:, l1 - m, l2 - m]) / 2
                rest[:, l1 + m, l2 + m] -= mean
                rest[:, l1 - m, l2 - m] -= mean * (m > 0)
                functions[a, b, m] = mean
            worst = max(worst, float(np.abs(rest).max()))
    same = first == second
    columns = []
    for a, b, m in radial_functions(shells_i, shells_j, same):
        column = functions[a, b, m]
        if same and a != b:
            mirrored = (-1) ** (shells_i[a] + shells_j[b]) * functions[b, a, m]
            worst = max(worst, float(np.abs(column - mirrored).max()))
            column = (column + mirrored) / 2
        columns.append(column)
    return np.stack(columns, axis=1), worst


def solve_radial(
    distances: np.ndarray,
    values: np.ndarray,
    weights: np.ndarray,
    support: float,
    settings: SplineSettings,
) -> RadialTable:
    """Penalised least squares for the splines of one species pair.

    Parameters
    ----------
    distances, values
        Samples (E,) in Å and (E, F) of the F radial functions.
    weights
        Factors (E,) of their residuals.
    support
        Distance at which they vanish, Å.
    settings
        Knots and penalty.
    """
    shortest, spacing = float(distances.min()), settings.spacing
    start = settings.start_fraction * shortest
    n_intervals = max(1, math.ceil((support - start) / spacing - 1e-9))
    lower = support - n_intervals * spacing
    interval = np.clip(np.floor((distances - lower) / spacing).astype(np.int64), 0, n_intervals - 1)
    knots = uniform_knots(lower, spacing, n_intervals)

    gauss = spacing * (0.5 + np.array([-0.5, 0.5]) / math.sqrt(3))
    nodes = (lower + spacing * np.arange(n_intervals)[:, None] + gauss).ravel()
    every = BSpline(knots, np.eye(n_intervals + DEGREE), DEGREE)
    # The last three coefficients are left out: value, slope and curvature vanish at the end of support.
    derivative = every.derivative(settings.derivative)(nodes)[:, :n_intervals]
    density = len(distances) / max(support - shortest, spacing)
    penalty = math.sqrt(settings.weight * density * spacing / 2) * derivative
    stack: np.ndarray = np.hstack([penalty, np.zeros((len(penalty), values.shape[1]))])
    # QR in steps: memory stays small, and normal equations would halve the digits.
    for begin in range(0, len(distances), _ROWS_PER_STEP):
        part = slice(begin, begin + _ROWS_PER_STEP)
        inside = np.clip(distances[part], lower, support)
        design = BSpline.design_matrix(inside, knots, DEGREE).toarray()[:, :n_intervals]
        rows = weights[part, None] * np.hstack([design, values[part]])
        stack = np.asarray(np.linalg.qr(np.vstack([stack, rows]), mode="r"))
    free = np.linalg.lstsq(stack[:, :n_intervals], stack[:, n_intervals:], rcond=None)[0]
    coefficients = np.vstack([free, np.zeros((DEGREE, values.shape[1]))])
    counts = np.bincount(interval, minlength=n_intervals)
    return RadialTable(lower, spacing, coefficients, counts, settings.bridge)


def spherical_part(basis: Basis, number: int, blocks: np.ndarray) -> np.ndarray:
    """Mean spherical part (L = 0 of every shell pair) of on-site blocks (A, n, n)."""
    mean = blocks.mean(axis=0)
    shells, slices = basis.shells_of(number), basis.shell_slices(number)
    result = np.zeros_like(mean)
    for a, l1 in enumerate(shells):
        for b, l2 in enumerate(shells):
            if l1 == l2:
                part = (mean[slices[a], slices[b]].trace() + mean[slices[b], slices[a]].trace()) / 2
                result[slices[a], slices[b]] = np.eye(2 * l1 + 1) * part / (2 * l1 + 1)
    return result

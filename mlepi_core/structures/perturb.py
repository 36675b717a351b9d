"""Perturbations of structures: rattle, interlayer shift and distance, long-wave ripples, recipes.

Every function returns a new structure with the arrays of the old one (labels are carried, never
found again). Random numbers come from counter-based streams: cell `index` of a set is the same
whatever else is made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlepi_core.artefacts import InputError
from mlepi_core.randomness import stream
from mlepi_core.structures.lattice import plane_normal
from mlepi_core.structures.layers import layer_heights

FloatArray = NDArray[np.float64]


def rattle(atoms: Atoms, sigma: float, seed: int, index: int = 0) -> Atoms:
    """Add independent Gaussian displacements of standard deviation `sigma` (Å) per coordinate."""
    if not sigma >= 0.0:
        raise InputError("sigma", f"{sigma} Å", "must be ≥ 0 Å")
    numbers = stream(seed, "perturb-rattle", index).standard_normal((len(atoms), 3))
    return _moved(atoms, sigma * numbers)


def shift_layer(atoms: Atoms, shift: tuple[float, float], layer: int = 1) -> Atoms:
    """Move one layer rigidly by `shift`, in units of the vectors (a1, a2) of the given cell.

    For a supercell of n × n primitive cells, a shift by (f1, f2) primitive vectors is (f1/n, f2/n).
    """
    members = _members(atoms, layer)
    vector = np.asarray(shift, dtype=np.float64) @ atoms.cell.array[:2]
    return _moved(atoms, members[:, None] * vector)


def interlayer_distances(atoms: Atoms) -> FloatArray:
    """Distances of consecutive layers, (n_layers - 1,) Å: differences of their mean heights."""
    return np.diff(layer_heights(atoms))


def change_distance(atoms: Atoms, change: float) -> Atoms:
    """Change every interlayer distance by `change` (Å), keeping the middle of the stack in place."""
    labels = np.unique(atoms.arrays["layer"])
    steps = np.arange(len(labels)) - (len(labels) - 1) / 2.0
    if len(labels) > 1 and interlayer_distances(atoms).min() + change <= 0.0:
        raise InputError("distance", f"a change by {change} Å makes layers pass through each other")
    rank = np.searchsorted(labels, atoms.arrays["layer"])
    return _moved(atoms, change * steps[rank][:, None] * plane_normal(atoms.cell.array))


def set_distance(atoms: Atoms, distance: float) -> Atoms:
    """Set the interlayer distance (Å) of a bilayer, keeping its middle in place."""
    distances = interlayer_distances(atoms)
    if len(distances) != 1:
        raise InputError("distance", f"the structure has {len(distances) + 1} layers, not two")
    return change_distance(atoms, distance - float(distances[0]))


def ripple(
    atoms: Atoms,
    amplitude: float,
    seed: int,
    index: int = 0,
    *,
    n_waves: int = 3,
    min_wavelength: float = 6.0,
    per_layer: bool = False,
) -> Atoms:
    """Add a sum of standing waves along the normal whose largest displacement is `amplitude`.

    u(r) = Σ_w A_w cos(2π h_w·s + φ_w) with fractional in-plane coordinates s and integer h_w, so that the
    ripple has the period of the cell.

    Parameters
    ----------
    amplitude
        Å, the largest |u| over the atoms.
    n_waves
        Number of waves, drawn with replacement from those allowed.
    min_wavelength
        Å; shortest wavelength allowed.
    per_layer
        Draw other waves for each layer instead of one ripple that all layers share.

    Raises
    ------
    InputError
        If the cell holds no wave as long as `min_wavelength`.
    """
    if not amplitude >= 0.0:
        raise InputError("amplitude", f"{amplitude} Å", "must be ≥ 0 Å")
    waves = _allowed_waves(atoms, min_wavelength)
    generator = stream(seed, "perturb-ripple", index)
    in_plane = atoms.get_scaled_positions(wrap=False)[:, :2]
    height = np.zeros(len(atoms))
    groups = atoms.arrays["layer"] if per_layer else np.zeros(len(atoms), dtype=np.int64)
    for group in np.unique(groups):
        chosen = waves[generator.integers(len(waves), size=n_waves)]
        weights = generator.standard_normal(n_waves)
        phases = generator.uniform(0.0, 2.0 * np.pi, n_waves)
        members = groups == group
        height[members] = np.cos(2.0 * np.pi * in_plane[members] @ chosen.T + phases) @ weights
    largest = np.abs(height).max()
    scale = amplitude / largest if largest > 0.0 else 0.0
    return _moved(atoms, scale * height[:, None] * plane_normal(atoms.cell.array))


@dataclass(frozen=True)
class Recipe:
    """Ranges of one kind of perturbed bilayer cell; every number is drawn uniformly from its range.

    Attributes
    ----------
    sigma
        Å, rattle per coordinate.
    ripple
        Å, amplitude of the ripple.
    distance
        Å, interlayer distance.
    random_shift
        Draw the lateral shift of the upper layer from the whole primitive cell; otherwise it stays.
    """

    sigma: tuple[float, float]
    ripple: tuple[float, float]
    distance: tuple[float, float]
    random_shift: bool


NEAR_EQUILIBRIUM = Recipe((0.01, 0.06), (0.0, 0.15), (3.06, 3.36), random_shift=False)
"""Near the stacking of the given cell, distance varied."""
ANY_STACKING = Recipe((0.01, 0.06), (0.0, 0.15), (3.2, 3.6), random_shift=True)
"""Random lateral shift, with the larger distances of the other stackings."""


def perturbed_bilayer(atoms: Atoms, recipe: Recipe, seed: int, index: int, n_cells: int = 1) -> Atoms:
    """Cell `index` of a training set: shift, distance, ripple and rattle drawn from `recipe`.

    Parameters
    ----------
    atoms
        Bilayer supercell of `n_cells` × `n_cells` primitive cells, with labels.
    recipe
        Ranges of the perturbations.
    seed, index
        Of the random streams; equal numbers give an equal cell.
    n_cells
        Primitive cells along a1 and a2, for the range of the random shift.
    """
    generator = stream(seed, "perturb-recipe", index)
    sigma, amplitude, distance = (
        generator.uniform(*limits) for limits in (recipe.sigma, recipe.ripple, recipe.distance)
    )
    shift = generator.uniform(0.0, 1.0 / n_cells, 2)
    result = set_distance(atoms, distance)
    if recipe.random_shift:
        result = shift_layer(result, (shift[0], shift[1]))
    result = ripple(result, amplitude, seed, index)
    return rattle(result, sigma, seed, index)


def _allowed_waves(atoms: Atoms, min_wavelength: float) -> NDArray[np.int64]:
    """Integer (h1, h2) of the waves along the periodic in-plane directions, one of each ±h."""
    reciprocal = np.linalg.pinv(atoms.cell.array[:2]).T
    limits = [
        int(np.linalg.norm(atoms.cell.array[axis]) / min_wavelength) + 1 if atoms.pbc[axis] else 0
        for axis in (0, 1)
    ]
    grid = [np.arange(-limit, limit + 1) for limit in limits]
    h = np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1).reshape(-1, 2)
    h = h[(h[:, 0] > 0) | ((h[:, 0] == 0) & (h[:, 1] > 0))]
    h = h[np.linalg.norm(h @ reciprocal, axis=1) * min_wavelength <= 1.0 + 1e-9]
    if len(h) == 0:
        raise InputError(
            "min_wavelength", f"no wave of {min_wavelength} Å fits the cell", "use a larger supercell"
        )
    return h


def _members(atoms: Atoms, layer: int) -> NDArray[np.bool_]:
    members = atoms.arrays["layer"] == layer
    if not members.any():
        raise InputError("layer", f"the structure has no layer {layer}")
    return np.asarray(members)


def _moved(atoms: Atoms, displacement: FloatArray) -> Atoms:
    result = atoms.copy()
    result.set_positions(atoms.get_positions() + displacement, apply_constraint=False)
    return result

"""Rigid-layer (shear and breathing) modes, found by projection and never by the order of frequencies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from mlepi_core.artefacts import InputError
from mlepi_core.phonons.modes import SupercellModes
from mlepi_core.phonons.units import CM1_PER_THZ
from mlepi_core.structures import plane_normal


@dataclass(frozen=True)
class RigidLayerMode:
    """One rigid-layer vibration.

    Attributes
    ----------
    kind
        ``"shear"`` or ``"breathing"``.
    index
        Number of the mode in its `SupercellModes`.
    frequency_cm1
        Imaginary frequencies are negative.
    weight
        Squared projection on the patterns of its kind, 1 for a purely rigid motion.
    """

    kind: str
    index: int
    frequency_cm1: float
    weight: float


def rigid_layer_patterns(atoms: Atoms) -> dict[str, np.ndarray]:
    """Orthonormal mass-weighted patterns of layers that move rigidly against each other.

    Returns
    -------
    dict
        ``shear`` (3N, 2(L − 1)) in the plane, ``breathing`` (3N, L − 1) along its normal, for L layers;
        orthogonal to the uniform translations.
    """
    if "layer" not in atoms.arrays:
        raise InputError("structure", "has no layer array", "assign layers first")
    masses, layer = atoms.get_masses(), atoms.arrays["layer"]
    labels = np.unique(layer)
    # One column per layer, then differences orthogonal to the motion of the whole.
    columns = np.sqrt(masses)[:, None] * (layer[:, None] == labels[None, :])
    columns /= np.linalg.norm(columns, axis=0)
    whole = columns.T @ (np.sqrt(masses) / np.sqrt(masses.sum()))
    relative = columns @ np.linalg.svd(whole[None, :])[2][1:].T
    normal = plane_normal(atoms.cell)
    in_plane = np.linalg.svd(normal[None, :])[2][1:]
    return {
        "shear": np.einsum("nr,da->nard", relative, in_plane).reshape(3 * len(atoms), -1),
        "breathing": np.einsum("nr,a->nar", relative, normal).reshape(3 * len(atoms), -1),
    }


def rigid_layer_weights(modes: SupercellModes) -> dict[str, np.ndarray]:
    """Squared projection of every mode (3N − 3,) on the shear and on the breathing patterns."""
    patterns = rigid_layer_patterns(modes.reference)
    return {
        kind: np.einsum("pm,pm->m", pattern.T @ modes.eigenvectors, pattern.T @ modes.eigenvectors)
        for kind, pattern in patterns.items()
    }


def rigid_layer_modes(modes: SupercellModes) -> list[RigidLayerMode]:
    """The 3(L − 1) modes that are most nearly rigid, shear first, each kind by its weight."""
    patterns = rigid_layer_patterns(modes.reference)
    found = []
    for kind, weights in rigid_layer_weights(modes).items():
        for index in sorted(np.argsort(-weights, kind="stable")[: patterns[kind].shape[1]]):
            frequency = float(modes.frequencies[index]) * CM1_PER_THZ
            found.append(RigidLayerMode(kind, int(index), frequency, float(weights[index])))
    return found

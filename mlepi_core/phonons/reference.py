"""Comparison with DFT phonons at the q points that the DFT supercell knows."""

from __future__ import annotations

import itertools
import os
from lzma import LZMAError
from pathlib import Path
from typing import Any

import numpy as np
import phonopy
from phonopy import Phonopy
from phonopy.harmonic.dynmat_to_fc import get_commensurate_points
from yaml import YAMLError

from mlepi_core.artefacts import InputError
from mlepi_core.phonons.bands import eigensystem
from mlepi_core.phonons.sum_rules import impose_sum_rules
from mlepi_core.phonons.units import CM1_PER_THZ
from mlepi_core.structures import plane_normal

#: Columns of `compare`.
COMPARISON_COLUMNS = ("group", "n_modes", "rms_cm1", "mean_cm1", "max_abs_cm1")
#: What phonopy, its yaml reader and the decompressors raise on a foreign or cut file.
_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    LZMAError,
    YAMLError,
)


def load_phonopy(path: str | os.PathLike[str]) -> Phonopy:
    """Force constants of a phonopy yaml file (also .xz, .gz, .bz2) as they are written there.

    A file with displacements and forces instead is turned into force constants with the sum rules imposed.

    Raises
    ------
    InputError
        The file is missing, is not phonopy's or holds no force constants.
    """
    if not Path(path).is_file():
        raise InputError(path, "no such file", "give a phonopy yaml file with force constants")
    try:
        phonon = phonopy.load(path, produce_fc=False, symmetrize_fc=False, log_level=0)
    except _UNREADABLE as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(
            path, f"is not a complete phonopy file ({reason})", "give a file written by phonopy"
        ) from None
    if phonon.force_constants is None and phonon.dataset is not None and phonon.forces is not None:
        phonon.produce_force_constants(calculate_full_force_constants=True)
        impose_sum_rules(phonon)
    if phonon.force_constants is None:
        raise InputError(path, "holds neither force constants nor forces", "write it with force constants")
    return phonon


def branch_groups(
    vectors: np.ndarray, normal: np.ndarray, n_layers: int, at_gamma: bool
) -> dict[str, list[int]]:
    """Indices of the modes of each branch group at one q point, each in ascending frequency.

    Of the 3n modes the n with most weight along the normal are the flexural ones; the lowest `n_layers`
    of them are "ZA" (including layer breathing), the others "ZO". The lowest 2·n_layers of the in-plane
    modes are "TA/LA" (including layer shear), the others "TO/LO". Modes are compared within a group by order,
    so a crossing of a flexural with an in-plane branch does not mix them up.

    Parameters
    ----------
    vectors
        Eigenvectors in ascending frequency, columns of (3n, 3n), or (3n, 3n − 3) at Γ without translations.
    normal
        Unit vector normal to the layers.
    n_layers
        Number of layers.
    at_gamma
        Translations are missing: one flexural and two in-plane acoustic modes less.
    """
    n = len(vectors) // 3
    along = np.einsum("nam,a->nm", vectors.reshape(n, 3, -1), normal)
    order = np.argsort(-np.sum(np.abs(along) ** 2, axis=0), kind="stable")
    n_flexural, n_acoustic = (n - 1, n_layers - 1) if at_gamma else (n, n_layers)
    flexural, in_plane = sorted(order[:n_flexural]), sorted(order[n_flexural:])
    return {
        "ZA": flexural[:n_acoustic],
        "ZO": flexural[n_acoustic:],
        "TA/LA": in_plane[: 2 * n_acoustic],
        "TO/LO": in_plane[2 * n_acoustic :],
    }


def compare(model: Phonopy, reference: Phonopy, n_layers: int = 2) -> list[dict[str, Any]]:
    """Frequency differences at every commensurate q point of the reference supercell.

    Both are taken with their own eigenvectors and matched by order within a branch group. The lattices may be
    set up differently (rotated, 60 or 120 degrees) and the atoms in any order: q is carried over through
    the metric. The three translations at Γ are left out. All q points count once, so that "all" is
    the mean over the Brillouin-zone mesh.

    Returns
    -------
    list of dict
        Keys `COMPARISON_COLUMNS`, rows "all" and the groups of `branch_groups`; rms, mean (model minus
        reference) and largest difference in cm⁻¹.
    """
    if sorted(model.primitive.numbers) != sorted(reference.primitive.numbers):
        raise InputError(
            "phonons.reference",
            f"has the primitive cell {reference.primitive.symbols}, the model {model.primitive.symbols}",
            "give the reference of this structure",
        )
    to_model = lattice_map(reference.primitive.cell, model.primitive.cell)
    differences: dict[str, list[float]] = {}
    for q in commensurate_points(reference):
        theirs = _grouped(reference, q, n_layers)
        for group, frequencies in _grouped(model, to_model @ q, n_layers).items():
            differences.setdefault(group, []).extend(frequencies - theirs[group])
    every = [value for group in differences.values() for value in group]
    return [_row("all", every), *(_row(group, values) for group, values in differences.items() if values)]


def commensurate_points(phonon: Phonopy) -> np.ndarray:
    """Fractional q points (Q, 3) of the primitive cell at which the supercell is exact, Γ first."""
    matrix = np.linalg.solve(phonon.primitive_matrix, phonon.supercell_matrix)
    points = np.array(get_commensurate_points(np.round(matrix).astype(int)))
    return points[np.argsort(np.linalg.norm(points, axis=1) > 1e-9, kind="stable")]


def lattice_map(from_cell: Any, to_cell: Any, tolerance: float = 0.03) -> np.ndarray:
    """Integer matrix (3, 3) that takes fractional q of one lattice to those of another setting of it.

    Raises
    ------
    InputError
        No setting agrees within the relative `tolerance` of the lengths.
    """
    source, target = np.asarray(from_cell, dtype=float), np.asarray(to_cell, dtype=float)
    in_plane = [m for m in itertools.product((0, 1, -1), repeat=4) if abs(m[0] * m[3] - m[1] * m[2]) == 1]
    # the identity first, so that equal settings are kept as they are
    for a, b, c, d in sorted(in_plane, key=lambda m: m != (1, 0, 0, 1)):
        matrix = np.array([[a, b, 0], [c, d, 0], [0, 0, 1]])
        new = (matrix @ source)[:2]
        scale = np.linalg.norm(target[0]) * np.linalg.norm(target[1])
        if np.abs(new @ new.T - target[:2] @ target[:2].T).max() <= 2 * tolerance * scale:
            return matrix
    raise InputError(
        "phonons.reference", "has another lattice than the model's structure", "give the same lattice"
    )


def _grouped(phonon: Phonopy, q: np.ndarray, n_layers: int) -> dict[str, np.ndarray]:
    """Frequencies in cm⁻¹ of each branch group at q; without the translations at Γ."""
    at_gamma = bool(np.allclose(q, 0))
    frequencies, vectors = eigensystem(phonon, q, drop_translations=at_gamma)
    groups = branch_groups(vectors, plane_normal(phonon.primitive.cell), n_layers, at_gamma)
    return {name: frequencies[indices] * CM1_PER_THZ for name, indices in groups.items()}


def _row(group: str, values: list[float]) -> dict[str, Any]:
    array = np.array(values)
    return {
        "group": group,
        "n_modes": len(array),
        "rms_cm1": round(float(np.sqrt(np.mean(array**2))), 3),
        "mean_cm1": round(float(array.mean()), 3),
        "max_abs_cm1": round(float(np.abs(array).max()), 3),
    }

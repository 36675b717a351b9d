"""Builders of layered structures: monolayer, AB, AA, shifted and commensurately twisted bilayers.

All cells have lattice vectors at 60 degrees, a1 along x, layers parallel to xy with the middle of the
stack at half the cell height, and pbc = (T, T, F): the same choices as the DFT data of the project.
"""

from __future__ import annotations

from math import gcd

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlepi_core.artefacts import InputError
from mlepi_core.structures.lattice import hexagonal_cell, lattice_points

LATTICE_CONSTANT = 2.474
"""Å; PBE with the small basis of the data set (experiment: 2.461)."""
DISTANCE = 3.16
"""Å; interlayer distance of the data set's equilibrium cells."""
CELL_HEIGHT = 14.0
"""Å; height of the cell along the normal."""
AB_SHIFT = (1.0 / 3.0, 1.0 / 3.0)
"""Shift of the upper layer, in units of (a1, a2), that turns AA into AB stacking."""

_MIN_DISTANCE = 1.0
_HONEYCOMB = np.array([[0.0, 0.0], [1.0 / 3.0, 1.0 / 3.0]])

Pair = tuple[str, str]


def build_monolayer(
    *,
    lattice_constant: float = LATTICE_CONSTANT,
    cell_height: float = CELL_HEIGHT,
    elements: Pair = ("C", "C"),
) -> Atoms:
    """Primitive honeycomb layer at half the cell height: 2 atoms, lengths in Å.

    `elements` are the species at the origin and at (a1 + a2)/3.
    """
    _check_lengths(lattice_constant=lattice_constant, cell_height=cell_height)
    cell = hexagonal_cell(lattice_constant, cell_height)
    fractional = np.column_stack([_HONEYCOMB, [0.5, 0.5]])
    return _layered(list(elements), fractional @ cell, cell, np.zeros(2, dtype=np.int64))


def build_bilayer(
    shift: tuple[float, float] = AB_SHIFT,
    *,
    lattice_constant: float = LATTICE_CONSTANT,
    distance: float = DISTANCE,
    cell_height: float = CELL_HEIGHT,
    elements: Pair = ("C", "C"),
    top_elements: Pair | None = None,
) -> Atoms:
    """Primitive bilayer with the upper layer shifted by `shift`: 4 atoms.

    Parameters
    ----------
    shift
        Fractions of (a1, a2): (0, 0) is AA, (1/3, 1/3) AB, (1/2, 1/2) the saddle point, (2/3, 2/3) BA.
    lattice_constant, distance, cell_height
        Å.
    elements
        Species at the origin and at (a1 + a2)/3 of the lower layer.
    top_elements
        The same for the upper layer; default: as below.
    """
    _check_lengths(lattice_constant=lattice_constant, cell_height=cell_height)
    _check_distance(distance, cell_height)
    cell = hexagonal_cell(lattice_constant, cell_height)
    below, above = _layer_fractions(distance, cell_height)
    lower = np.column_stack([_HONEYCOMB, [below, below]])
    upper = np.column_stack([_HONEYCOMB + _checked_shift(shift), [above, above]])
    symbols = [*elements, *(top_elements or elements)]
    return _layered(symbols, np.vstack([lower, upper]) @ cell, cell, np.array([0, 0, 1, 1]))


def build_ab(**options: object) -> Atoms:
    """AB (Bernal) bilayer; options of `build_bilayer`."""
    return build_bilayer(AB_SHIFT, **options)  # type: ignore[arg-type]


def build_aa(**options: object) -> Atoms:
    """AA bilayer; options of `build_bilayer`."""
    return build_bilayer((0.0, 0.0), **options)  # type: ignore[arg-type]


def build_twisted(
    index: tuple[int, int],
    *,
    lattice_constant: float = LATTICE_CONSTANT,
    distance: float = DISTANCE,
    cell_height: float = CELL_HEIGHT,
    elements: Pair = ("C", "C"),
    top_elements: Pair | None = None,
    shift: tuple[float, float] = (0.0, 0.0),
) -> Atoms:
    """Commensurate twisted bilayer (m, r), rotated about an atom of AA stacking.

    Construction of J. M. B. Lopes dos Santos, N. M. R. Peres and A. H. Castro Neto, Phys. Rev. B 86,
    155449 (2012), arXiv:1202.1088: the vector (m, m+r) of one lattice is (m+r, m) of the other. For r = 1
    the cell has 4(3m² + 3m + 1) atoms and cos θ = (3m² + 3m + 1/2)/(3m² + 3m + 1).

    Parameters
    ----------
    index
        (m, r), coprime positive integers; (1, 1) is 21.79 degrees with 28 atoms.
    lattice_constant, distance, cell_height
        Å.
    elements, top_elements
        As in `build_bilayer`.
    shift
        Rigid shift of the upper layer in units of the lower layer's lattice vectors.

    Returns
    -------
    Atoms of the lower layer, then of the upper one, inside the moiré cell whose first vector lies
    along x. ``info["twist_degrees"]`` is the angle by which the upper layer is turned
    anticlockwise against the lower one.
    """
    _check_lengths(lattice_constant=lattice_constant, cell_height=cell_height)
    _check_distance(distance, cell_height)
    below, above = twist_matrices(index)
    primitive = hexagonal_cell(lattice_constant, cell_height)
    length = float(np.linalg.norm(below[0] @ primitive))
    cell = hexagonal_cell(length, cell_height)
    offsets = [np.zeros(2), _checked_shift(shift) @ np.linalg.inv(below[:2, :2])]
    fractions = []
    for matrix, offset, height in zip(
        (below, above), offsets, _layer_fractions(distance, cell_height), strict=True
    ):
        in_plane = _honeycomb_in_cell(matrix[:2, :2]) + offset
        in_plane -= np.floor(in_plane + 1e-9)
        fractions.append(np.column_stack([in_plane, np.full(len(in_plane), height)]))
    n_cells = abs(round(np.linalg.det(below)))
    symbols = list(elements) * n_cells + list(top_elements or elements) * n_cells
    atoms = _layered(symbols, np.vstack(fractions) @ cell, cell, np.repeat([0, 1], 2 * n_cells))
    atoms.info["twist_degrees"] = twist_angle(index)
    return atoms


def twist_angle(index: tuple[int, int]) -> float:
    """Twist angle in degrees: cos θ = (3m² + 3mr + r²/2)/(3m² + 3mr + r²)."""
    m, r = _checked_index(index)
    common = 3 * m * m + 3 * m * r
    return float(np.degrees(np.arccos((common + r * r / 2.0) / (common + r * r))))


def twist_matrices(index: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Moiré vectors in units of the lower and of the upper lattice, two integer (3, 3) matrices."""
    m, r = _checked_index(index)
    if r % 3:
        below, above = (m, m + r), (m + r, m)
    else:
        # the cell above is three times too large when 3 divides r; this is its (t1 + t2)/3, turned
        below, above = (m + r // 3, r // 3), (m + 2 * r // 3, -(r // 3))
    return _rotated_pair(*below), _rotated_pair(*above)


def _rotated_pair(p: int, q: int) -> NDArray[np.int64]:
    """Rows (p, q) and the same vector turned by +60 degrees (a1 → a2, a2 → a2 - a1)."""
    return np.array([[p, q, 0], [-q, p + q, 0], [0, 0, 1]], dtype=np.int64)


def _honeycomb_in_cell(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """Honeycomb sites in fractions of the moiré vectors, (2n, 2), the two sublattices alternating."""
    points = lattice_points(matrix)[:, :2]
    sites = (points[:, None, :] + _HONEYCOMB[None, :, :]).reshape(-1, 2)
    return sites @ np.linalg.inv(matrix)


def _layered(
    symbols: list[str],
    positions: NDArray[np.float64],
    cell: NDArray[np.float64],
    layer: NDArray[np.int64],
) -> Atoms:
    try:
        atoms = Atoms(symbols, positions=positions, cell=cell, pbc=(True, True, False))
    except KeyError as error:
        raise InputError("elements", f"{error.args[0]!r} is no chemical symbol") from error
    atoms.set_array("layer", layer.astype(np.int64))
    return atoms


def _layer_fractions(distance: float, cell_height: float) -> tuple[float, float]:
    half = distance / (2.0 * cell_height)
    return 0.5 - half, 0.5 + half


def _checked_index(index: tuple[int, int]) -> tuple[int, int]:
    values = [int(value) for value in index] if len(tuple(index)) == 2 else []
    if len(values) != 2 or list(index) != values or min(values) < 1 or gcd(*values) != 1:
        raise InputError("index", f"{tuple(index)}", "give two coprime integers m r, both ≥ 1")
    return values[0], values[1]


def _checked_shift(shift: tuple[float, float]) -> NDArray[np.float64]:
    values = np.asarray(shift, dtype=np.float64)
    if values.shape != (2,) or not np.isfinite(values).all():
        raise InputError("shift", f"{shift}", "give two fractions of the lattice vectors")
    return values


def _check_lengths(**lengths: float) -> None:
    for name, value in lengths.items():
        if not np.isfinite(value) or value <= 0.0:
            raise InputError(name, f"{value} Å", "give a positive length in Å")


def _check_distance(distance: float, cell_height: float) -> None:
    if not _MIN_DISTANCE <= distance <= cell_height - _MIN_DISTANCE:
        raise InputError(
            "distance",
            f"{distance} Å in a cell of height {cell_height} Å",
            f"give a value between {_MIN_DISTANCE} Å and the cell height less {_MIN_DISTANCE} Å",
        )

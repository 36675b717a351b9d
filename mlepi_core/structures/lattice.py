"""Lattices: hexagonal cells, the K point and its folding, supercells and their maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.geometry import complete_cell
from numpy.typing import ArrayLike, NDArray

from mlepi_core.artefacts import InputError

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


def hexagonal_cell(lattice_constant: float, cell_height: float) -> FloatArray:
    """Rows a1 = (a, 0, 0), a2 = (a/2, √3a/2, 0), a3 = (0, 0, c) in Å: vectors at 60 degrees."""
    a = lattice_constant
    return np.array([[a, 0.0, 0.0], [a / 2.0, np.sqrt(3.0) / 2.0 * a, 0.0], [0.0, 0.0, cell_height]])


def plane_normal(cell: ArrayLike) -> FloatArray:
    """Unit vector along a1 × a2, (3,): "up" for layers, whatever the orientation of the cell."""
    lattice = np.asarray(complete_cell(np.asarray(cell, dtype=np.float64)))
    normal = np.cross(lattice[0], lattice[1])
    return normal / np.linalg.norm(normal)


def heights(positions: ArrayLike, cell: ArrayLike) -> FloatArray:
    """Component of each position along a1 × a2, (N,) Å."""
    return np.asarray(positions, dtype=np.float64) @ plane_normal(cell)


def k_point(cell: ArrayLike, tolerance: float = 1e-3) -> FloatArray:
    """K of a primitive hexagonal lattice in fractional coordinates, (3,).

    (1/3, 2/3, 0) for lattice vectors at 60 degrees and (1/3, 1/3, 0) at 120 degrees: the corner of
    the Brillouin zone is looked up by its length 4π/3a, never typed. The other valley is -K.

    Parameters
    ----------
    cell
        (3, 3) Å, any orientation.
    tolerance
        Relative tolerance for |a1| = |a2| and for the angle.

    Raises
    ------
    InputError
        If a1 and a2 do not span a hexagonal lattice.
    """
    lattice = np.asarray(cell, dtype=np.float64)
    a1, a2 = lattice[0], lattice[1]
    length = np.linalg.norm(a1)
    cosine = a1 @ a2 / (length * np.linalg.norm(a2)) if length and a2.any() else 0.0
    equal = abs(np.linalg.norm(a2) - length) <= tolerance * length
    if not equal or abs(abs(cosine) - 0.5) > tolerance:
        raise InputError(
            "cell",
            f"a1 and a2 are not hexagonal (|a1| = {length:.4f} Å, |a2| = {np.linalg.norm(a2):.4f} Å, "
            f"cosine of the angle {cosine:.4f})",
            "K is defined for vectors of equal length at 60 or 120 degrees",
        )
    in_plane = np.linalg.pinv(np.stack([a1, a2])).T
    for corner in np.array([[1.0, 1.0], [1.0, 2.0]]) / 3.0:
        shifts = np.array([[p, q] for p in (-1, 0, 1) for q in (-1, 0, 1)])
        shortest = np.linalg.norm((corner + shifts) @ in_plane, axis=1).min()
        if abs(shortest * length - 2.0 / 3.0) < 10.0 * tolerance:
            return np.array([corner[0], corner[1], 0.0])
    raise InputError("cell", "no corner of the Brillouin zone at a multiple of 1/3")


def m_point(cell: ArrayLike, tolerance: float = 1e-3) -> FloatArray:
    """M of a primitive hexagonal lattice that lies next to `k_point`, fractional (3,).

    The line between them is half an edge of the Brillouin zone. Parameters and errors are those of `k_point`.
    """
    corner = k_point(cell, tolerance)
    middles = np.array([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]])
    reach = np.linalg.norm((middles - corner) @ np.linalg.inv(np.asarray(cell, dtype=np.float64)).T, axis=1)
    return middles[np.argmin(reach)]


def fold_k(k: ArrayLike, supercell: ArrayLike) -> FloatArray:
    """Where a primitive k lands in the Brillouin zone of a supercell: S·k mod 1.

    Parameters
    ----------
    k
        (3,) fractional coordinates of the primitive reciprocal lattice.
    supercell
        n, (n1, n2), (n1, n2, n3) or an integer matrix S, (2, 2) or (3, 3), whose rows are the
        supercell vectors in units of the primitive ones. One number means (n, n, 1).

    Returns
    -------
    (3,) fractional coordinates in [0, 1); values within 1e-9 of an integer become 0.
    """
    folded = supercell_matrix(supercell) @ np.asarray(k, dtype=np.float64)
    folded -= np.floor(folded + 1e-9)
    folded[np.abs(folded) < 1e-9] = 0.0
    return folded


def supercell_matrix(supercell: ArrayLike) -> IntArray:
    """Integer (3, 3) matrix of n, (n1, n2), (n1, n2, n3), (2, 2) or (3, 3) input."""
    values = np.asarray(supercell)
    if values.size == 0 or not np.array_equal(values, np.round(values.astype(float))):
        raise InputError("supercell", f"{np.asarray(supercell).tolist()} is not made of integers")
    values = values.astype(np.int64)
    matrix = np.eye(3, dtype=np.int64)
    if values.ndim == 0:
        matrix[0, 0] = matrix[1, 1] = values
    elif values.ndim == 1 and len(values) in (2, 3):
        matrix[np.arange(len(values)), np.arange(len(values))] = values
    elif values.shape in ((2, 2), (3, 3)):
        matrix[: len(values), : len(values)] = values
    else:
        raise InputError("supercell", f"shape {values.shape}", "give n n, n n 1 or a matrix of integers")
    if values.ndim < 2 and (values < 1).any():
        raise InputError("supercell", f"{values.tolist()}", "repetitions are integers ≥ 1")
    if round(np.linalg.det(matrix)) == 0:
        raise InputError("supercell", "the matrix is singular")
    return matrix


def lattice_points(matrix: ArrayLike) -> IntArray:
    """Primitive lattice vectors inside the supercell S, (|det S|, 3), a1 fastest.

    Integer arithmetic throughout (adjugate instead of inverse), so that no point on an edge of the
    cell is lost or doubled by rounding.
    """
    S = supercell_matrix(matrix)
    adjugate = _adjugate(S)
    determinant = round(np.linalg.det(S))
    corners = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)]) @ S
    low, high = corners.min(axis=0), corners.max(axis=0)
    c, b, a = np.meshgrid(*(np.arange(low[x], high[x] + 1) for x in (2, 1, 0)), indexing="ij")
    points = np.column_stack([a.ravel(), b.ravel(), c.ravel()])
    scaled = points @ adjugate * int(np.sign(determinant))
    points = points[((scaled >= 0) & (scaled < abs(determinant))).all(axis=1)]
    assert len(points) == abs(determinant)
    return points


def _adjugate(matrix: IntArray) -> IntArray:
    """det(S) S⁻¹, an integer matrix."""
    return np.round(np.linalg.inv(matrix) * np.linalg.det(matrix)).astype(np.int64)


# Å; atoms that moved by less are nearer to their own site than to another.
_HALF_BOND = 0.5


@dataclass(frozen=True)
class SupercellMap:
    """Which primitive atom each supercell atom is, and in which primitive cell it lies.

    Attributes
    ----------
    kappa
        (N,) index of the primitive atom.
    cells
        (N, 3) primitive lattice vector R: x = τ_kappa + R·L up to a vector of the supercell.
    matrix
        (3, 3) supercell vectors in units of the primitive ones, rows.
    """

    kappa: IntArray
    cells: IntArray
    matrix: IntArray

    @property
    def n_cells(self) -> int:
        """Number of primitive cells in the supercell."""
        return abs(round(np.linalg.det(self.matrix)))


def build_supercell(primitive: Atoms, size: ArrayLike) -> Atoms:
    """Repeat a structure; every per-atom array (layer, winding, …) is carried over.

    Repeated along a3 a stack has more layers than before: the labels are then dropped, and
    `assign_layers` finds the new ones.

    Atoms are ordered by primitive atom, then by cell with a1 fastest (phonopy's order). The integer
    arrays ``kappa`` (N,) and ``cell_index`` (N, 3) hold the map to the primitive cell.

    Parameters
    ----------
    primitive
        Any structure.
    size
        n, (n1, n2), (n1, n2, n3) or an integer matrix; see `supercell_matrix`.

    Raises
    ------
    InputError
        For a repetition along a direction that is not periodic.
    """
    matrix = supercell_matrix(size)
    changed = (matrix != np.eye(3, dtype=np.int64)).any(axis=1) | (matrix != np.eye(3)).any(axis=0)
    if (changed & ~np.asarray(primitive.pbc)).any():
        axis = "abc"[int(np.flatnonzero(changed & ~np.asarray(primitive.pbc))[0])]
        raise InputError("supercell", f"the structure is not periodic along {axis}", "use 1 there")
    points = lattice_points(matrix)
    kappa = np.repeat(np.arange(len(primitive)), len(points))
    cells = np.tile(points, (len(primitive), 1))
    supercell = primitive[kappa]
    supercell.info = dict(primitive.info)
    lattice = primitive.cell.array
    supercell.set_cell(matrix @ lattice)
    supercell.set_positions(primitive.get_positions()[kappa] + cells @ lattice)
    if abs(matrix[2, 2]) != 1:
        for name in {"layer", "winding"} & set(supercell.arrays):
            del supercell.arrays[name]
    supercell.set_array("kappa", kappa)
    supercell.set_array("cell_index", cells)
    return supercell


def supercell_map(supercell: Atoms, primitive: Atoms, tolerance: float = 1e-3) -> SupercellMap:
    """Find the map of a supercell, with atoms in any order and any periodic image, to `primitive`.

    Parameters
    ----------
    supercell, primitive
        Undisplaced structures with the same origin and orientation.
    tolerance
        Å, for the distance of an atom to its ideal site.

    Raises
    ------
    InputError
        If the cells are not commensurate or an atom has no primitive partner.
    """
    lattice = np.asarray(complete_cell(primitive.cell.array))
    inverse = np.linalg.inv(lattice)
    raw = np.asarray(complete_cell(supercell.cell.array)) @ inverse
    matrix = np.round(raw).astype(np.int64)
    if np.abs((raw - matrix) @ lattice).max() > tolerance:
        raise InputError("supercell", "its cell is not an integer multiple of the primitive cell")
    kappa = np.full(len(supercell), -1, dtype=np.int64)
    cells = np.zeros((len(supercell), 3), dtype=np.int64)
    for index, (number, site) in enumerate(zip(primitive.numbers, primitive.get_positions(), strict=True)):
        fractional = (supercell.get_positions() - site) @ inverse
        nearest = np.where(primitive.pbc, np.round(fractional), 0.0)
        distance = np.linalg.norm((fractional - nearest) @ lattice, axis=1)
        match = (distance < tolerance) & (supercell.numbers == number)
        kappa[match], cells[match] = index, nearest[match].astype(np.int64)
    if (kappa < 0).any():
        atom = int(np.flatnonzero(kappa < 0)[0])
        raise InputError("supercell", f"atom {atom} lies on no site of the primitive cell")
    sites = np.column_stack([kappa, cells @ _adjugate(matrix) % abs(round(np.linalg.det(matrix)))])
    if len(np.unique(sites, axis=0)) != len(primitive) * abs(round(np.linalg.det(matrix))):
        raise InputError("supercell", "two atoms lie on the same site, or one site is empty")
    return SupercellMap(kappa, cells, matrix)


def displaced_map(atoms: Atoms, primitive: Atoms, largest: float = 1.0) -> SupercellMap:
    """Map of a supercell whose atoms are displaced, by thermal motion for instance, to `primitive`.

    Parameters
    ----------
    atoms
        A supercell of `primitive`: in any place with its atoms in the order of `build_supercell`, or in
        another order with each atom nearer than half a bond to its site.
    primitive
        Undisplaced primitive cell.
    largest
        Largest displacement of an atom in the order of `build_supercell` beyond that of all together, Å.

    Raises
    ------
    InputError
        If the cells are not commensurate, or an atom cannot be assigned to a site.
    """
    lattice = np.asarray(complete_cell(primitive.cell.array))
    raw = np.asarray(complete_cell(atoms.cell.array)) @ np.linalg.inv(lattice)
    matrix = np.round(raw).astype(np.int64)
    if np.abs((raw - matrix) @ lattice).max() > 1e-3 or round(np.linalg.det(matrix)) == 0:
        raise InputError("supercell", "its cell is not an integer multiple of the primitive cell")
    ideal = build_supercell(primitive, matrix)
    if np.array_equal(ideal.numbers, atoms.numbers):
        moved = atoms.positions - ideal.positions
        if np.linalg.norm(moved - moved.mean(axis=0), axis=1).max() < largest:
            return SupercellMap(ideal.arrays["kappa"], ideal.arrays["cell_index"], matrix)
    return supercell_map(atoms, primitive, tolerance=_HALF_BOND)

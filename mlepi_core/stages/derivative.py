"""dH/du of the network: exact, by central differences, beside DFT; along any pattern as a label store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlepi_core.artefacts import InputError, write_csv

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms

    from mlepi_core.formats.blocks import BlockMatrix
    from mlepi_core.formats.store import LabelEntry
    from mlepi_core.nn.hamiltonian import HamiltonianModel

DERIVATIVE_COLUMNS = ("quantity", "step_A", "source", "value", "unit")
# A cell that contains the receptive field of the displaced atom: three message cutoffs across.
_SMALLEST_CELL_ANGSTROM = 9.0


def derivative(
    model: str | os.PathLike[str],
    structure: str | os.PathLike[str],
    out_csv: str | os.PathLike[str],
    *,
    steps: Sequence[float],
    reference: str | os.PathLike[str] | None = None,
    device: str = "auto",
) -> list[dict[str, Any]]:
    """Norm of dH/du of one atom along x, exact and by several steps, and how far the steps are off.

    Parameters
    ----------
    model
        Electron model.
    structure
        Ideal primitive cell; repeated to a cell of at least 9 Å.
    out_csv
        Columns `DERIVATIVE_COLUMNS`.
    steps
        Displacements ± step in Å.
    reference
        Label store with pairs of cells that differ by one atom's ± displacement; each pair is a DFT value,
        compared with the network for the very same cells.

    Returns
    -------
    list of dict
        The rows of the table. ``dH_norm``: Frobenius norm of the derivative over all blocks, eV/Å; step 0 is
        the exact derivative. ``dH_disagreement``: norm of the difference from it over its norm, 1.
        ``dH_error``: norm of predicted − DFT over the norm of the DFT value, 1.
    """
    import numpy as np

    from mlepi_core.inference.electron_derivatives import hamiltonian_derivative
    from mlepi_core.nn.hamiltonian import load_hamiltonian_model
    from mlepi_core.structures import build_supercell, read_structure

    loaded = load_hamiltonian_model(model, device=device)
    atoms = read_structure(structure)
    widths = [_width(atoms, axis) for axis in (0, 1)]
    atoms = build_supercell(atoms, tuple(int(np.ceil(_SMALLEST_CELL_ANGSTROM / width)) for width in widths))
    exact = hamiltonian_derivative(loaded, atoms, single_atom(atoms, 0, "x")).hamiltonian
    size = np.linalg.norm(exact)
    rows = [_row("dH_norm", 0.0, "predicted", size, "eV/Å")]
    slopes = {step: _predicted_slope(loaded, atoms, step) for step in sorted(steps)}
    for step, slope in slopes.items():
        rows.append(_row("dH_norm", step, "predicted", np.linalg.norm(slope), "eV/Å"))
    for step, slope in slopes.items():
        change = np.linalg.norm(slope - exact) / size
        rows.append(_row("dH_disagreement", step, "predicted", change, "1"))
    if reference is not None:
        rows += _reference_rows(loaded, reference)
    write_csv(out_csv, rows, DERIVATIVE_COLUMNS)
    return rows


def pattern_derivative(
    model: str | os.PathLike[str],
    structure: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    pattern: str | os.PathLike[str] | None = None,
    atom: int | None = None,
    axis: str | None = None,
    device: str = "auto",
) -> float:
    """Write dH/dλ and dS/dλ along a displacement pattern as a label store.

    Parameters
    ----------
    model
        Electron model.
    structure
        Structure of one frame.
    out
        Label store of one entry: ``hamiltonian`` is dH/dλ in eV/Å and ``overlap`` dS/dλ in 1/Å, for the
        pattern in Å; the attributes ``quantity`` = "derivative" and ``unit`` = "eV/angstrom" say so.
    pattern
        ``.npy`` file with (N, 3) Å, or an extxyz file of one frame with the array ``displacements``.
    atom, axis
        Instead of `pattern`: number of the only atom that moves, and x, y or z.
    device
        "cpu", "cuda" or "auto".

    Returns
    -------
    float
        Frobenius norm of dH/dλ over the stored blocks, one of each Hermitian pair, eV/Å.

    Raises
    ------
    InputError
        If neither or both kinds of pattern are given, or it does not fit the structure.
    """
    import numpy as np

    from mlepi_core.formats.store import LabelEntry, StoreWriter
    from mlepi_core.inference.electron_derivatives import hamiltonian_derivative
    from mlepi_core.nn.hamiltonian import load_hamiltonian_model
    from mlepi_core.structures import ensure_layers, read_structure

    atoms = ensure_layers(read_structure(structure))
    if (pattern is None) == (atom is None) or (atom is None) != (axis is None):
        raise InputError("pattern", "is not defined", "give a file, or --atom and --axis")
    moves = _read_pattern(pattern, atoms) if atom is None else single_atom(atoms, atom, axis)
    loaded = load_hamiltonian_model(model, device=device)
    result = hamiltonian_derivative(loaded, atoms, moves)
    name = os.path.splitext(os.path.basename(structure))[0]
    label = f"atom {atom} along {axis}" if pattern is None else os.path.basename(pattern)
    attrs = {"quantity": "derivative", "unit": "eV/angstrom", "pattern": label}
    with StoreWriter(out, loaded.overlap.basis, {"quantity": "derivative"}) as writer:
        writer.add(LabelEntry(name, atoms, blocks=result, attrs=attrs))
    return float(np.linalg.norm(result.hamiltonian))


def single_atom(atoms: Atoms, atom: int, axis: str) -> np.ndarray:
    """Pattern (N, 3): one atom by 1 Å along x, y or z."""
    import numpy as np

    if not 0 <= atom < len(atoms):
        raise InputError("atom", f"{atom} of {len(atoms)}", f"count from 0 to {len(atoms) - 1}")
    pattern = np.zeros((len(atoms), 3))
    pattern[atom, "xyz".index(axis)] = 1.0
    return pattern


def _read_pattern(path: str | os.PathLike[str], atoms: Atoms) -> np.ndarray:
    """Displacements (N, 3) of a file."""
    import numpy as np

    from mlepi_core.structures import read_structure

    if os.fspath(path).endswith(".npy"):
        try:
            values = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(path, f"cannot be read ({error})", "write it with numpy.save") from None
    else:
        frame = read_structure(path)
        if "displacements" not in frame.arrays:
            raise InputError(path, "has no array 'displacements'", "add a column displacements:R:3 in Å")
        values = frame.arrays["displacements"]
    if values.shape != (len(atoms), 3) or not np.issubdtype(values.dtype, np.number):
        raise InputError(
            path, f"has shape {values.shape}", f"give three displacements for each of {len(atoms)} atoms"
        )
    return values.astype(np.float64)


def _row(quantity: str, step: float, source: str, value: float, unit: str) -> dict[str, Any]:
    return {"quantity": quantity, "step_A": step, "source": source, "value": float(value), "unit": unit}


def _width(atoms: Atoms, axis: int) -> float:
    import numpy as np

    cell = atoms.cell.array
    other = np.cross(cell[1 - axis], cell[2])
    return float(abs(cell[axis] @ other) / np.linalg.norm(other))


def _predicted_slope(model: HamiltonianModel, atoms: Atoms, step: float) -> np.ndarray:
    """dH/du (M,) of atom 0 along x by central differences, on the blocks of the ideal structure."""
    from mlepi_core.basis.two_centre import overlap_blocks
    from mlepi_core.structures import ensure_layers

    labelled = ensure_layers(atoms)
    matrix = overlap_blocks(labelled, model.overlap)
    moved = []
    for sign in (1, -1):
        displaced = labelled.copy()
        displaced.positions[0, 0] += sign * step
        moved.append(displaced)
    plus, minus = (model.hamiltonians([displaced], [matrix])[0] for displaced in moved)
    return (plus.hamiltonian - minus.hamiltonian) / (2 * step)


def _reference_rows(model: HamiltonianModel, store: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """DFT and predicted slopes of every pair of opposite displacements of the store."""
    import numpy as np

    from mlepi_core.formats.store import LabelStore

    with LabelStore(store) as source:
        entries = [source.read(name) for name in source.select()]
    rows = []
    for plus, minus in opposite_pairs(entries):
        step = float(np.linalg.norm(plus.atoms.positions - minus.atoms.positions)) / 2
        matrices = [entry.blocks for entry in (plus, minus)]
        common = _common_blocks(*matrices)
        dft = _difference(*matrices, common) / (2 * step)
        predicted = model.hamiltonians([plus.atoms, minus.atoms], matrices)
        slope = _difference(*predicted, common) / (2 * step)
        size = np.linalg.norm(dft)
        rows.append(_row(f"dH_norm {plus.name}", step, "dft", size, "eV/Å"))
        rows.append(_row(f"dH_norm {plus.name}", step, "predicted", np.linalg.norm(slope), "eV/Å"))
        error = np.linalg.norm(slope - dft) / size
        rows.append(_row(f"dH_error {plus.name}", step, "predicted", error, "1"))
    return rows


def opposite_pairs(entries: Sequence[LabelEntry]) -> list[tuple[LabelEntry, LabelEntry]]:
    """Pairs of cells that differ by the displacement of one atom to opposite sides of its place.

    Raises
    ------
    InputError
        If there is none.
    """
    import numpy as np

    with_blocks = [entry for entry in entries if entry.blocks is not None]
    mean = np.median([entry.atoms.positions for entry in with_blocks], axis=0) if with_blocks else None
    pairs = []
    for k, one in enumerate(with_blocks):
        for other in with_blocks[k + 1 :]:
            a, b = one.atoms.positions - mean, other.atoms.positions - mean
            moved = np.flatnonzero(np.abs(one.atoms.positions - other.atoms.positions).max(axis=1) > 1e-6)
            if len(moved) == 1 and np.abs(a + b).max() < 1e-6:
                pairs.append((one, other))
    if not pairs:
        raise InputError("derivative.reference", "holds no pair of opposite displacements of one atom")
    return pairs


def _common_blocks(one: BlockMatrix, other: BlockMatrix) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the blocks that both matrices have."""
    import numpy as np

    places = {tuple(pair): k for k, pair in enumerate(other.pairs.tolist())}
    matched = [(k, places[tuple(pair)]) for k, pair in enumerate(one.pairs.tolist()) if tuple(pair) in places]
    first, second = np.array(matched).T
    return first, second


def _difference(one: BlockMatrix, other: BlockMatrix, common: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Entries of `one` less those of `other` on common blocks of equal shape."""
    import numpy as np

    parts = []
    for shape in sorted({one.shape(int(k)) for k in common[0]}):
        chosen = np.array([one.shape(int(k)) == shape for k in common[0]])
        a, b = (m.dense_blocks("hamiltonian", c[chosen]) for m, c in zip((one, other), common, strict=True))
        parts.append((a - b).ravel())
    return np.concatenate(parts)

"""dH/du at the ideal structure: central differences of the predicted Hamiltonian, beside the DFT value."""

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
    """Norm of dH/du of one atom along x, by several steps, and how far the steps agree.

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
        The rows of the table. ``dH_norm``: Frobenius norm of the derivative over all blocks, eV/Å.
        ``dH_disagreement``: norm of the difference of two steps over the norm, 1.
        ``dH_error``: norm of predicted − DFT over the norm of the DFT value, 1.
    """
    import numpy as np

    from mlepi_core.nn.hamiltonian import load_hamiltonian_model
    from mlepi_core.structures import build_supercell, read_structure

    loaded = load_hamiltonian_model(model, device=device)
    atoms = read_structure(structure)
    widths = [_width(atoms, axis) for axis in (0, 1)]
    atoms = build_supercell(atoms, tuple(int(np.ceil(_SMALLEST_CELL_ANGSTROM / width)) for width in widths))
    slopes = {step: _predicted_slope(loaded, atoms, step) for step in sorted(steps)}
    rows = [
        _row("dH_norm", step, "predicted", np.linalg.norm(slope), "eV/Å") for step, slope in slopes.items()
    ]
    smallest = min(slopes)
    for step, slope in slopes.items():
        if step != smallest:
            change = np.linalg.norm(slope - slopes[smallest]) / np.linalg.norm(slopes[smallest])
            rows.append(_row("dH_disagreement", step, "predicted", change, "1"))
    if reference is not None:
        rows += _reference_rows(loaded, reference)
    write_csv(out_csv, rows, DERIVATIVE_COLUMNS)
    return rows


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
        step = float(np.abs(plus.atoms.positions - minus.atoms.positions).max()) / 2
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

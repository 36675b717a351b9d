"""What the structures of a training cover: the range in which a network interpolates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mlepi_core.formats.store import LabelEntry

#: Quantity and unit → smallest and largest value.
Coverage = dict[tuple[str, str], tuple[float, float]]


def coverage(entries: Iterable[LabelEntry]) -> Coverage:
    """Ranges of the structures' sizes, bonds, layers and forces.

    Parameters
    ----------
    entries
        Labelled structures; layers are found where they carry no labels. Forces are those of the labels.

    Returns
    -------
    dict
        Area per atom is that of the cell over the atoms of one layer: its range shows in-plane strain.
        Corrugation is the standard deviation of the heights in a layer.
    """
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for entry in entries:
        for key, values in _values(entry).items():
            found[key] += np.ravel(values).tolist()
    return {key: (min(values), max(values)) for key, values in found.items() if values}


def _values(entry: LabelEntry) -> dict[tuple[str, str], np.ndarray]:
    from mlepi_core.structures.bonds import bonds_within
    from mlepi_core.structures.layers import BOND_FACTOR, ensure_layers, layer_heights, unwrapped_heights
    from mlepi_core.structures.neighbours import pair_vectors

    atoms = ensure_layers(entry.atoms)
    layer = atoms.arrays["layer"]
    names = np.unique(layer)
    i, j, shift = bonds_within(atoms, BOND_FACTOR)
    lengths = np.linalg.norm(pair_vectors(atoms.positions, atoms.cell.array, i, j, shift), axis=1)
    height = unwrapped_heights(atoms)
    area = np.linalg.norm(np.cross(*atoms.cell.array[:2]))
    values = {
        ("atoms in a cell", ""): np.array(len(atoms)),
        ("layers", ""): np.array(len(names)),
        ("bond length within a layer", "Å"): lengths[layer[i] == layer[j]],
        ("area per atom of a layer", "Å²"): area * len(names) / np.array(len(atoms)),
        ("distance between neighbouring layers, mean of a cell", "Å"): np.diff(layer_heights(atoms)),
        ("corrugation of a layer", "Å"): np.array([height[layer == name].std() for name in names]),
    }
    if entry.forces is not None:
        size = np.linalg.norm(entry.forces, axis=1)
        values["force on an atom", "eV/Å"] = size
        values["force, rms of a cell per component", "eV/Å"] = np.sqrt(np.mean(entry.forces**2))
    return values

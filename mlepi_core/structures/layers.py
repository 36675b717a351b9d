"""Layer labels from bond connectivity, with the winding integers of bulk stacks (docs/structures.md).

Labels are computed once, on the reference structure, and carried along: never per displaced
configuration. "Up" is a1 × a2 throughout, so that rotated cells work.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlepi_core.artefacts import InputError
from mlepi_core.structures.bonds import BondGraph, bond_graph, bonds_within
from mlepi_core.structures.lattice import heights, plane_normal
from mlepi_core.structures.neighbours import neighbour_pairs, pair_vectors

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

BOND_FACTOR = 1.4
"""Bond length limit in units of the sum of covalent radii: 2.13 Å for C-C, safe to rattles of 0.2 Å."""
_SMALLER_FACTORS = (1.3, 1.2, 1.15)
"""Tried in turn for materials of heavy elements, whose layers merge at `BOND_FACTOR`."""
SIZE_TOLERANCE = 0.1
"""Relative spread of the atoms per layer that is accepted without asking the heights."""
FRAGMENT_RATIO = 0.25
"""Components with fewer atoms than this fraction of the largest are fragments."""
MIN_GAP = 1.2
"""Å; smallest gap of heights that separates two layers when bonds fail."""

_SEAM = 0.05
_ATTACH_REACH = (3.0, 6.0, 12.0)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Labels:
    layer: IntArray
    winding: IntArray
    n_layers: int


def assign_layers(atoms: Atoms, n_layers: int | None = None) -> Atoms:
    """Copy of `atoms` with the integer array ``layer`` and, for wound stacks, ``winding``.

    Layers are the connected components of the graph of bonds shorter than 1.4 times the sum of the
    covalent radii; if all layers merge at that limit it is lowered, at most to 1.15. Fragments join
    the nearest layer (logged). The result must have layers of equal size and disjoint heights;
    otherwise heights are clustered at their largest gaps; if that fails too the structure is refused.
    Layers are numbered upwards, by mean unwrapped height along a1 × a2.

    Parameters
    ----------
    atoms
        Periodic or not; pbc (T, T, F) or (T, T, T), with a1 and a2 in the plane of the layers.
    n_layers
        Expected number of layers; a different number is an error.

    Raises
    ------
    InputError
        For a three-dimensional network of bonds, or if no consistent layers are found.
    """
    if len(atoms) == 0:
        raise InputError("structure", "it has no atoms")
    labels = _from_bonds(atoms, n_layers)
    if labels is None:
        logger.warning("bonds give no consistent layers: clustering the heights instead")
        labels = _from_heights(atoms, n_layers)
    if labels is None:
        expected = "" if n_layers is None else f" {n_layers}"
        raise InputError(
            "structure",
            f"no{expected} layers of equal size and separate heights are found",
            "give the labels in an integer column `layer`",
        )
    result = atoms.copy()
    for name in ("layer", "winding"):
        if name in result.arrays:
            del result.arrays[name]
    result.set_array("layer", labels.layer)
    if labels.winding.any():
        result.set_array("winding", labels.winding)
    return result


def ensure_layers(atoms: Atoms, n_layers: int | None = None) -> Atoms:
    """`atoms` itself if it carries valid labels, else `assign_layers(atoms, n_layers)`."""
    if "layer" not in atoms.arrays:
        return assign_layers(atoms, n_layers)
    labels = atoms.arrays["layer"]
    whole = np.round(np.asarray(labels, dtype=np.float64)).astype(np.int64)
    if labels.shape != (len(atoms),) or not np.array_equal(whole, labels):
        raise InputError("layer", "the column does not hold one integer per atom", "remove or correct it")
    if n_layers is not None and len(np.unique(whole)) != n_layers:
        raise InputError("layer", f"{len(np.unique(whole))} labels, expected {n_layers}")
    atoms.arrays["layer"] = whole
    return atoms


def unwrapped_heights(atoms: Atoms) -> FloatArray:
    """Heights along a1 × a2 with each wound layer put together, (N,) Å."""
    height = heights(atoms.get_positions(), atoms.cell.array)
    if "winding" in atoms.arrays:
        height = height - atoms.arrays["winding"] * _period(atoms)
    return height


def layer_heights(atoms: Atoms) -> FloatArray:
    """Mean unwrapped height of each layer along a1 × a2, (n_layers,) Å, by increasing label."""
    height = unwrapped_heights(atoms)
    labels = atoms.arrays["layer"]
    return np.array([height[labels == label].mean() for label in np.unique(labels)])


def _from_bonds(atoms: Atoms, n_layers: int | None) -> _Labels | None:
    """Labels at `BOND_FACTOR` or, where all layers merge, at a smaller factor; None if checks fail."""
    graph = bond_graph(len(atoms), *bonds_within(atoms, BOND_FACTOR))
    three_dimensional = graph.crosses_layers()
    if three_dimensional or (_is_single(graph) and n_layers != 1):
        labels = _from_shorter_bonds(atoms, n_layers, accept_single=three_dimensional)
        if labels is not None:
            return labels
    if three_dimensional:
        raise InputError(
            "structure",
            "its bonds form a three-dimensional network along the third lattice vector",
            "layers must be parallel to a1 and a2 and must not be bonded to each other",
        )
    return _checked_labels(atoms, graph, n_layers)


def _from_shorter_bonds(atoms: Atoms, n_layers: int | None, accept_single: bool) -> _Labels | None:
    """Consistent labels at the largest factor below `BOND_FACTOR` that has any.

    One layer is an answer only where longer bonds made a network of the stack.
    """
    for factor in _SMALLER_FACTORS:
        graph = bond_graph(len(atoms), *bonds_within(atoms, factor))
        if graph.crosses_layers():
            continue
        labels = _checked_labels(atoms, graph, n_layers)
        if labels is not None and (labels.n_layers > 1 or accept_single):
            logger.info("layers found with bonds up to %.2f times the covalent radii", factor)
            return labels
    return None


def _checked_labels(atoms: Atoms, graph: BondGraph, n_layers: int | None) -> _Labels | None:
    """Labels of a bond graph if several layers are endless in the plane and pass `_consistent`."""
    labels = _labels(atoms, graph)
    endless = graph.ranks().max() >= int(atoms.pbc[:2].sum())
    if labels.n_layers > 1 and not endless:
        return None
    return labels if _consistent(atoms, labels, n_layers) else None


def _is_single(graph: BondGraph) -> bool:
    return int((graph.sizes > FRAGMENT_RATIO * graph.sizes.max()).sum()) == 1


def _labels(atoms: Atoms, graph: BondGraph) -> _Labels:
    """Layers of a bond graph: fragments attached, windings reduced, ordered by height."""
    sizes, ranks = graph.sizes, graph.ranks()
    is_layer = (ranks == ranks.max()) & (sizes > FRAGMENT_RATIO * sizes[ranks == ranks.max()].max())
    component, winding = graph.component.copy(), graph.offset[:, 2].copy()
    if not is_layer.all():
        component, winding = _attach_fragments(atoms, component, winding, is_layer)
    names, layer = np.unique(component, return_inverse=True)
    return _ordered(atoms, layer.astype(np.int64), winding, len(names))


def _attach_fragments(
    atoms: Atoms, component: IntArray, winding: IntArray, is_layer: NDArray[np.bool_]
) -> tuple[IntArray, IntArray]:
    """Give every fragment the label and the winding of the nearest atom of a layer."""
    component, winding = component.copy(), winding.copy()
    positions, cell = atoms.get_positions(), atoms.cell.array
    for reach in _ATTACH_REACH:
        i, j, R = neighbour_pairs(positions, cell, atoms.pbc, reach)
        between = ~is_layer[component[i]] & is_layer[component[j]]
        i, j, R = i[between], j[between], R[between]
        length = np.linalg.norm(pair_vectors(positions, cell, i, j, R), axis=1)
        source = component[i]
        for fragment in np.unique(source):
            pairs = np.flatnonzero(source == fragment)
            best = pairs[np.argmin(length[pairs])]
            members = np.flatnonzero(component == fragment)
            winding[members] += R[best, 2] + winding[j[best]] - winding[i[best]]
            component[members] = component[j[best]]
            logger.warning(
                "%d atom(s) without bonds to a layer, the first of them atom %d, joined the nearest layer",
                len(members),
                members[0],
            )
        if is_layer[component].all():
            return component, winding
    atom = int(np.flatnonzero(~is_layer[component])[0])
    raise InputError("structure", f"atom {atom} is farther than {_ATTACH_REACH[-1]} Å from any layer")


def _ordered(atoms: Atoms, layer: IntArray, winding: IntArray, n_layers: int) -> _Labels:
    """Number layers upwards; make 0 the commonest winding of each layer."""
    height = heights(atoms.get_positions(), atoms.cell.array)
    winding = winding.copy()
    for label in range(n_layers):
        values, counts = np.unique(winding[layer == label], return_counts=True)
        winding[layer == label] -= values[np.argmax(counts)]
    period = _period(atoms)
    means = np.array([(height - winding * period)[layer == label].mean() for label in range(n_layers)])
    shifts = _vertical_images(means, period)
    rank = np.argsort(np.argsort(means - shifts * period, kind="stable"), kind="stable")
    return _Labels(rank[layer].astype(np.int64), winding, n_layers)


def _vertical_images(means: FloatArray, period: float) -> IntArray:
    """Periods to subtract from each layer's height, so that the stack is in one piece.

    The stack is cut at its vacuum, the largest gap, if that stands out by more than 0.5 Å;
    otherwise (bulk) slightly below height zero, where nobody puts a layer.
    """
    if period == 0.0:
        return np.zeros(len(means), dtype=np.int64)
    shifts = np.floor(means / period + _SEAM).astype(np.int64)
    reduced = means - shifts * period
    if len(means) > 1:
        order = np.argsort(reduced, kind="stable")
        gaps = np.diff(reduced[order], append=reduced[order[0]] + period)
        cut, second = np.argmax(gaps), np.sort(gaps)[-2]
        if gaps[cut] > second + 0.5 and cut < len(means) - 1:
            shifts[order[cut + 1 :]] += 1
    return shifts


def _period(atoms: Atoms) -> float:
    """Height of the cell along a1 × a2 if the structure is periodic along a3, else 0."""
    cell = atoms.cell.array
    return float(cell[2] @ plane_normal(cell)) if atoms.pbc[2] else 0.0


def _consistent(atoms: Atoms, labels: _Labels, n_layers: int | None) -> bool:
    """Expected count, disjoint heights, and equal sizes or agreement with the clustered heights."""
    if n_layers is not None and labels.n_layers != n_layers:
        return False
    if labels.n_layers == 1:
        return True
    if not _disjoint(atoms, labels):
        return False
    sizes = np.bincount(labels.layer)
    if sizes.min() >= (1.0 - SIZE_TOLERANCE) * sizes.max():
        return True
    by_height = _cluster(atoms, labels.n_layers)
    agrees = by_height is not None and np.array_equal(by_height.layer, labels.layer)
    if agrees:
        logger.info("layers have different numbers of atoms: %s", sizes.tolist())
    return agrees


def _disjoint(atoms: Atoms, labels: _Labels) -> bool:
    """Whether the height ranges do not overlap or, in corrugated stacks, no atom lies across locally."""
    period = _period(atoms)
    height = heights(atoms.get_positions(), atoms.cell.array) - labels.winding * period
    low = np.array([height[labels.layer == n].min() for n in range(labels.n_layers)])
    high = np.array([height[labels.layer == n].max() for n in range(labels.n_layers)])
    shifts = _vertical_images((low + high) / 2.0, period) * period
    order = np.argsort(low - shifts, kind="stable")
    low, high = (low - shifts)[order], (high - shifts)[order]
    if (low[1:] > high[:-1]).all() and (period == 0.0 or high[-1] < low[0] + period):
        return True
    return _locally_ordered(atoms, labels)


def _locally_ordered(atoms: Atoms, labels: _Labels, reach: float = 6.0, lateral: float = 1.5) -> bool:
    """Between any two layer images, all atoms above one another are above in the same sense."""
    positions, cell = atoms.get_positions(), atoms.cell.array
    i, j, R = neighbour_pairs(positions, cell, atoms.pbc, reach)
    vectors = pair_vectors(positions, cell, i, j, R)
    up = vectors @ plane_normal(cell)
    image = R[:, 2] + labels.winding[j] - labels.winding[i]
    other = (labels.layer[i] != labels.layer[j]) | (image != 0)
    other &= np.einsum("ex,ex->e", vectors, vectors) - up**2 < lateral**2
    keys = np.column_stack([labels.layer[i], labels.layer[j], image])[other]
    if len(keys) == 0:
        return False
    pair = np.unique(keys, axis=0, return_inverse=True)[1].ravel()
    above = np.bincount(pair, weights=(up[other] > 0.0).astype(np.float64))
    return bool(((above == 0.0) | (above == np.bincount(pair))).all())


def _from_heights(atoms: Atoms, n_layers: int | None) -> _Labels | None:
    """Clustered heights if they give the expected count and equal sizes.

    A single cluster counts only if one layer is expected: it may hide layers that overlap.
    """
    labels = _cluster(atoms, n_layers)
    if labels is None or labels.n_layers != (n_layers or max(labels.n_layers, 2)):
        return None
    sizes = np.bincount(labels.layer)
    return labels if sizes.min() >= (1.0 - SIZE_TOLERANCE) * sizes.max() else None


def _cluster(atoms: Atoms, n_layers: int | None) -> _Labels | None:
    """Cut the heights at their largest gaps, after unwrapping them across the vacuum."""
    height = heights(atoms.get_positions(), atoms.cell.array)
    period = _period(atoms)
    winding = np.zeros(len(height), dtype=np.int64)
    if period:
        winding = np.floor(height / period).astype(np.int64)
        reduced = np.sort(height - winding * period)
        gaps = np.diff(reduced, append=reduced[0] + period)
        cut = int(np.argmax(gaps))
        if cut < len(reduced) - 1:
            winding[height - winding * period > reduced[cut] + 0.5 * gaps[cut]] += 1
        height = height - winding * period
    order = np.argsort(height, kind="stable")
    gaps = np.diff(height[order])
    wanted = int((gaps > MIN_GAP).sum()) if n_layers is None else n_layers - 1
    cuts = np.sort(np.argsort(gaps, kind="stable")[::-1][:wanted])
    if len(cuts) < wanted or (wanted and gaps[cuts].min() <= MIN_GAP):
        return None
    layer = np.empty(len(height), dtype=np.int64)
    layer[order] = np.searchsorted(cuts, np.arange(len(height)), side="left")
    return _ordered(atoms, layer, winding, wanted + 1)

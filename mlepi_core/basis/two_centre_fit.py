"""Least-squares fit of two-centre tables to overlaps or Hamiltonians."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mlepi_core.artefacts import InputError
from mlepi_core.basis.radial_fit import SplineSettings, radial_samples, solve_radial, spherical_part
from mlepi_core.basis.two_centre import TwoCentreTables
from mlepi_core.formats.blocks import BlockMatrix
from mlepi_core.orbitals import Basis, symbol_of

__all__ = ["PairSample", "fit_hamiltonian", "fit_overlap", "residual_errors"]

BOHR = 0.529177249  # Å, OpenMX's value, in which orbital radii are round numbers

# Entries that axial symmetry forbids, for data kept in float32 and in float64.
_AXIAL_TOLERANCE = {"float32": 2e-7, "float64": 1e-10}
# Between its data a known table is only an interpolation, which data overrule.
_KNOWN_WEIGHT = 1e-2
# On-site overlaps of OpenMX are constants of the species to the accuracy of its radial grid.
_ONSITE_TOLERANCE = 2e-5
# Just enough to determine coefficients that no sample determines; moves covered overlaps by < 1e-9.
_STABILISER = 1e-18
# Where bridging fits start, as a fraction of the shortest distance in the data. The baseline must be defined
# wherever a relaxation may pass; an overlap beyond a tenth would be a guess.
_OVERLAP_START = 0.9
_HAMILTONIAN_START = 0.5


@dataclass(frozen=True)
class PairSample:
    """One structure of a fit.

    Parameters
    ----------
    name
        Named in errors.
    matrix
        Blocks, one or both copies of each Hermitian pair.
    vectors
        (P, 3) x_j + R.L - x_i of every pair, Å.
    intra
        (P,) True within a layer; only fits by relation need it.
    """

    name: str
    matrix: BlockMatrix
    vectors: np.ndarray
    intra: np.ndarray | None = None


def fit_overlap(
    samples: Sequence[PairSample],
    basis: Basis,
    *,
    knot_spacing: float = 0.04,
    tolerance: float = 1e-6,
    smoothing: float = 0.0,
    radii: Mapping[str, float] | None = None,
    source: str = "",
    known: TwoCentreTables | None = None,
) -> TwoCentreTables:
    """Fit overlaps; every one of them must be two-centre, and be reproduced within `tolerance`.

    Parameters
    ----------
    samples
        Structures with overlaps.
    basis
        Shells per species.
    knot_spacing
        Spacing of the knots in Å.
    tolerance
        Largest absolute error allowed on the fitted data.
    smoothing
        0 (default): evaluation where no sample lies is an error. Positive (1e-18 is enough): weight of the
        integral of f'''^2 per mean density of samples; gaps, and a tenth below the shortest distance, are
        then bridged, and the record says so. The third derivative rather than the second:
        0.1 Å beyond the data it is 100 times more accurate.
    radii
        Orbital radius per chemical symbol in Å; without it the smallest multiples of half a Bohr whose sums
        reach all distances of the data.
    source
        Kept in the record.
    known
        Tables of the same basis whose values, where they rest on data, are fitted too: the result covers
        their distances and those of `samples`. A gap that they bridge stays bridged.

    Raises
    ------
    InputError
        If a block is not two-centre, or the fit misses `tolerance`.
    """
    if known is not None and known.record["bridges_gaps"]:
        smoothing = max(smoothing, known.record["penalty_weight"])
    bridge = smoothing > 0
    weight = max(smoothing, _STABILISER)
    settings = SplineSettings(knot_spacing, weight, 3, bridge, _OVERLAP_START if bridge else 1.0)
    tables = _fit(samples, basis, "overlap", False, settings, radii, source, known)
    errors = residual_errors(tables, samples)
    if errors["max_offsite"] > tolerance:
        raise InputError(
            source or "two-centre overlap",
            f"the fit misses an overlap by {errors['max_offsite']:.1e}, allowed {tolerance:.0e}",
            "use a smaller knot spacing or less smoothing, or give the orbital radii",
        )
    if errors["max_onsite"] > _ONSITE_TOLERANCE:
        raise InputError(
            source or "two-centre overlap",
            f"on-site overlaps of one species differ by {errors['max_onsite']:.1e}",
            "the structures were made with different bases",
        )
    return _with_record(tables, errors)


def fit_hamiltonian(
    samples: Sequence[PairSample],
    basis: Basis,
    *,
    by_relation: bool = True,
    knot_spacing: float = 0.1,
    smoothing: float = 1e-6,
    radii: Mapping[str, float] | None = None,
    source: str = "",
) -> TwoCentreTables:
    """Fit the two-centre part of Hamiltonians, the baseline of delta learning.

    The functions are C2, defined at every distance from half the shortest of the data on, and have no feature
    narrower than the smoothing allows, so that they may enter finite differences. On-site blocks are the mean
    spherical part.

    Parameters
    ----------
    samples
        Structures with Hamiltonians, and relations if `by_relation`.
    by_relation
        Separate functions for pairs within and between layers.
    smoothing
        Weight of the integral of f''^2 per mean density of samples, Å^4.
    basis, knot_spacing, radii, source
        As in `fit_overlap`.
    """
    settings = SplineSettings(knot_spacing, smoothing, 2, True, _HAMILTONIAN_START)
    tables = _fit(samples, basis, "hamiltonian", by_relation, settings, radii, source)
    return _with_record(tables, residual_errors(tables, samples))


def residual_errors(tables: TwoCentreTables, samples: Iterable[PairSample]) -> dict[str, Any]:
    """Errors of the tables over all matrix elements, both directed copies and on-site blocks.

    Returns
    -------
    dict
        ``rms``, ``mae``, ``rms_of_data``, ``max_onsite``, ``max_offsite`` (eV or unitless), ``n_structures``.
    """
    weight = squares = total = absolute = max_onsite = max_offsite = 0.0
    n_structures = 0
    for sample in samples:
        n_structures += 1
        matrix = sample.matrix
        data = getattr(matrix, tables.quantity)
        error = np.abs(tables.entries(matrix, sample.vectors, sample.intra) - data)
        onsite = np.repeat(_is_onsite(matrix.pairs), np.diff(matrix.offsets))
        copies = np.where(onsite, 1.0, 2.0)
        weight += copies.sum()
        squares += copies @ error**2
        total += copies @ data**2
        absolute += copies @ error
        max_onsite = max(max_onsite, float(error[onsite].max(initial=0.0)))
        max_offsite = max(max_offsite, float(error[~onsite].max(initial=0.0)))
    return {
        "rms": math.sqrt(squares / weight),
        "mae": float(absolute / weight),
        "rms_of_data": math.sqrt(total / weight),
        "max_onsite": max_onsite,
        "max_offsite": max_offsite,
        "n_structures": n_structures,
    }


def axial_violation(sample: PairSample, basis: Basis) -> float:
    """Largest entry of S that the axial symmetry of two-centre integrals forbids, unitless.

    Overlaps of atomic orbitals in the internal order have 1e-10 or, in single precision, 1e-6; a wrong order,
    sign or position gives 0.1.
    """
    parts = _species_blocks(sample, "overlap", by_relation=False)
    found = [
        radial_samples(basis, first, second, vectors, blocks)[1]
        for (relation, first, second), vectors, blocks in parts
        if relation != "onsite"
    ]
    return max(found, default=0.0)


def _fit(
    samples: Sequence[PairSample],
    basis: Basis,
    quantity: str,
    by_relation: bool,
    settings: SplineSettings,
    radii: Mapping[str, float] | None,
    source: str,
    known: TwoCentreTables | None = None,
) -> TwoCentreTables:
    """Gather the radial samples of every table and solve for its coefficients."""
    if not samples:
        raise InputError(source or f"two-centre {quantity}", "no structure to fit", "check the selection")
    exact = quantity == "overlap"
    distances, values, weights = defaultdict(list), defaultdict(list), defaultdict(list)
    onsite: dict[int, list[np.ndarray]] = defaultdict(list)
    worst, precision = 0.0, "float32"
    for sample in samples:
        data = getattr(sample.matrix, quantity)
        if data is None:
            raise InputError(source or sample.name, f"{sample.name} has no {quantity}", "leave it out")
        if by_relation and sample.intra is None:
            raise InputError(source or sample.name, f"{sample.name}: relations of the pairs are missing")
        if not np.array_equal(data, data.astype(np.float32)):
            precision = "float64"
        for (relation, first, second), vectors, blocks in _species_blocks(sample, quantity, by_relation):
            if relation == "onsite":
                onsite[first].append(blocks)
                continue
            radial, violation = radial_samples(basis, first, second, vectors, blocks)
            worst = max(worst, violation)
            if exact and violation > _AXIAL_TOLERANCE["float32"]:
                raise _not_axial(sample.name, violation, _AXIAL_TOLERANCE["float32"])
            distances[relation, first, second].append(np.linalg.norm(vectors, axis=1))
            values[relation, first, second].append(radial)
            weights[relation, first, second].append(np.ones(len(radial)))
    if exact and worst > _AXIAL_TOLERANCE[precision]:
        raise _not_axial(source or samples[0].name, worst, _AXIAL_TOLERANCE[precision])

    for key, table in known.tables.items() if known else ():
        distances[key].append(table.sampled())
        values[key].append(table.values(torch.from_numpy(distances[key][-1])).numpy())
        weights[key].append(np.full(len(distances[key][-1]), _KNOWN_WEIGHT))
    gathered = {
        key: tuple(np.concatenate(parts[key]) for parts in (distances, values, weights)) for key in distances
    }
    support = _supports(gathered, radii)
    tables = {key: solve_radial(*gathered[key], support[key[1:]], settings) for key in sorted(gathered)}
    constants = {z: spherical_part(basis, z, np.concatenate(parts)) for z, parts in sorted(onsite.items())}
    record = {
        "source": source,
        "structures": [sample.name for sample in samples],
        "knot_spacing_angstrom": settings.spacing,
        "penalty_weight": settings.weight,
        "penalty_derivative": settings.derivative,
        "bridges_gaps": settings.bridge,
        "precision_of_data": precision,
        "largest_non_axial_entry": worst,
    }
    if known is not None:
        record["extends"] = dict(known.record)
        constants = {**known.onsite, **constants}
    return TwoCentreTables(quantity, basis, tables, constants, record)


def _not_axial(name: str, violation: float, allowed: float) -> InputError:
    return InputError(
        name,
        f"overlap entries that axial symmetry forbids reach {violation:.1e}, allowed {allowed:.0e}",
        "the orbital order or the lattice vectors of the blocks are wrong",
    )


def _is_onsite(pairs: np.ndarray) -> np.ndarray:
    return (pairs[:, 0] == pairs[:, 1]) & (pairs[:, 2:] == 0).all(axis=1)


def _species_blocks(
    sample: PairSample, quantity: str, by_relation: bool
) -> Iterable[tuple[tuple[str, int, int], np.ndarray, np.ndarray]]:
    """Blocks of a structure by (relation or "onsite", Z_i, Z_j), Z_i <= Z_j (others are turned round)."""
    matrix, pairs = sample.matrix, sample.matrix.pairs
    labels = np.full(len(pairs), "all", dtype="<U6")
    if by_relation and sample.intra is not None:
        labels = np.where(sample.intra, "intra", "inter")
    labels = np.where(_is_onsite(pairs), "onsite", labels)
    number_i, number_j = matrix.numbers[pairs[:, 0]], matrix.numbers[pairs[:, 1]]
    for first, second in sorted(set(zip(number_i.tolist(), number_j.tolist(), strict=True))):
        members = (number_i == first) & (number_j == second)
        for label in np.unique(labels[members]).tolist():
            index = np.flatnonzero(members & (labels == label))
            vectors, blocks = sample.vectors[index], matrix.dense_blocks(quantity, index)
            if first <= second:
                yield (label, first, second), vectors, blocks
            else:
                yield (label, second, first), -vectors, blocks.swapaxes(1, 2)


def _supports(
    gathered: Mapping[tuple[str, int, int], tuple[np.ndarray, ...]], radii: Mapping[str, float] | None
) -> dict[tuple[int, int], float]:
    """End of support in Å of every species pair, over all relations: sum of two orbital radii."""
    largest: dict[tuple[int, int], float] = defaultdict(float)
    for (_, first, second), (distances, *_) in gathered.items():
        largest[first, second] = max(largest[first, second], float(distances.max()))
    known = _smallest_radii(largest) if radii is None else {}
    result = {}
    for (first, second), distance in largest.items():
        names = symbol_of(first), symbol_of(second)
        if radii is not None:
            missing = [name for name in names if name not in radii]
            if missing:
                raise InputError("radii", f"no orbital radius for {missing[0]}")
            result[first, second] = sum(radii[name] for name in names)
        else:
            result[first, second] = (known[first] + known[second]) * BOHR / 2
        if distance > result[first, second] + 1e-6:
            raise InputError(
                f"two-centre {names[0]}-{names[1]}",
                f"blocks reach {distance:.4f} Å, beyond the sum of the radii {result[first, second]:.4f} Å",
                "correct the orbital radii",
            )
    return result


def _smallest_radii(largest: Mapping[tuple[int, int], float]) -> dict[int, int]:
    """Smallest orbital radii, in half Bohr, of which they are multiples, whose sums reach all distances (Å).

    In a crystal with few distances a pair of one species may end long before its orbitals do; pairs with
    other species then tell. Where both radii could grow, the smaller one does.
    """
    needed = {pair: math.ceil(distance / (BOHR / 2) - 1e-6) for pair, distance in largest.items()}
    radii: dict[int, int] = defaultdict(int)
    for (first, second), total in needed.items():
        if first == second:
            radii[first] = math.ceil(total / 2)
    for (first, second), total in sorted(needed.items(), key=lambda item: -item[1]):
        smaller, larger = sorted((first, second), key=lambda species: radii[species])
        radii[smaller] = max(radii[smaller], total - radii[larger])
    return radii


def _with_record(tables: TwoCentreTables, errors: Mapping[str, Any]) -> TwoCentreTables:
    return TwoCentreTables(
        tables.quantity,
        tables.basis,
        tables.tables,
        tables.onsite,
        dict(tables.record) | {"errors": dict(errors)},
    )

"""Root mean square displacements of samples against the exact values of their distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlepi_core.sampling.samples import SampleSet
from mlepi_core.sampling.thermal import ThermalSampler
from mlepi_core.structures import plane_normal

STATISTICS_COLUMNS = ("temperature_K", "direction", "rms_A", "rms_se_A", "exact_rms_A", "n_pairs")
DIRECTIONS = ("in_plane", "out_of_plane")


def exact_rms(sampler: ThermalSampler) -> dict[str, float]:
    """Exact rms displacement per Cartesian component, mean over atoms: ``in_plane``, ``out_of_plane``, Å."""
    n = len(sampler.modes.reference)
    covariance = sampler.covariance().reshape(n, 3, n, 3)
    square = np.einsum("nanb->ab", covariance) / n
    normal = plane_normal(sampler.modes.reference.cell)
    out = float(normal @ square @ normal)
    plane = (float(np.trace(square)) - out) / 2
    return {"in_plane": plane**0.5, "out_of_plane": out**0.5}


def displacement_rows(blocks: Sequence[SampleSet]) -> list[dict[str, Any]]:
    """Rows `STATISTICS_COLUMNS` of all blocks of one temperature; errors are those of the mean over pairs."""
    first = blocks[0]
    normal = plane_normal(first.reference.cell)
    squares: dict[str, list[np.ndarray]] = {direction: [] for direction in DIRECTIONS}
    for block in blocks:
        # Both members of a pair have the same squares.
        moved = (block.positions - block.reference.positions)[block.sign > 0]
        along = (moved @ normal) ** 2
        squares["out_of_plane"].append(along.mean(axis=1))
        squares["in_plane"].append(((moved**2).sum(axis=2) - along).mean(axis=1) / 2)
    rows = []
    for direction in DIRECTIONS:
        values = np.concatenate(squares[direction])
        rms = float(values.mean()) ** 0.5
        error = (
            float(values.std(ddof=1)) / len(values) ** 0.5 / (2 * rms) if len(values) > 1 and rms else None
        )
        rows.append(
            {
                "temperature_K": first.temperature,
                "direction": direction,
                "rms_A": rms,
                "rms_se_A": error,
                "exact_rms_A": first.attrs.get(f"exact_rms_{direction}_A"),
                "n_pairs": len(values),
            }
        )
    return rows

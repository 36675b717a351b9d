"""Between the flat entries of a block matrix and the coefficients that the electron net gives or learns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from mlepi_core.basis.irreps import BlockIrreps
from mlepi_core.formats.blocks import BlockMatrix
from mlepi_core.nn.electron_graph import ElectronTopology

PairIrreps = Mapping[tuple[int, int], BlockIrreps]


def species_pair(key: str) -> tuple[int, int]:
    """(a, b) of an output key "<relation>_<a>_<b>"."""
    _, a, b = key.split("_")
    return int(a), int(b)


def block_coefficients(
    irreps: PairIrreps, topology: ElectronTopology, matrix: BlockMatrix
) -> dict[str, Tensor]:
    """Coefficients (rows, size) of H under every output key, float64.

    Parameters
    ----------
    irreps
        (a, b) -> irreps of the blocks of that species pair.
    topology
        Of the blocks of `matrix`.
    matrix
        With H in eV.
    """
    result = {
        key: torch.empty(len(places), irreps[species_pair(key)].size, dtype=torch.float64)
        for key, places in topology.places.items()
    }
    for key, rows, index, flipped in _oriented(topology):
        a, b = species_pair(key)
        blocks = torch.from_numpy(matrix.dense_blocks("hamiltonian", index))
        if flipped:
            result[key][rows] = irreps[b, a].transpose(irreps[b, a].to_coefficients(blocks))
        else:
            result[key][rows] = irreps[a, b].to_coefficients(blocks)
    return result


def block_entries(
    irreps: PairIrreps, topology: ElectronTopology, matrix: BlockMatrix, coefficients: Mapping[str, Tensor]
) -> np.ndarray:
    """Flat entries of H for the blocks of `matrix`: inverse of `block_coefficients`."""
    flat = None
    for key, rows, index, flipped in _oriented(topology):
        a, b = species_pair(key)
        values = coefficients[key][rows]
        if flipped:
            values, (a, b) = irreps[a, b].transpose(values), (b, a)
        blocks = irreps[a, b].to_blocks(values).numpy()
        lead, size = blocks.shape[1:-2], blocks.shape[-2] * blocks.shape[-1]
        if flat is None:
            flat = np.zeros((*lead, int(matrix.offsets[-1])), dtype=blocks.dtype)
        columns = matrix.offsets[index][:, None] + np.arange(size)
        flat[..., columns] = np.moveaxis(blocks.reshape(len(index), *lead, size), 0, -2)
    return flat


def _oriented(topology: ElectronTopology) -> Iterator[tuple[str, np.ndarray, np.ndarray, bool]]:
    """Output key, its rows, their blocks in the list, and whether these are the conjugates of the rows."""
    for key, places in topology.places.items():
        for flipped in (False, True):
            rows = np.flatnonzero((topology.flipped[key] == flipped) & (places >= 0))
            if len(rows):
                yield key, rows, places[rows], flipped

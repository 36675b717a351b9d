"""Derivatives of H and S along displacement patterns, by forward-mode automatic differentiation.

One pass of dual numbers through the edge vectors, their frames and Wigner matrices, the network and the
two-centre tables gives value and directional derivative together, without a step and its error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from ase import Atoms
from numpy.typing import ArrayLike
from torch.autograd import forward_ad

from mlepi_core.artefacts import InputError
from mlepi_core.basis.two_centre import TwoCentreTables, overlap_blocks
from mlepi_core.formats.blocks import BlockMatrix
from mlepi_core.graph import relation_masks
from mlepi_core.nn.electron_blocks import block_entries
from mlepi_core.nn.hamiltonian import CHUNK, MOST_PAIRS, HamiltonianModel
from mlepi_core.structures.layers import ensure_layers

__all__ = ["hamiltonian_derivative", "hamiltonian_derivatives"]


def hamiltonian_derivative(model: HamiltonianModel, atoms: Atoms, pattern: ArrayLike) -> BlockMatrix:
    """d/dλ of H and S at λ = 0 for positions x + λ u, on the blocks of the structure.

    Parameters
    ----------
    model
        In float64, for derivatives as accurate as the network.
    atoms
        Structure; without the array ``layer`` layers are assigned.
    pattern
        (N, 3) displacement u of every atom, in Å for λ in units of 1; the same in every periodic image.

    Returns
    -------
    BlockMatrix
        ``hamiltonian`` holds dH/dλ in eV and ``overlap`` dS/dλ, per unit of λ: for a pattern in units of 1 Å
        that is eV/Å and 1/Å. Canonical; the pairs are those of `HamiltonianModel.predict`.

    Raises
    ------
    InputError
        If the pattern has another shape or a number that is not finite, or the model does not know the
        structure.
    """
    return next(hamiltonian_derivatives(model, atoms, [pattern]))


def hamiltonian_derivatives(
    model: HamiltonianModel, atoms: Atoms, patterns: Sequence[ArrayLike]
) -> Iterator[BlockMatrix]:
    """`hamiltonian_derivative` for several patterns of one structure, one after the other.

    Neighbours and graph topology are found once.
    """
    labelled = ensure_layers(atoms)
    tangents = [_checked_pattern(labelled, pattern) for pattern in patterns]
    blocks = overlap_blocks(labelled, model.overlap)
    topology = model.topology(labelled, blocks)
    large = len(blocks.pairs) > MOST_PAIRS and model.net.arch.norm != "e3"
    for tangent in tangents:
        with torch.no_grad(), forward_ad.dual_level():
            positions = forward_ad.make_dual(torch.from_numpy(labelled.positions.copy()), tangent)
            graph = topology.graph(positions, model.net.lmax, model.dtype, model.device, not large)
            coefficients = model.net(graph, chunk=CHUNK if large else None)
            slopes = {key: _tangent(value).double().cpu() for key, value in coefficients.items()}
            overlap = _two_centre_slope(model.overlap, blocks, labelled, positions)
            baseline = None
            if model.baseline is not None:
                baseline = _two_centre_slope(model.baseline, blocks, labelled, positions)
        entries = block_entries(model.net.block_irreps, topology, blocks, slopes)
        result = blocks.with_values(hamiltonian=entries, overlap=overlap, spin=model.net.arch.spin)
        yield result if baseline is None else result.add_scalar(baseline)


def _checked_pattern(atoms: Atoms, pattern: ArrayLike) -> torch.Tensor:
    array = np.array(pattern, dtype=np.float64)
    if array.shape != (len(atoms), 3):
        raise InputError(
            "pattern", f"has shape {array.shape}", f"give one displacement for each of {len(atoms)} atoms"
        )
    if not np.isfinite(array).all():
        raise InputError("pattern", "holds a number that is not finite")
    return torch.from_numpy(array)


def _tangent(value: torch.Tensor) -> torch.Tensor:
    """Tangent of a dual number; zero for what does not depend on the positions."""
    primal, tangent = forward_ad.unpack_dual(value)
    return torch.zeros_like(primal) if tangent is None else tangent


def _two_centre_slope(
    tables: TwoCentreTables, blocks: BlockMatrix, atoms: Atoms, positions: torch.Tensor
) -> np.ndarray:
    """Tangent (M,) of the two-centre entries of the blocks."""
    i, j, cells = blocks.pairs[:, 0], blocks.pairs[:, 1], blocks.pairs[:, 2:]
    shift = torch.from_numpy(cells @ atoms.cell.array)
    first, second = torch.from_numpy(i.astype(np.int64)), torch.from_numpy(j.astype(np.int64))
    intra, _ = relation_masks(i, j, cells, atoms.arrays["layer"], atoms.arrays.get("winding"))
    vectors = positions[second] - positions[first] + shift
    return _tangent(tables.entries_torch(blocks, vectors, intra)).numpy()

"""Spread of a committee's Hamiltonians: what its members disagree about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from ase import Atoms

from mlepi_core.formats.blocks import BlockMatrix
from mlepi_core.formats.store import LabelEntry
from mlepi_core.nn.electron_committee import ElectronCommittee
from mlepi_core.nn.hamiltonian import HamiltonianModel

__all__ = [
    "block_rms",
    "element_spreads",
    "hamiltonians_with_spread",
    "is_committee",
    "mean_and_spread",
    "member_models",
    "predictions_with_spread",
]


def is_committee(model: HamiltonianModel) -> bool:
    """Whether the network is a committee, so that there is a spread."""
    return isinstance(model.net, ElectronCommittee)


def member_models(model: HamiltonianModel) -> list[HamiltonianModel]:
    """One model per member of the committee; tables and baseline are common."""
    return [replace(model, net=member) for member in model.net.members]


def predictions_with_spread(
    members: Sequence[HamiltonianModel], structures: Sequence[Atoms]
) -> list[tuple[BlockMatrix, np.ndarray]]:
    """As `HamiltonianModel.predict` of a committee: mean H, and S; with the spread (P,) of each block, eV.

    `members` are those of `member_models`; kept by the caller, they reuse what displaced copies share.
    """
    predictions = [member.predict(structures) for member in members]
    return [mean_and_spread(matrices) for matrices in zip(*predictions, strict=True)]


def hamiltonians_with_spread(
    members: Sequence[HamiltonianModel], structures: Sequence[Atoms], matrices: Sequence[BlockMatrix]
) -> list[tuple[BlockMatrix, np.ndarray]]:
    """As `HamiltonianModel.hamiltonians` of a committee: mean H, with the spread (P,) in eV of each block."""
    predictions = [member.hamiltonians(structures, matrices) for member in members]
    return [mean_and_spread(found) for found in zip(*predictions, strict=True)]


def element_spreads(model: HamiltonianModel, entries: Sequence[LabelEntry]) -> list[tuple[float, float]]:
    """Rms spread of the matrix elements of each entry, eV, and their number; both copies of a pair count."""
    found, members = [], member_models(model)
    for entry in entries:
        ((matrix, spread),) = hamiltonians_with_spread(members, [entry.atoms], [entry.blocks])
        pairs = matrix.pairs
        onsite = (pairs[:, 0] == pairs[:, 1]) & (pairs[:, 2:] == 0).all(axis=1)
        weights = np.where(onsite, 1.0, 2.0) * np.diff(matrix.offsets)
        found.append((float(np.sqrt(np.average(spread**2, weights=weights))), float(weights.sum())))
    return found


def mean_and_spread(members: Sequence[BlockMatrix]) -> tuple[BlockMatrix, np.ndarray]:
    """Mean of at least two Hamiltonians with the same blocks, and their spread per block.

    Returns
    -------
    BlockMatrix
        The mean.
    numpy.ndarray
        (P,), eV: the sample standard deviation of each element over the members, its rms over the elements
        of a block and, with spin, over their spin parts.
    """
    first = members[0].hamiltonian
    # Differences from the first member: members that agree give exactly zero.
    differences = np.stack([member.hamiltonian - first for member in members])
    mean = differences.mean(axis=0)
    variance = (np.abs(differences - mean) ** 2).sum(axis=0) / (len(members) - 1)
    matrix = members[0].with_values(hamiltonian=first + mean)
    return matrix, block_rms(np.sqrt(variance), matrix.offsets)


def block_rms(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Rms (P,) over each block of flat entries (M,) or (parts, M)."""
    squares = (np.abs(values) ** 2).reshape(-1, values.shape[-1]).mean(axis=0)
    return np.sqrt(np.add.reduceat(squares, offsets[:-1]) / np.diff(offsets))

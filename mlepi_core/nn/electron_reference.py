"""Blocks and graph topology of one structure, kept for all its displaced copies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from mlepi_core.basis.two_centre import TwoCentreTables, overlap_blocks, within_support
from mlepi_core.formats.blocks import BlockMatrix
from mlepi_core.nn.electron_graph import ElectronTopology


@dataclass(frozen=True)
class ReferenceBlocks:
    """All blocks that a copy displaced by less than half the skin can have.

    Parameters
    ----------
    atoms
        Structure that the lists were made from.
    pairs
        Blocks (P, 5) within support + skin.
    topology
        Of these blocks, message edges with the same skin.
    skin
        Å.
    """

    atoms: Atoms
    pairs: np.ndarray
    topology: ElectronTopology
    skin: float

    def serves(self, atoms: Atoms) -> bool:
        """Same atoms, cell and layers, and nothing moved by half the skin."""
        old = self.atoms
        if not np.array_equal(old.numbers, atoms.numbers) or not np.array_equal(old.pbc, atoms.pbc):
            return False
        if not np.array_equal(old.cell.array, atoms.cell.array):
            return False
        for name in ("layer", "winding"):
            if not np.array_equal(old.arrays.get(name), atoms.arrays.get(name)):
                return False
        return bool(np.linalg.norm(atoms.positions - old.positions, axis=1).max(initial=0) < 0.5 * self.skin)

    def matrix(self, atoms: Atoms, overlap: TwoCentreTables) -> tuple[BlockMatrix, ElectronTopology]:
        """Overlaps of a copy on the blocks within its support, and the topology with places among these."""
        kept = within_support(atoms, overlap, self.pairs)
        return overlap_blocks(atoms, overlap, self.pairs[kept]), self.topology.renumbered(kept)

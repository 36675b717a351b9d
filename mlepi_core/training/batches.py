"""Which structures make the batch of a step: a pure function of seed and step."""

from __future__ import annotations

from collections.abc import Sequence

from mlepi_core.randomness import stream
from mlepi_core.training.parallel import shares


def large_and_small(sizes: Sequence[int]) -> tuple[list[int], list[int]]:
    """Places of large and of small structures; small ones have fewer than half the atoms of the largest."""
    largest = max(sizes)
    large = [k for k, size in enumerate(sizes) if 2 * size >= largest]
    return large, [k for k, size in enumerate(sizes) if 2 * size < largest]


class MixedBatches:
    """Batches of some large and some small structures, each kind in shuffled passes of its own.

    A four-atom cell of a stacking scan costs little, and a step would otherwise rarely see one; see
    `large_and_small`.

    Parameters
    ----------
    sizes
        Atoms of every structure.
    batch_size, small_per_step
        Large and small structures per step, of all processes together.
    seed
        Seed of the order.
    """

    def __init__(self, sizes: Sequence[int], batch_size: int, small_per_step: int, seed: int) -> None:
        self.large, self.small = large_and_small(sizes)
        self.batch_size = min(batch_size, len(self.large))
        self.small_per_step = min(small_per_step, len(self.small))
        self.seed = seed
        self.sizes = list(sizes)

    def members(self, step: int) -> list[int]:
        """Structures of step 0, 1, …"""
        chosen = self._drawn(self.large, "shuffle", self.batch_size, step)
        return chosen + self._drawn(self.small, "shuffle-small", self.small_per_step, step)

    def share(self, step: int, rank: int, of: int) -> list[int]:
        """Those of a step's structures that process `rank` of `of` takes; may be empty."""
        members = self.members(step)
        return [members[place] for place in shares([self.sizes[k] for k in members], of)[rank]]

    def atoms(self, step: int) -> int:
        """Atoms of all structures of a step."""
        return sum(self.sizes[k] for k in self.members(step))

    def _drawn(self, items: Sequence[int], purpose: str, number: int, step: int) -> list[int]:
        """`number` members for a step from the endless sequence of shuffled passes."""
        chosen = []
        for position in range(step * number, (step + 1) * number):
            epoch, place = divmod(position, len(items))
            chosen.append(items[stream(self.seed, purpose, epoch).permutation(len(items))[place]])
        return chosen

"""Counter-based random streams: sample j is the same number whatever the batch, block or job order."""

from __future__ import annotations

import hashlib

import numpy as np


def stream(seed: int, purpose: str, index: int) -> np.random.Generator:
    """Independent generator of the triple (seed, purpose, index).

    The Philox counter generator (Salmon et al., SC'11, doi:10.1145/2063384.2063405) is keyed by the
    SHA-256 of the triple, so streams need no common state and can be made in any order.

    Parameters
    ----------
    seed
        The user's seed, any integer.
    purpose
        What the numbers are for (``"thermal"``, ``"shuffle"``, …): streams of different purposes
        never coincide.
    index
        Number of the sample, pair, epoch, …
    """
    text = f"{int(seed)}|{purpose}|{int(index)}"
    key = np.frombuffer(hashlib.sha256(text.encode()).digest()[:16], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))

"""Raw OpenMX files of the repository, and a writer of tiny `.scfout` files with known content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from mlepi_core.formats.scfout import Scfout, read_scfout

RAW = Path(__file__).resolve().parents[2] / "resources" / "openmx-raw"

_INPUT = """\
# a comment
System.Name tiny
Definition.of.Atomic.Species 2
<Definition.of.Atomic.Species
 Ca C6.0-s2p1 C_PBE19
 Nb N6.0-s1p1d1 N_PBE19
Definition.of.Atomic.Species>
<Atoms.SpeciesAndCoordinates
 1 Ca 0.0 0.0 0.0 2.0 2.0
 2 Nb 1.0 0.2 0.3 2.5 2.5
Atoms.SpeciesAndCoordinates>
scf.XcType GGA-PBE   # the functional
SCF.KGRID 3 2 1
scf.energycutoff 123.0
"""


@dataclass
class TinyScfout:
    """Two atoms (5 and 9 orbitals), a chain along a1; every matrix is random but consistent."""

    spin: int = 0
    version: int = 3
    order_max: int = 2
    seed: int = 1
    tail_sets: int = 0
    text: str = _INPUT
    counts: tuple[int, int] = (5, 9)
    images: tuple[tuple[int, int, int], ...] = ((0, 0, 0), (1, 0, 0), (-1, 0, 0))
    # per atom: (neighbour, image), the atom itself first
    neighbours: tuple[tuple[tuple[int, int], ...], ...] = (
        ((0, 0), (0, 1), (1, 0), (1, 2), (0, 2)),
        ((1, 0), (0, 1), (0, 0)),
    )
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        sets = {0: 1, 1: 2, 3: 4}[self.spin]
        self.pairs = [(i, j, *self.images[copy]) for i, row in enumerate(self.neighbours) for j, copy in row]
        self.cell = np.array([[5.0, 0.0, 0.0], [0.5, 6.0, 0.0], [0.0, 0.3, 20.0]])
        self.positions = np.array(
            [[-0.1, 0.0, 0.0], [1.9, 0.4, 0.6]]
        )  # outside the cell, as OpenMX may store
        self.arrays = {
            "H": np.stack([self._hermitian(rng) for _ in range(min(sets, 2))]),
            "iH": np.stack([self._hermitian(rng, -1), self._hermitian(rng, -1), rng.normal(size=self.size)]),
            "S": self._hermitian(rng),
            "r": rng.normal(size=(3, self.order_max, self.size)),
            "p": rng.normal(size=(3, self.size)),
            "DM": np.stack([self._hermitian(rng) for _ in range(sets)]),
            "iDM": rng.normal(size=(2, self.size)),
            "Vxc": rng.normal(size=(self.tail_sets, self.size)),
        }
        if self.spin == 3:  # Re ud and Im ud, of which no symmetry is asked
            self.arrays["H"] = np.concatenate([self.arrays["H"], rng.normal(size=(2, self.size))])
        factor = 2.0 if self.spin == 0 else 1.0
        self.n_electrons = factor * float((self.arrays["DM"][:2] * self.arrays["S"]).sum())

    @property
    def sizes(self) -> list[int]:
        return [self.counts[i] * self.counts[j] for i, j, *_ in self.pairs]

    @property
    def size(self) -> int:
        return sum(self.sizes)

    @property
    def offsets(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(self.sizes)])

    def block(self, flat: np.ndarray, p: int) -> np.ndarray:
        i, j = self.pairs[p][:2]
        return flat[self.offsets[p] : self.offsets[p + 1]].reshape(self.counts[i], self.counts[j])

    def _hermitian(self, rng: np.random.Generator, sign: int = 1) -> np.ndarray:
        """Flat blocks with (j, i, -R) = sign (i, j, R)^T."""
        blocks: dict[tuple[int, ...], np.ndarray] = {}
        for i, j, *R in self.pairs:
            partner = (j, i, *(-r for r in R))
            if partner in blocks:
                blocks[(i, j, *R)] = sign * blocks[partner].T
            else:
                value = rng.normal(size=(self.counts[i], self.counts[j]))
                blocks[(i, j, *R)] = (value + sign * value.T) / 2 if partner == (i, j, *R) else value
        return np.concatenate([blocks[pair].ravel() for pair in self.pairs])

    def to_bytes(self) -> bytes:
        """The file; column 0 of every table is garbage, as in real files."""
        a = self.arrays

        def table(rows: np.ndarray, dtype: str) -> bytes:
            garbage = np.nan if dtype == "<f8" else -77
            rows = np.asarray(rows)
            return np.column_stack([np.full(len(rows), garbage), rows]).astype(dtype).tobytes()

        images = np.array(self.images)
        header = [2, self.spin + 4 * self.version, 0, 0, 0, len(images) - 1, self.order_max]
        natn = [j + 1 for row in self.neighbours for j, _ in row]
        ncn = [copy for row in self.neighbours for _, copy in row]
        lines = self.text.splitlines()
        rows = [line.encode().ljust(256, b"\0") for line in lines]
        rows = [
            row[: len(line) + 1] + b"left over" + row[len(line) + 10 :]
            for row, line in zip(rows, lines, strict=True)
        ]
        parts = [
            np.array(header, "<i4").tobytes(),
            table(images @ self.cell, "<f8"),
            table(images, "<i4"),
            np.array(
                [*self.counts, *(len(row) - 1 for row in self.neighbours), *natn, *ncn], "<i4"
            ).tobytes(),
            table(self.cell, "<f8"),
            table(np.linalg.inv(self.cell).T, "<f8"),
            table(self.positions, "<f8"),
            a["H"].tobytes(),
            a["iH"].tobytes() if self.spin == 3 else b"",
            *(a[key].tobytes() for key in ("S", "r", "p", "DM", "iDM")),
            np.array([4], "<i4").tobytes(),
            np.array([-0.15, 300.0, 0, 0, 0, 0, 0, 0, self.n_electrons, 0.0], "<f8").tobytes(),
            np.array([len(rows)], "<i4").tobytes(),
            *rows,
            a["Vxc"].tobytes(),
        ]
        return b"".join(parts)


@pytest.fixture
def tiny() -> Callable[..., TinyScfout]:
    """Maker of tiny `.scfout` files."""
    return TinyScfout


@pytest.fixture(scope="session")
def raw() -> Path:
    """Folder of raw OpenMX files."""
    return RAW


@pytest.fixture(scope="session")
def raw_scfout() -> Callable[[str], Scfout]:
    """Reader of the raw files by stem; each is read once."""
    cache: dict[str, Scfout] = {}

    def read(stem: str) -> Scfout:
        if stem not in cache:
            cache[stem] = read_scfout(RAW / f"{stem}.scfout.xz")
        return cache[stem]

    return read

"""Shells of atom-centred bases and the orbital orders of the codes.

Inside the project the orbitals of one shell are the real harmonics m = -l … l (p: y, z, x), which is
the order of e3nn. Readers convert on the way in, writers on the way out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from mlepi_core.artefacts import InputError

# `internal = openmx[index]`, per shell. OpenMX: p x,y,z; d 3z2-r2, x2-y2, xy, xz, yz; f 5z2-3r2,
# x(5z2-r2), y(5z2-r2), z(x2-y2), xyz, x(x2-3y2), y(3x2-y2). All signs are positive.
OPENMX_TO_INTERNAL: dict[int, np.ndarray] = {
    0: np.array([0]),
    1: np.array([1, 2, 0]),
    2: np.array([2, 4, 0, 3, 1]),
    3: np.array([6, 4, 2, 0, 1, 3, 5]),
}

_SYMBOLS = (  # noqa: SIM905
    "X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr "
    "Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb "
    "Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn"
).split()
_NUMBER = {symbol: number for number, symbol in enumerate(_SYMBOLS)}


def symbol_of(number: int) -> str:
    """Chemical symbol of an atomic number up to 86."""
    if not 0 < int(number) < len(_SYMBOLS):
        raise InputError("atomic number", f"{number} is not between 1 and {len(_SYMBOLS) - 1}")
    return _SYMBOLS[int(number)]


def shells_from_openmx(definition: str) -> tuple[int, ...]:
    """Shell list of an OpenMX basis name: ``"C6.0-s2p2d1"`` gives (0, 0, 1, 1, 2)."""
    match = re.search(r"-((?:[spdf]\d+)+)$", definition)
    if match is None:
        raise InputError(
            "Definition.of.Atomic.Species", f"basis {definition!r} has no shells", "expected e.g. C6.0-s2p2"
        )
    return tuple(
        "spdf".index(letter)
        for letter, count in re.findall(r"([spdf])(\d+)", match.group(1))
        for _ in range(int(count))
    )


@dataclass(frozen=True)
class Basis:
    """Shells (angular momenta, in order) of every species.

    Parameters
    ----------
    shells
        For each chemical symbol the angular momenta of its shells, e.g. ``{"C": (0, 0, 1, 1)}``.
    """

    shells: Mapping[str, tuple[int, ...]]
    _by_number: dict[int, tuple[int, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ordered = {
            s: tuple(int(l) for l in self.shells[s]) for s in sorted(self.shells, key=_NUMBER.__getitem__)
        }
        object.__setattr__(self, "shells", ordered)
        object.__setattr__(self, "_by_number", {_NUMBER[s]: shell for s, shell in ordered.items()})

    def __hash__(self) -> int:
        return hash(tuple(self.shells.items()))

    def shells_of(self, species: int | str) -> tuple[int, ...]:
        """Angular momenta of the shells of a species given by symbol or atomic number."""
        number = _NUMBER.get(species, -1) if isinstance(species, str) else int(species)
        if number not in self._by_number:
            name = species if isinstance(species, str) else symbol_of(number)
            raise InputError("species", f"{name} is not in the basis {self.to_json()}")
        return self._by_number[number]

    def n_orbitals(self, species: int | str) -> int:
        """Number of orbitals of one atom of a species."""
        return sum(2 * l + 1 for l in self.shells_of(species))

    def counts(self, numbers: ArrayLike) -> np.ndarray:
        """Orbitals per atom (N,) for atomic numbers (N,)."""
        numbers = np.asarray(numbers, dtype=int)
        table = {int(z): self.n_orbitals(int(z)) for z in np.unique(numbers)}
        return np.array([table[int(z)] for z in numbers], dtype=np.int64)

    def shell_slices(self, species: int | str) -> list[slice]:
        """Where each shell of a species lies among the atom's orbitals."""
        edges = np.cumsum([0] + [2 * l + 1 for l in self.shells_of(species)])
        return [slice(int(a), int(b)) for a, b in pairwise(edges)]

    def openmx_permutation(self, species: int | str) -> np.ndarray:
        """Index such that ``internal = openmx[index]`` for all orbitals of one atom."""
        starts = [part.start for part in self.shell_slices(species)]
        parts = [s + OPENMX_TO_INTERNAL[l] for s, l in zip(starts, self.shells_of(species), strict=True)]
        return np.concatenate(parts)

    @property
    def species(self) -> list[str]:
        """Chemical symbols, by atomic number."""
        return list(self.shells)

    @property
    def lmax(self) -> int:
        """Largest angular momentum of any shell."""
        return max(max(shell) for shell in self.shells.values())

    def to_json(self) -> str:
        """JSON text as stored in files, e.g. ``{"C": [0, 0, 1, 1]}``."""
        return json.dumps({symbol: list(shell) for symbol, shell in self.shells.items()})

    @classmethod
    def from_json(cls, text: str) -> Basis:
        """Inverse of `to_json`."""
        table: dict[str, Sequence[int]] = json.loads(text)
        unknown = [symbol for symbol in table if symbol not in _NUMBER]
        if unknown:
            raise InputError("basis", f"unknown chemical symbol {unknown[0]!r}")
        return cls({symbol: tuple(shell) for symbol, shell in table.items()})

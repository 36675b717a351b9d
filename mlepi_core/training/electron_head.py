"""Hidden channels of the head of the electron net: what the shells ask for, and defaults that suit them."""

from __future__ import annotations

from typing import Any

from mlepi_core.artefacts import InputError
from mlepi_core.basis.irreps import BlockIrreps
from mlepi_core.orbitals import Basis

# Channels of l = 0, 1, 2 … where the configuration names none.
NATURAL = (64, 32, 24, 16, 8, 8, 8, 8, 8)
UNNATURAL = (0, 24, 16, 8, 8, 8, 8, 8, 8, 8)


def head_sizes(section: Any, basis: Basis, spin: str, magnetic: bool) -> dict[str, list[int]]:
    """`head_channels` and `head_unnatural`, as given or by default.

    Parameters
    ----------
    section
        `training.electron` of the configuration; keys that are None get defaults.
    basis
        Shells per species.
    spin, magnetic
        Of the Hamiltonians, as `BlockIrreps` takes them.

    Raises
    ------
    InputError
        If a given list ends before the largest degree of the blocks: those coefficients would be zero.
    """
    natural, unnatural = needed_degrees(basis, spin, magnetic)
    return {
        "head_channels": _sizes("head_channels", section.head_channels, NATURAL, natural, basis),
        "head_unnatural": _sizes("head_unnatural", section.head_unnatural, UNNATURAL, unnatural, basis),
    }


def needed_degrees(basis: Basis, spin: str, magnetic: bool) -> tuple[int, int]:
    """Largest degrees of natural and of unnatural parity in any block; -1 if there is none.

    Unnatural scalars, which spinor blocks have, do not count: no path of the net leads to them.
    """
    found: dict[bool, set[int]] = {True: {-1}, False: {-1}}
    for a in basis.species:
        for b in basis.species:
            irreps = BlockIrreps.from_basis(basis, a, b, spin, magnetic)
            for degree, natural in zip(irreps.degree.tolist(), irreps.natural.tolist(), strict=True):
                if natural or degree:
                    found[natural].add(degree)
    return max(found[True]), max(found[False])


def _sizes(
    key: str, given: list[int] | None, default: tuple[int, ...], degree: int, basis: Basis
) -> list[int]:
    if given is None:
        return list(default[: degree + 1])
    if len(given) <= degree:
        species = ", ".join(basis.species)
        raise InputError(
            f"training.electron.{key}",
            f"{given} ends at l = {len(given) - 1}, but blocks of {species} reach l = {degree}",
            f"give {degree + 1} numbers, or leave the key out",
        )
    return list(given)

"""Structures and real DFT matrices shared by the tests of the electrons."""

import pytest
from ase import Atoms

from mlepi_core.formats.openmx import read_openmx
from mlepi_core.formats.store import LabelEntry
from mlepi_core.structures import build_monolayer, build_supercell, ensure_layers
from tests.electrons.tight_binding import RAW


@pytest.fixture(scope="session")
def graphene() -> Atoms:
    return build_monolayer()


@pytest.fixture(scope="session")
def graphene_3x3(graphene: Atoms) -> Atoms:
    return build_supercell(graphene, 3)


@pytest.fixture(scope="session")
def dft_monolayer() -> LabelEntry:
    return _raw("graphene_prim")


@pytest.fixture(scope="session")
def dft_bilayer() -> LabelEntry:
    return _raw("bg_ab_prim")


def _raw(name: str) -> LabelEntry:
    entry, _ = read_openmx(RAW / f"{name}.scfout.xz")
    entry.atoms = ensure_layers(entry.atoms)
    return entry

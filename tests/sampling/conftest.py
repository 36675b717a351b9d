"""Modes of sampling cells from the bundled DFT force constants."""

from pathlib import Path

import pytest

from mlepi_core.phonons import Phonons, load_phonopy, supercell_modes, write_phonons
from mlepi_core.structures import build_ab

DFT = Path(__file__).parents[2] / "resources" / "bilayer-graphene" / "phonopy_params.yaml.xz"


@pytest.fixture(scope="session")
def dft_phonons():
    """DFT force constants with their reference; the shear is 23 cm⁻¹, all modes are real."""
    phonon = load_phonopy(DFT)
    reference = build_ab()
    reference.set_masses(phonon.primitive.masses)
    return Phonons(phonon, reference, {"relaxed": False})


@pytest.fixture(scope="session")
def modes(dft_phonons):
    return supercell_modes(dft_phonons.phonon, dft_phonons.reference, (3, 3, 1))


@pytest.fixture(scope="session")
def folder(dft_phonons, tmp_path_factory):
    path = tmp_path_factory.mktemp("phonons")
    write_phonons(path, dft_phonons)
    return path

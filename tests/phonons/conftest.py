"""Phonons of the spring bilayer and of the bundled DFT reference, made once."""

import warnings
from pathlib import Path

import pytest

from mlepi_core.phonons import ImaginaryModesWarning, load_phonopy, run_phonons
from mlepi_core.structures import build_aa, build_ab
from tests.phonons.spring_model import SpringBilayer

RESOURCES = Path(__file__).parents[2] / "resources" / "bilayer-graphene"


@pytest.fixture(scope="session")
def resources():
    return RESOURCES


@pytest.fixture
def dft():
    """DFT force constants as stored; a fresh object, because some tests change them."""
    return load_phonopy(RESOURCES / "phonopy_params.yaml.xz")


@pytest.fixture(scope="session")
def spring_ab():
    return run_phonons(build_ab(distance=3.2), SpringBilayer(), (4, 4, 1))


@pytest.fixture(scope="session")
def spring_aa():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImaginaryModesWarning)
        return run_phonons(build_aa(distance=3.2), SpringBilayer(), (3, 3, 1))

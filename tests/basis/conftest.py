"""Pair samples of the bundled bilayer-graphene stores, read once per session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from mlepi_core.basis.two_centre import TwoCentreTables
from mlepi_core.basis.two_centre_fit import PairSample, fit_hamiltonian, fit_overlap
from mlepi_core.formats.store import LabelEntry, LabelStore
from mlepi_core.graph import relation_masks
from mlepi_core.orbitals import Basis
from mlepi_core.structures.neighbours import pair_vectors

RESOURCES = Path(__file__).parents[2] / "resources"
BILAYER = RESOURCES / "bilayer-graphene"
CARBON = Basis({"C": (0, 0, 1, 1)})


@pytest.fixture
def float64_by_default() -> Iterator[None]:
    """e3nn builds its reference matrices in the default dtype."""
    previous = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(previous)


def pair_sample(entry: LabelEntry) -> PairSample:
    """Blocks of an entry with vectors and, where layers are known, relations."""
    pairs = entry.blocks.pairs
    i, j, images = pairs[:, 0], pairs[:, 1], pairs[:, 2:]
    vectors = pair_vectors(entry.atoms.positions, entry.atoms.cell.array, i, j, images)
    intra = None
    if "layer" in entry.atoms.arrays:
        intra, _ = relation_masks(i, j, images, entry.atoms.arrays["layer"])
    return PairSample(entry.name, entry.blocks, vectors, intra)


def read_samples(file: str, split: str | None = None) -> list[PairSample]:
    with LabelStore(BILAYER / file) as store:
        return [pair_sample(store.read(name)) for name in store.select(split)]


@pytest.fixture(scope="session")
def samples_of() -> Callable[..., list[PairSample]]:
    return read_samples


@pytest.fixture(scope="session")
def sample_of_entry() -> Callable[[LabelEntry], PairSample]:
    return pair_sample


@pytest.fixture(scope="session")
def bilayer_folder() -> Path:
    return BILAYER


@pytest.fixture(scope="session")
def raw_folder() -> Path:
    return RESOURCES / "openmx-raw"


@pytest.fixture(scope="session")
def training_samples() -> list[PairSample]:
    return read_samples("perturbed-4x4.h5", "train") + read_samples("rigid.h5", "train")


@pytest.fixture(scope="session")
def overlap_tables(training_samples: list[PairSample]) -> TwoCentreTables:
    return fit_overlap(training_samples, CARBON, source="bundled cells")


@pytest.fixture(scope="session")
def hamiltonian_tables(training_samples: list[PairSample]) -> TwoCentreTables:
    return fit_hamiltonian(training_samples, CARBON, source="bundled cells")


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(20260223)

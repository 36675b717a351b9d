"""Exact derivatives of H and S against central differences, on untrained weights and fitted tables."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from mlepi_core.artefacts import InputError
from mlepi_core.basis.two_centre import overlap_blocks
from mlepi_core.basis.two_centre_fit import fit_hamiltonian
from mlepi_core.formats.store import LabelStore
from mlepi_core.inference.electron_derivatives import hamiltonian_derivative, hamiltonian_derivatives
from mlepi_core.nn.electron import ElectronArchitecture
from mlepi_core.nn.electron_committee import ElectronCommittee
from mlepi_core.nn.hamiltonian import HamiltonianModel, new_net
from mlepi_core.stages.train import overlap_tables
from mlepi_core.structures import build_ab, build_monolayer, build_supercell, pair_vectors
from mlepi_core.training.electron_data import baseline_sample

STEP = 4e-4
SMALL = {
    "shells": {"C": [0, 0, 1, 1]},
    "channels": [8, 6, 4],
    "edge_channels": [6, 4],
    "head_channels": [8, 6, 4],
    "head_unnatural": [0, 4],
    "message_cutoff": 4.0,
}


@pytest.fixture(scope="module")
def tables(root):
    folder = root / "resources" / "bilayer-graphene"
    stores = [folder / "perturbed-4x4.h5", folder / "rigid.h5"]
    with LabelStore(stores[0]) as store:
        samples = [baseline_sample(store.read(name)) for name in store.names[:3]]
        return overlap_tables(stores, None), fit_hamiltonian(samples, store.basis)


def model_of(tables, seed=3, **changes) -> HamiltonianModel:
    overlap, baseline = tables
    net = new_net(ElectronArchitecture(support=overlap.max_support, **(SMALL | changes)), seed)
    return HamiltonianModel(net.requires_grad_(False), overlap, baseline)


@pytest.fixture(scope="module")
def model(tables) -> HamiltonianModel:
    return model_of(tables)


def rattled() -> Atoms:
    atoms = build_supercell(build_ab(), (2, 2))
    atoms.positions += 0.05 * np.random.default_rng(5).standard_normal(atoms.positions.shape)
    return atoms


STRUCTURES = {
    "monolayer": lambda: build_supercell(build_monolayer(), (2, 2)),
    "bilayer with atoms on top of each other": build_ab,
    "rattled bilayer": rattled,
}


def central_difference(model: HamiltonianModel, atoms: Atoms, pattern, step: float = STEP):
    """dH and dS on the blocks of `atoms`, extrapolated from two steps."""
    blocks = overlap_blocks(atoms, model.overlap)

    def slope(h: float):
        ends = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions += sign * h * pattern
            i, j, cells = blocks.pairs[:, 0], blocks.pairs[:, 1], blocks.pairs[:, 2:]
            vectors = pair_vectors(moved.positions, moved.cell.array, i, j, cells)
            overlap = model.overlap.entries(blocks, vectors)
            ends.append((model.hamiltonians([moved], [blocks])[0].hamiltonian, overlap))
        return [(a - b) / (2 * h) for a, b in zip(*ends, strict=True)]

    return [(4 * fine - coarse) / 3 for fine, coarse in zip(slope(step / 2), slope(step), strict=True)]


def agree(model: HamiltonianModel, atoms: Atoms, pattern) -> None:
    """All blocks together and each kind of block on its own, to 1e-6."""
    exact = hamiltonian_derivative(model, atoms, pattern)
    expected = central_difference(model, atoms, pattern)
    for value, reference in zip((exact.hamiltonian, exact.overlap), expected, strict=True):
        size = np.linalg.norm(reference)
        assert size > 1
        assert np.linalg.norm(value - reference) <= 1e-6 * size
        assert np.abs(value - reference).max() <= 1e-6 * np.abs(reference).max()


@pytest.mark.parametrize("name", STRUCTURES)
def test_equals_central_differences(model, name):
    atoms = STRUCTURES[name]()
    single = np.zeros((len(atoms), 3))
    single[-1] = [0.0, 0.0, 1.0]
    random = np.random.default_rng(1).standard_normal((len(atoms), 3))
    agree(model, atoms, single)
    agree(model, atoms, random)


@pytest.mark.parametrize(
    "changes", [{"relations": "homo"}, {"fusion": "layerwise"}, {"convolution": "e3nn"}, {"spin": "soc"}]
)
def test_every_kind_of_network(tables, changes):
    atoms = build_ab()
    agree(model_of(tables, **changes), atoms, np.random.default_rng(2).standard_normal((4, 3)))


def test_committee_gives_the_mean(tables):
    members = [model_of(tables, seed) for seed in (1, 2)]
    committee = HamiltonianModel(ElectronCommittee([m.net for m in members]), *tables)
    atoms, pattern = build_ab(), np.eye(4, 3)
    first, second = (hamiltonian_derivative(m, atoms, pattern).hamiltonian for m in members)
    mean = hamiltonian_derivative(committee, atoms, pattern).hamiltonian
    assert np.linalg.norm(first - second) > 1e-3
    assert np.abs(mean - (first + second) / 2).max() < 1e-10


def test_large_structures_in_chunks(model, monkeypatch):
    atoms, pattern = rattled(), np.random.default_rng(4).standard_normal((16, 3))
    whole = hamiltonian_derivative(model, atoms, pattern).hamiltonian
    monkeypatch.setattr("mlepi_core.inference.electron_derivatives.MOST_PAIRS", 100)
    monkeypatch.setattr("mlepi_core.inference.electron_derivatives.CHUNK", 77)
    parts = hamiltonian_derivative(model, atoms, pattern).hamiltonian
    assert np.abs(parts - whole).max() <= 1e-12 * np.abs(whole).max()


def test_linear_in_the_pattern(model):
    atoms = rattled()
    generator = np.random.default_rng(3)
    first, second = generator.standard_normal((2, len(atoms), 3))
    one, two, both = hamiltonian_derivatives(model, atoms, [first, second, 2 * first - 3 * second])
    for name in ("hamiltonian", "overlap"):
        a, b, c = (getattr(matrix, name) for matrix in (one, two, both))
        assert np.abs(c - (2 * a - 3 * b)).max() <= 1e-12 * np.abs(c).max()


def test_a_common_shift_changes_nothing(model):
    atoms = rattled()
    shifted = hamiltonian_derivative(model, atoms, np.tile([0.4, -0.7, 1.1], (len(atoms), 1)))
    assert np.abs(shifted.hamiltonian).max() < 1e-10
    assert np.abs(shifted.overlap).max() < 1e-12


def test_pairs_are_those_of_the_prediction(model):
    atoms = rattled()
    exact, predicted = hamiltonian_derivative(model, atoms, atoms.positions), model.predict([atoms])[0]
    assert np.array_equal(exact.pairs, predicted.pairs)
    onsite = np.flatnonzero(exact.pairs[:, 0] == exact.pairs[:, 1])
    onsite = onsite[(exact.pairs[onsite, 2:] == 0).all(axis=1)]
    assert np.abs(exact.dense_blocks("overlap", onsite)).max() == 0
    blocks = exact.dense_blocks("hamiltonian", onsite)
    assert np.abs(blocks - blocks.swapaxes(1, 2)).max() < 1e-12


@pytest.mark.parametrize("pattern", [np.zeros((3, 3)), np.full((4, 3), np.nan), np.zeros(12)])
def test_bad_patterns(model, pattern):
    with pytest.raises(InputError, match="pattern"):
        hamiltonian_derivative(model, build_ab(), pattern)

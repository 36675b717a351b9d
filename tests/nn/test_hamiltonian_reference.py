"""Displaced copies of one structure share its lists of blocks; the results must not show it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms

from mlepi_core.artefacts import InputError
from mlepi_core.basis.two_centre import overlap_blocks
from mlepi_core.nn.electron import ElectronArchitecture
from mlepi_core.nn.hamiltonian import SKIN, HamiltonianModel, new_net
from mlepi_core.stages.train import overlap_tables as fitted_tables
from mlepi_core.structures import build_ab, build_supercell


@pytest.fixture(scope="module")
def model(root) -> HamiltonianModel:
    folder = root / "resources" / "bilayer-graphene"
    stores = [folder / "perturbed-4x4.h5", folder / "rigid.h5"]
    overlap_tables = fitted_tables(stores, None)
    architecture = ElectronArchitecture(
        shells={"C": [0, 0, 1, 1]},
        support=overlap_tables.max_support,
        channels=[8, 6, 4],
        edge_channels=[6, 4],
        head_channels=[8, 6, 4],
        head_unnatural=[0, 4],
        message_cutoff=4.0,
    )
    return HamiltonianModel(new_net(architecture, seed=3).requires_grad_(False), overlap_tables)


def displaced(scale: float, seed: int) -> Atoms:
    atoms = build_supercell(build_ab(), (2, 2))
    atoms.positions += scale * np.random.default_rng(seed).uniform(-1, 1, atoms.positions.shape)
    return atoms


def fresh(model: HamiltonianModel, atoms: Atoms):
    return model.hamiltonians([atoms], [overlap_blocks(atoms, model.overlap)])[0]


def test_copies_give_what_fresh_lists_give(model):
    structures = [displaced(0.05, seed) for seed in range(3)]
    structures[1].positions[structures[1].arrays["layer"] == 1, 0] += 0.25
    for atoms, predicted in zip(structures, model.predict(structures), strict=True):
        expected = fresh(model, atoms)
        assert np.array_equal(predicted.pairs, expected.pairs)
        assert np.array_equal(predicted.overlap, expected.overlap)
        assert np.abs(predicted.hamiltonian - expected.hamiltonian).max() < 1e-12
    # The copies differ in which pairs overlap: the lists were not simply taken over.
    assert len({len(matrix.pairs) for matrix in model.predict(structures)}) > 1


def test_lists_are_kept_for_copies_only(model):
    first = displaced(0.02, 1)
    model.predict([first])
    kept = model._reference
    model.predict([displaced(0.02, 2)])
    assert model._reference is kept
    moved = first.copy()
    moved.positions[0, 2] += 0.6 * SKIN
    assert not kept.serves(moved)
    relabelled = first.copy()
    relabelled.arrays["layer"] = 1 - relabelled.arrays["layer"]
    assert not kept.serves(relabelled)
    strained = first.copy()
    strained.set_cell(first.cell.array * 1.001, scale_atoms=False)
    assert not kept.serves(strained)


def test_frames_of_message_edges(model):
    """The frame of an edge is a proper rotation that takes it to the polar axis."""
    atoms = displaced(0.05, 4)
    matrix = overlap_blocks(atoms, model.overlap)
    graph = model.graph(model.topology(atoms, matrix), atoms)
    for edges in graph.messages.values():
        rotation = edges.kept_frames.wigner[1]
        permuted = edges.vectors[:, [1, 2, 0]]
        turned = (rotation @ permuted[:, :, None])[:, :, 0]
        expected = torch.zeros_like(turned)
        expected[:, 1] = edges.distance
        assert torch.allclose(turned, expected, atol=1e-12)
        assert torch.allclose(torch.linalg.det(rotation), torch.ones_like(edges.distance))
        remade = edges.take(slice(None))
        remade.kept_frames = None
        for kept, new in zip(edges.kept_frames.wigner, remade.frames.wigner, strict=True):
            # Equal up to a rotation about the edge, which the polar row does not see.
            middle = kept.shape[1] // 2
            assert torch.allclose(kept[:, middle], new[:, middle], atol=1e-12)


def test_blocks_that_training_never_saw_are_refused(model):
    net = new_net(model.net.arch, seed=4).requires_grad_(False)
    net.scale_inter_0_0.zero_()
    partial = HamiltonianModel(net, model.overlap)
    monolayer = build_ab()[:2]
    assert np.isfinite(partial.predict([monolayer])[0].hamiltonian).all()
    with pytest.raises(InputError, match="inter blocks C-C, on which the model was not trained"):
        partial.predict([build_ab()])

"""Spinor H of an untrained net: Hermitian, symmetric under time reversal, covariant under SU(2) and O(3)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from mlepi_core.basis.rotations import permuted_rotation, wigner_matrices
from mlepi_core.electrons import BlochHamiltonian
from mlepi_core.formats.openmx import read_openmx
from mlepi_core.formats.store import LabelEntry
from mlepi_core.nn.electron import ElectronArchitecture
from mlepi_core.nn.electron_blocks import block_coefficients, block_entries
from mlepi_core.nn.hamiltonian import HamiltonianModel, new_net
from mlepi_core.structures import ensure_layers

RAW = Path(__file__).resolve().parents[2] / "resources" / "openmx-raw"
PAULI = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])  # x, y, z
K = [0.21, -0.13, 0.0]


@pytest.fixture(scope="module")
def mos2() -> LabelEntry:
    """Real MoS2 with displaced atoms: no symmetry left; H of the undisplaced cell stays as a label."""
    entry, _ = read_openmx(RAW / "mos2_soc_prim.scfout.xz")
    entry.atoms = ensure_layers(entry.atoms)
    entry.atoms.positions += np.random.default_rng(4).normal(scale=0.1, size=(3, 3))
    return entry


@pytest.fixture(scope="module", params=[False, True], ids=["nonmagnetic", "magnetic"])
def model(request) -> HamiltonianModel:
    architecture = ElectronArchitecture(
        shells={"S": [0, 0, 1, 1, 2], "Mo": [0, 0, 0, 1, 1, 2]},
        support=8.0,
        channels=[6, 4, 4],
        edge_channels=[5, 3, 2],
        head_channels=[6, 5, 4, 3, 2, 2],
        head_unnatural=[0, 4, 4, 3, 2, 2],
        radial_hidden=[8],
        n_radial=8,
        message_cutoff=4.0,
        spin="soc",
        magnetic=request.param,
    )
    return HamiltonianModel(new_net(architecture, seed=2).requires_grad_(False), overlap=None)


def test_targets_and_entries_are_inverse(mos2, model):
    """Labels -> coefficients -> entries: the whole matrix comes back."""
    irreps, topology = model.net.block_irreps, model.topology(mos2.atoms, mos2.blocks)
    coefficients = block_coefficients(irreps, topology, mos2.blocks)
    entries = block_entries(irreps, topology, mos2.blocks, coefficients)
    np.testing.assert_allclose(entries, mos2.blocks.hamiltonian, rtol=0, atol=1e-9)


def test_prediction_is_hermitian_and_symmetric_in_time(mos2, model):
    predicted = model.hamiltonians([mos2.atoms], [mos2.blocks])[0]
    assert predicted.spin == "soc"
    vector = predicted.hamiltonian[0] - predicted.hamiltonian[3]
    assert np.abs(vector).max() > 1e-3
    pairs = predicted.pairs
    for p in np.flatnonzero((pairs[:, 0] == pairs[:, 1]) & (pairs[:, 2:] == 0).all(axis=1)):
        uu, ud, du, dd = predicted.block(p)
        block = np.block([[uu, ud], [du, dd]])
        np.testing.assert_allclose(block, block.conj().T, rtol=0, atol=1e-12)
    bloch = BlochHamiltonian.from_atoms(mos2.atoms, predicted)
    levels = np.linalg.eigvalsh(bloch.matrices([0, 0, 0])[0])
    plus, minus = (np.linalg.eigvalsh(bloch.matrices(sign * np.array(K))[0]) for sign in (1, -1))
    if model.net.arch.magnetic:
        assert predicted.time_odd_rms() > 1e-4
        assert np.abs(plus - minus).max() > 1e-4
    else:
        assert predicted.time_odd_rms() < 1e-14
        np.testing.assert_allclose(levels[::2], levels[1::2], atol=1e-11)  # Kramers pairs
        np.testing.assert_allclose(plus, minus, atol=1e-11)


@pytest.mark.parametrize("improper", [False, True])
def test_covariance(mos2, model, improper):
    """H(k) of the turned structure is (U x D) H(k) (U x D)^+."""
    axis, angle = np.array([0.6, -0.64, 0.48]), 1.1
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    rotation = expm(angle * cross) * (-1 if improper else 1)
    spin = expm(-0.5j * angle * np.einsum("k,kab->ab", axis, PAULI))
    wigner = [d[0].numpy() for d in wigner_matrices(permuted_rotation(torch.from_numpy(rotation)[None]), 2)]
    basis = model.net.orbital_basis
    orbital = np.zeros((mos2.blocks.n_orbitals,) * 2)
    start = 0
    for number in mos2.atoms.numbers:
        for l in basis.shells_of(int(number)):
            place = slice(start, start + 2 * l + 1)
            orbital[place, place] = wigner[l]
            start += 2 * l + 1
    turned = mos2.atoms.copy()
    turned.set_cell(mos2.atoms.cell.array @ rotation.T)
    turned.positions = mos2.atoms.positions @ rotation.T
    before, after = (
        BlochHamiltonian.from_atoms(atoms, model.hamiltonians([atoms], [mos2.blocks])[0]).matrices(K)[0]
        for atoms in (mos2.atoms, turned)
    )
    whole = np.kron(spin, orbital)
    np.testing.assert_allclose(
        after, whole @ before @ whole.conj().T, rtol=0, atol=1e-9 * np.abs(before).max()
    )
    assert np.abs(after - before).max() > 1e-2 * np.abs(before).max()

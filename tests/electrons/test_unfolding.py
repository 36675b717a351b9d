"""Unfolding and averaged Green functions (acceptance test 7) on tight binding and on DFT matrices."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from mlepi_core.artefacts import InputError
from mlepi_core.electrons import BlochHamiltonian, eigenvalues, repeat_blocks
from mlepi_core.electrons.spectral import (
    RunningMean,
    effective_hamiltonian,
    green_functions,
    quasiparticle_energies,
    spectral_function,
)
from mlepi_core.electrons.unfolding import WEIGHTS, BlochSums, unfold
from mlepi_core.formats.openmx import read_openmx
from mlepi_core.structures import build_monolayer, build_supercell
from mlepi_core.structures.lattice import displaced_map
from tests.electrons.tight_binding import LATTICE_CONSTANT, RAW, displaced, tight_binding

PRIMITIVE = build_monolayer(lattice_constant=LATTICE_CONSTANT)
KPOINTS = np.array([[0.0, 0.0, 0.0], [1 / 3, 2 / 3, 0.0], [0.31, 0.17, 0.0], [0.5, 0.0, 0.0]])
SIZES = [(2, 2, 1), (3, 3, 1), [[2, 1, 0], [-1, 3, 0], [0, 0, 1]]]


def model(atoms: Atoms, overlap: float = 0.12) -> tuple[BlochHamiltonian, BlochSums]:
    bloch = BlochHamiltonian.from_atoms(atoms, tight_binding(atoms, overlap))
    return bloch, BlochSums.of(bloch, atoms, PRIMITIVE)


def thermal(size=(3, 3, 1), seed: int = 4) -> Atoms:
    return displaced(build_supercell(PRIMITIVE, size), 0.06, seed)


def primitive_bands(kpoints: np.ndarray) -> np.ndarray:
    bloch = BlochHamiltonian.from_atoms(PRIMITIVE, tight_binding(PRIMITIVE, 0.12))
    return eigenvalues(bloch, kpoints)[0]


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("size", SIZES)
def test_ideal_supercell_unfolds_to_the_primitive_bands(size, kind):
    bloch, sums = model(build_supercell(PRIMITIVE, size))
    for k, states, bands in zip(
        KPOINTS, unfold(bloch, sums, KPOINTS, kind=kind), primitive_bands(KPOINTS), strict=True
    ):
        assert states.weights.sum() == pytest.approx(2, abs=1e-10)
        # Weights within a degenerate group depend on the solver's basis, their sum does not.
        for energy in np.unique(np.round(states.energies, 6)):
            group = np.abs(states.energies - energy) < 2e-6
            expected = np.sum(np.abs(bands - energy) < 2e-6)
            assert states.weights[group].sum() == pytest.approx(expected, abs=1e-10), (k, energy)
        mean = states.weights @ states.energies / 2
        assert mean == pytest.approx(bands.mean(), abs=1e-10)


@pytest.mark.parametrize("kind", ["lowdin", "mulliken"])
@pytest.mark.parametrize("size", SIZES)
def test_weights_of_all_folded_k_add_up_to_one(size, kind):
    bloch, sums = model(thermal(size))
    for k in ([0.0, 0.0, 0.0], [0.13, 0.29, 0.0]):
        folded = sums.folded(k)
        assert len(folded) == sums.n_cells
        assert folded[0] == pytest.approx(k)
        moved = folded @ sums.places.matrix.T
        assert np.abs(moved - moved[0] - np.round(moved - moved[0])).max() < 1e-12
        assert len(np.unique(np.round(folded % 1.0, 6), axis=0)) == sums.n_cells
        total = sum(states.weights for states in unfold(bloch, sums, folded, kind=kind))
        assert np.abs(total - 1).max() < 1e-11


def test_projection_weights_add_up_nearly_and_are_not_negative():
    bloch, sums = model(thermal())
    parts = [states.weights for states in unfold(bloch, sums, sums.folded([0, 0, 0]), kind="projector")]
    assert np.min(parts) >= 0
    assert 1e-4 < np.abs(np.sum(parts, axis=0) - 1).max() < 0.1


def test_lowdin_weights_are_not_negative():
    bloch, sums = model(thermal())
    assert min(states.weights.min() for states in unfold(bloch, sums, sums.folded([0, 0, 0]))) >= 0


@pytest.mark.parametrize("kind", WEIGHTS)
def test_rigid_translation_and_order_of_atoms_change_nothing(kind):
    atoms = thermal()
    moved = atoms.copy()
    moved.positions += [0.37, -1.21, 0.4]
    order = np.random.default_rng(0).permutation(len(atoms))
    kpoints = KPOINTS[1:3]
    expected = unfold(*model(atoms), kpoints, kind=kind)
    for other in (moved, atoms[order]):
        for one, two in zip(expected, unfold(*model(other), kpoints, kind=kind), strict=True):
            assert np.abs(one.energies - two.energies).max() < 1e-10
            grid = np.linspace(-8, 8, 50)
            assert spectral_function(two, grid, 0.2) == pytest.approx(
                spectral_function(one, grid, 0.2), abs=1e-10
            )


def test_doubled_cell_of_a_displaced_one_unfolds_to_it():
    """What is periodic with the small cell, though not ideal, unfolds onto it exactly."""
    small = displaced(PRIMITIVE, 0.05, 3)
    bloch, _ = model(small)
    double = build_supercell(small, (2, 1, 1))
    blocks = repeat_blocks(bloch.blocks, (2, 1, 1))
    big = BlochHamiltonian.from_atoms(double, blocks)
    sums = BlochSums.of(big, double, small)
    for states, bands in zip(unfold(big, sums, KPOINTS), eigenvalues(bloch, KPOINTS)[0], strict=True):
        kept = states.weights > 0.5
        assert states.weights[~kept] == pytest.approx(0, abs=1e-10)
        assert states.energies[kept] == pytest.approx(bands, abs=1e-10)


def test_dft_matrices_of_a_bilayer_unfold():
    """s and p shells, two layers, true S: 2 x 2 cells of the AB bilayer."""
    entry, _ = read_openmx(RAW / "bg_ab_prim.scfout.xz")
    atoms = build_supercell(entry.atoms, (2, 2, 1))
    bloch = BlochHamiltonian.from_atoms(atoms, repeat_blocks(entry.blocks, (2, 2, 1)))
    sums = BlochSums.of(bloch, atoms, entry.atoms)
    k = np.array([[1 / 3, 2 / 3, 0.0], [0.21, 0.4, 0.0]])
    bands = eigenvalues(BlochHamiltonian.from_atoms(entry.atoms, entry.blocks), k)[0]
    for states, own in zip(unfold(bloch, sums, k), bands, strict=True):
        kept = states.weights > 0.5
        assert np.abs(states.weights - kept).max() < 1e-8
        assert states.energies[kept] == pytest.approx(own, abs=1e-9)


def test_spectral_function_is_that_of_the_green_function():
    bloch, sums = model(thermal())
    grid, eta = np.linspace(-9, 9, 41), 0.15
    greens = green_functions(bloch, sums, KPOINTS, grid + 1j * eta)
    for green, states in zip(greens, unfold(bloch, sums, KPOINTS), strict=True):
        expected = -np.trace(green, axis1=1, axis2=2).imag / np.pi
        assert spectral_function(states, grid, eta) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("shape", ["lorentzian", "gaussian"])
def test_spectral_function_is_normalised(shape):
    states = unfold(*model(thermal()), KPOINTS[:1])[0]
    grid = np.linspace(-400, 400, 200_001)
    area = np.trapezoid(spectral_function(states, grid, 0.05, shape), grid)
    assert area == pytest.approx(2, rel=3e-4)


def test_effective_hamiltonian_of_the_ideal_cell_is_static_and_its_bands_are_found():
    bloch, sums = model(build_supercell(PRIMITIVE, (2, 2, 1)))
    z = np.linspace(-9, 14, 300) + 0.04j
    greens = green_functions(bloch, sums, KPOINTS, z)
    effective = effective_hamiltonian(greens, z)
    assert np.abs(effective - effective[:, :1]).max() < 1e-9
    found = quasiparticle_energies(greens, z, [0, 1])
    assert found == pytest.approx(primitive_bands(KPOINTS), abs=1e-9)


def test_self_energy_tends_to_a_constant():
    """The Löwdin form; with S^-1 of the snapshots it would grow like z."""
    greens, z = 0, np.array([1e3, 1e4]) * 1j
    for seed in range(6):
        greens = greens + green_functions(*model(thermal(seed=seed)), KPOINTS[2:3], z) / 6
    static = green_functions(*model(build_supercell(PRIMITIVE, (3, 3, 1))), KPOINTS[2:3], z)
    sigma = effective_hamiltonian(greens, z) - effective_hamiltonian(static, z)
    assert np.abs(sigma[0, 1] - sigma[0, 0]).max() < 0.01
    assert np.abs(sigma[0, 1]).max() < 1.0


def test_quasiparticles_outside_the_grid_are_not_made_up():
    bloch, sums = model(build_supercell(PRIMITIVE, (2, 2, 1)))
    z = np.linspace(-1, 1, 20) + 0.1j
    assert np.isnan(quasiparticle_energies(green_functions(bloch, sums, KPOINTS[:1], z), z, [0, 1])).all()


def test_running_mean():
    values = np.random.default_rng(1).normal(size=(7, 3))
    running = RunningMean()
    assert np.isnan(running.standard_error).all()
    for value in values:
        running.add(value)
    assert running.mean == pytest.approx(values.mean(axis=0))
    assert running.standard_error == pytest.approx(values.std(axis=0, ddof=1) / np.sqrt(7))


def test_bad_requests_are_refused():
    bloch, sums = model(thermal())
    with pytest.raises(InputError, match="weights"):
        unfold(bloch, sums, KPOINTS, kind="loewdin")
    with pytest.raises(InputError, match="width"):
        spectral_function(unfold(bloch, sums, KPOINTS[:1])[0], [0.0], 0.0)
    stranger = thermal()
    stranger.set_cell(stranger.cell.array * 1.03)
    with pytest.raises(InputError, match="not an integer multiple"):
        displaced_map(stranger, PRIMITIVE)
    scattered = thermal()[np.random.default_rng(0).permutation(18)]
    scattered.positions[0] += [0.0, 0.0, 0.8]
    with pytest.raises(InputError, match="lies on no site"):
        displaced_map(scattered, PRIMITIVE)

"""DFT-D2: against direct sums and the values that OpenMX prints, its law at large distance, as a baseline."""

from __future__ import annotations

import lzma
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.units import Hartree

from mlepi_core.artefacts import InputError
from mlepi_core.inference.calculator import PhononCalculator
from mlepi_core.nn.phonon_dispersion import C6, DAMPING, R0, S6_PBE, Dispersion
from mlepi_core.nn.phonon_graph import build_graph, collate
from tests.nn.phonon_cases import bilayer, energy_forces, net

DATA = Path(__file__).parents[2] / "resources/openmx-raw"


def direct_sum(atoms: Atoms, copies: int) -> float:
    """The defining sum over cells up to `copies` away along periodic vectors, without any cutoff."""
    ranges = [range(-copies, copies + 1) if periodic else (0,) for periodic in atoms.pbc]
    images = np.array(np.meshgrid(*ranges)).reshape(3, -1).T @ atoms.cell.array
    energy = 0.0
    for i, a in enumerate(atoms.numbers):
        for j, b in enumerate(atoms.numbers):
            r = np.linalg.norm(atoms.positions[j] + images - atoms.positions[i], axis=1)
            r = r[r > 1e-9]
            damping = 1 / (1 + np.exp(-DAMPING * (r / (R0[a] + R0[b]) - 1)))
            energy -= 0.5 * S6_PBE * np.sqrt(C6[a] * C6[b]) * (damping / r**6).sum()
    return energy


def dispersion(atoms: Atoms) -> tuple[float, np.ndarray]:
    return Dispersion(atoms.numbers, atoms.cell.array, atoms.pbc).energy_forces(atoms.positions)


def two_elements(pbc: tuple[bool, bool, bool]) -> Atoms:
    atoms = bilayer(1)
    atoms.numbers = [5, 7, 7, 5]
    atoms.pbc = pbc
    return atoms


def test_parameters_of_carbon():
    """C6 = 1.75 J nm^6/mol is 18.14 eV Å^6; every element from H to Xe has values."""
    assert C6[6] == pytest.approx(18.1375, abs=1e-3)
    assert set(C6) == set(R0) == set(range(1, 55))


def test_molecule_equals_the_direct_sum():
    atoms = two_elements((False, False, False))
    assert dispersion(atoms)[0] == pytest.approx(direct_sum(atoms, 0), abs=1e-12)


def test_crystal_equals_the_direct_sum():
    """Cubic sums over n cells converge as n^-3, so two sizes give the limit."""
    atoms = two_elements((True, True, True))
    atoms.set_cell(np.array([[3.1, 0, 0], [0.3, 3.3, 0], [0, 0.2, 7.0]]))
    atoms.positions = [[0, 0, 0], [1.5, 0.2, 0.1], [0.1, 1.6, 3.2], [1.7, 1.8, 3.4]]
    coarse, fine = direct_sum(atoms, 8), direct_sum(atoms, 16)
    half = np.array([8.5, 16.5]) ** -3
    limit = fine + (fine - coarse) * half[1] / (half[0] - half[1])
    assert dispersion(atoms)[0] == pytest.approx(limit, abs=2e-6)


def test_slab_equals_the_direct_sum():
    atoms = two_elements((True, True, False))
    coarse, fine = direct_sum(atoms, 30), direct_sum(atoms, 60)
    half = np.array([30.5, 60.5]) ** -4
    limit = fine + (fine - coarse) * half[1] / (half[0] - half[1])
    # The images across the vacuum.
    assert dispersion(atoms)[0] == pytest.approx(limit, abs=1e-6 * len(atoms))


@pytest.mark.parametrize("name", ["graphene_prim", "bg_ab_prim", "bn_bilayer_prim"])
def test_openmx_prints_the_same_energy(name):
    """OpenMX 3.9: DFT-D2 of PBE, d = 20, all images within 100 Å."""
    text = lzma.decompress((DATA / f"{name}.out.xz").read_bytes()).decode()
    printed = float(re.search(r"UvdW\.\s+(\S+)", text)[1]) * Hartree
    symbols, positions = [], []
    block = re.search(r"<Atoms.SpeciesAndCoordinates\n(.*?)Atoms.Species", text, re.S)[1]
    for line in block.strip().splitlines():
        symbols.append(line.split()[1])
        positions.append([float(word) for word in line.split()[2:5]])
    block = re.search(r"<Atoms.UnitVectors\n(.*?)Atoms.Unit", text, re.S)[1]
    cell = [[float(word) for word in line.split()] for line in block.strip().splitlines()]
    atoms = Atoms([re.sub(r"\d.*", "", s) for s in symbols], positions=positions, cell=cell, pbc=True)
    # Its constants of unit conversion differ in the fourth digit.
    assert dispersion(atoms)[0] == pytest.approx(printed, rel=4e-4)


def test_layers_attract_as_the_fourth_power():
    """Two layers far apart: -π s6 C6 σ^2 / (2 d^4) per area, σ atoms per area."""
    single = bilayer(1, n_layers=1, rattle=0.0)
    single.pbc = (True, True, False)
    area = np.linalg.norm(np.cross(*single.cell.array[:2]))
    energies = []
    for distance in (10.0, 20.0):
        atoms = bilayer(1, distance=distance, rattle=0.0)
        atoms.pbc = (True, True, False)
        energies.append((dispersion(atoms)[0] - 2 * dispersion(single)[0]) / area)
        expected = -np.pi * S6_PBE * C6[6] * (2 / area) ** 2 / (2 * distance**4)
        assert energies[-1] == pytest.approx(expected, rel=0.01)
    assert np.log2(energies[0] / energies[1]) == pytest.approx(4.0, abs=0.02)


@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False), (False, False, False)])
def test_forces_and_second_derivatives(pbc):
    atoms = two_elements(pbc)
    _, forces = dispersion(atoms)
    shared = Dispersion(atoms.numbers, atoms.cell.array, atoms.pbc)
    shared.energy_forces(atoms.positions)
    step, axis = 1e-3, (2, 1)
    energies, moved_forces = [], []
    for k in (1, -1, 2, -2):
        x = atoms.positions.copy()
        x[axis] += k * step
        energy, moved = shared.energy_forces(x)
        energies.append(energy)
        moved_forces.append(moved)

    def derivative(v):
        return (8 * (v[0] - v[1]) - (v[2] - v[3])) / (12 * step)

    assert -derivative(energies) == pytest.approx(forces[axis], abs=1e-7 * np.abs(forces).max())
    assert np.abs(forces.sum(axis=0)).max() < 1e-12
    x = torch.as_tensor(atoms.positions).requires_grad_(True)
    (gradient,) = torch.autograd.grad(shared.node_energies(x).sum(), x, create_graph=True)
    (row,) = torch.autograd.grad(gradient[axis], x)
    np.testing.assert_allclose(row, -derivative(moved_forces), atol=1e-7 * float(row.abs().max()))


def test_pairs_are_found_anew_after_a_long_move():
    atoms = two_elements((True, True, False))
    kept = Dispersion(atoms.numbers, atoms.cell.array, atoms.pbc)
    kept.energy_forces(atoms.positions)
    atoms.positions[2:, 2] += 9.0
    energy, forces = kept.energy_forces(atoms.positions)
    fresh_energy, fresh_forces = dispersion(atoms)
    assert energy == fresh_energy
    np.testing.assert_array_equal(forces, fresh_forces)


def test_heavy_elements_are_refused():
    with pytest.raises(InputError, match="no parameters of W"):
        net(species=(16, 74), d2_baseline=True)


def test_net_with_the_baseline_is_the_net_plus_d2():
    plain, model = net(), net(d2_baseline=True)
    structures = [bilayer(2, seed=1), bilayer(1, seed=2)]
    graphs = [build_graph(atoms, model.species, model.cutoffs) for atoms in structures]
    energies, forces = model(collate(graphs, torch.float64))
    for number, atoms in enumerate(structures):
        energy, force = energy_forces(plain, atoms)
        extra, extra_forces = dispersion(atoms)
        first = number * len(structures[0])
        assert float(energies[number]) == pytest.approx(energy + extra, abs=1e-12)
        np.testing.assert_allclose(forces[first : first + len(atoms)], force + extra_forces, atol=1e-12)


def test_calculator_with_the_baseline():
    """Moves within the skin, the Hessian, and layers far beyond the cutoffs still attract."""
    calculator, atoms = PhononCalculator(net(d2_baseline=True)), bilayer(1)
    atoms.calc = calculator
    atoms.get_forces()
    hessian = calculator.hessian(atoms, rows=[2])
    step, forces = 1e-4, []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[2, 1] += sign * step
        moved.calc = calculator
        forces.append(moved.get_forces())
    numeric = -(forces[0] - forces[1]) / (2 * step)
    np.testing.assert_allclose(hessian[0, 1], numeric, atol=1e-6 * np.abs(hessian).max())
    far = bilayer(1, distance=8.0, rattle=0.0)
    far.calc = calculator
    assert far.get_forces()[:2, 2].sum() > 1e-3

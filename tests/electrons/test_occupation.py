"""Electron counting against closed forms, a full mesh and OpenMX."""

import numpy as np
import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.electrons import (
    BlochHamiltonian,
    fermi_level,
    fermi_level_of,
    gamma_mesh,
    mesh_for_cell,
    n_occupied,
    valence_electrons,
)
from mlepi_core.electrons.occupation import BOLTZMANN


def test_valence_electrons():
    assert valence_electrons([6, 6, 5, 7]) == 16
    assert n_occupied([5, 7]) == 4
    with pytest.raises(InputError, match="Mo is not known; give n_electrons"):
        valence_electrons([42, 16, 16])
    with pytest.raises(InputError, match="do not fill whole bands"):
        n_occupied([6, 6], 7.0)


@pytest.mark.parametrize("mesh", [(4, 3, 1), (5, 5, 1), (2, 2, 2)])
def test_mesh_is_reduced_by_time_reversal_only(mesh):
    points, weights = gamma_mesh(mesh)
    full = np.stack(np.meshgrid(*[np.arange(m) / m for m in mesh], indexing="ij"), axis=-1).reshape(-1, 3)

    def even(k):
        return np.cos(2 * np.pi * k @ [1, 2, 1]) + np.cos(2 * np.pi * k @ [2, -1, 1])

    assert weights.sum() == pytest.approx(1, abs=1e-14)
    assert len(points) <= (len(full) + 8) // 2
    assert weights @ even(points) == pytest.approx(even(full).mean(), abs=1e-14)


def test_mesh_spacing_is_that_of_12x12_graphene(graphene, graphene_3x3):
    assert mesh_for_cell(graphene.cell).tolist() == [12, 12, 1]
    assert mesh_for_cell(graphene_3x3.cell).tolist() == [4, 4, 1]


def test_two_level_system():
    """2/(1 + exp((E1 - mu)/kT)) + 2/(1 + exp((E2 - mu)/kT)) = N, solved by hand for N = 2 and N = 1."""
    energies, weights = np.array([[-0.3, 0.5]]), np.array([1.0])
    assert fermi_level(energies, weights, 2.0) == pytest.approx(0.1, abs=1e-9)
    kt = BOLTZMANN * 300
    assert fermi_level(energies[:, :1], weights, 0.5) == pytest.approx(-0.3 - kt * np.log(3), abs=1e-9)
    with_lost_state = np.array([[-0.3, 0.5, np.nan]])
    assert fermi_level(with_lost_state, weights, 2.0) == pytest.approx(0.1, abs=1e-9)


def test_impossible_counts_are_refused():
    with pytest.raises(InputError, match="5 electrons in 2 bands"):
        fermi_level(np.zeros((1, 2)), [1.0], 5)
    with pytest.raises(InputError, match="must be > 0 K"):
        fermi_level(np.zeros((1, 2)), [1.0], 2, temperature=0)


@pytest.mark.parametrize("name", ["dft_monolayer", "dft_bilayer"])
def test_openmx_chemical_potential(name, request):
    """OpenMX's own mesh and electronic temperature (300 K) give its ChemP."""
    entry = request.getfixturevalue(name)
    bloch = BlochHamiltonian.from_atoms(entry.atoms, entry.blocks)
    assert fermi_level_of(bloch, mesh=(24, 24, 1)) == pytest.approx(entry.fermi_level, abs=1e-6)

"""Properties of the phonon net in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mlepi_core.artefacts import InputError
from mlepi_core.nn.phonon import PhononArchitecture
from mlepi_core.nn.phonon_graph import build_graph, collate
from tests.nn.phonon_cases import bilayer, energy_forces, net

VARIANTS = [
    pytest.param({"relations": "hetero", "fusion": "late"}, id="late"),
    pytest.param({"relations": "hetero", "fusion": "layerwise"}, id="layerwise"),
    pytest.param({"relations": "homo"}, id="homo"),
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_forces_are_the_gradient(variant):
    model, atoms = net(**variant), bilayer(1)
    _, forces = energy_forces(model, atoms)
    step = 1e-4
    for atom, axis in ((0, 0), (1, 2), (3, 1)):
        values = []
        for sign in (1, -1, 2, -2):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            values.append(energy_forces(model, moved)[0])
        numeric = -(8 * (values[0] - values[1]) - (values[2] - values[3])) / (12 * step)
        assert abs(numeric - forces[atom, axis]) < 1e-7 * np.abs(forces).max()
    assert np.abs(forces.sum(axis=0)).max() < 1e-10


@pytest.mark.parametrize("variant", VARIANTS)
def test_rotation_inversion_translation(variant):
    model, atoms = net(**variant), bilayer(2)
    energy, forces = energy_forces(model, atoms)
    rotation = -Rotation.random(random_state=4).as_matrix()
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ rotation.T)
    turned.positions = atoms.positions @ rotation.T + [0.3, -7.0, 1.1]
    turned_energy, turned_forces = energy_forces(model, turned)
    assert abs(turned_energy - energy) < 1e-9 * abs(energy)
    assert np.abs(turned_forces - forces @ rotation.T).max() < 1e-9 * np.abs(forces).max()


@pytest.mark.parametrize("variant", VARIANTS)
def test_permutation_images_and_layer_names(variant):
    model, atoms = net(**variant), bilayer(2)
    energy, forces = energy_forces(model, atoms)
    order = np.random.default_rng(1).permutation(len(atoms))
    changed = atoms[order]
    changed.positions[0] += changed.cell[0] - 2 * changed.cell[1]
    changed.arrays["layer"] = 1 - changed.arrays["layer"]
    changed_energy, changed_forces = energy_forces(model, changed)
    assert abs(changed_energy - energy) < 1e-10 * abs(energy)
    assert np.abs(changed_forces - forces[order]).max() < 1e-10 * np.abs(forces).max()


@pytest.mark.parametrize("fusion", ["late", "layerwise"])
def test_monolayer_is_the_intra_part(fusion):
    """Without inter edges the inter weights have no effect at all, and those streams are exactly zero."""
    model, atoms = net(fusion=fusion), bilayer(2, n_layers=1)
    energy, forces = energy_forces(model, atoms)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "inter." in name.replace("interactions", ""):
                weight.normal_()
    other_energy, other_forces = energy_forces(model, atoms)
    assert other_energy == energy
    assert (other_forces == forces).all()
    changed, _ = energy_forces(model, bilayer(2))
    assert changed != energy_forces(net(fusion=fusion), bilayer(2))[0]
    if fusion == "late":
        batch = collate([build_graph(atoms, [6], model.cutoffs)], torch.float64)
        edges = model._edges(batch, batch.positions)
        assert all((features == 0).all() for features in model.streams["inter"](batch.species, edges))


def test_energy_at_the_interlayer_cutoff_is_smooth():
    """Beyond the cutoff layers do not see each other; at it, energy and force set in with zero slope."""
    model = net(cutoff_inter=4.0)
    single = energy_forces(model, bilayer(1, n_layers=1, rattle=0.0))[0]

    def excess(distance: float) -> float:
        return energy_forces(model, bilayer(1, distance=distance, rattle=0.0))[0] - 2 * single

    assert abs(excess(4.01)) < 1e-12
    # u ~ (1 - x)^3: halving the distance to the cutoff divides the energy by eight at least.
    assert abs(excess(3.98)) < abs(excess(3.96)) / 6
    assert abs(excess(3.5)) > 1e-6


def test_isolated_atom_has_no_interaction_energy():
    atoms = bilayer(1)[:1]
    atoms.set_cell([20.0, 20.0, 20.0])
    energy, forces = energy_forces(net(), atoms)
    assert energy == 0
    assert (forces == 0).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_batch_equals_singles(variant):
    model = net(**variant)
    structures = [bilayer(2, seed=1), bilayer(1, seed=2, n_layers=1), bilayer(1, distance=3.6, seed=3)]
    graphs = [build_graph(atoms, model.species, model.cutoffs) for atoms in structures]
    energies, forces = model(collate(graphs, torch.float64))
    singles = [energy_forces(model, atoms) for atoms in structures]
    np.testing.assert_allclose(energies, [energy for energy, _ in singles], rtol=1e-11)
    np.testing.assert_allclose(forces, np.concatenate([f for _, f in singles]), rtol=0, atol=1e-11)


def test_skin_changes_nothing():
    model, atoms = net(), bilayer(2)
    energy, forces = energy_forces(model, atoms)
    wide, wide_forces = model(collate([build_graph(atoms, [6], model.cutoffs, skin=0.7)], torch.float64))
    assert abs(float(wide[0]) - energy) < 1e-11
    np.testing.assert_allclose(wide_forces, forces, atol=1e-11)


def test_supercell_has_the_energy_of_its_cells():
    model, atoms = net(), bilayer(1)
    energy, forces = energy_forces(model, atoms)
    large, large_forces = energy_forces(model, atoms.repeat((3, 2, 1)))
    assert abs(large - 6 * energy) < 1e-10 * abs(large)
    np.testing.assert_allclose(large_forces[: len(atoms)], forces, atol=1e-10)


def test_two_elements():
    """Swapping the elements of a heteronuclear structure changes the energy; an unknown one is refused."""
    model, atoms = net(species=(5, 7)), bilayer(1)
    atoms.numbers = [5, 7, 5, 7]
    swapped = atoms.copy()
    swapped.numbers = [7, 5, 7, 5]
    assert energy_forces(model, atoms)[0] != energy_forces(model, swapped)[0]
    with pytest.raises(InputError, match="does not know"):
        energy_forces(model, bilayer(1))


def test_missing_layers_are_refused():
    atoms = bilayer(1)
    del atoms.arrays["layer"]
    with pytest.raises(InputError, match="layer"):
        build_graph(atoms, [6], {"intra": 3.0, "inter": 4.0})


def test_coordination_of_ab_bilayer():
    """Within 6.35 Å 45 neighbours in the layer and 35.7 in the other one; none of those below 3.3 Å."""
    atoms = bilayer(1, distance=3.35, rattle=0.0)
    graph = build_graph(atoms, [6], {"intra": 6.35, "inter": 6.35})
    assert graph.tables["intra"].count.mean() == 45
    assert 35 < graph.tables["inter"].count.mean() < 37
    assert build_graph(atoms, [6], {"intra": 3.3, "inter": 3.3}).tables["inter"].count.sum() == 0


def test_unknown_switches_are_refused():
    with pytest.raises(InputError, match="fusion"):
        PhononArchitecture(fusion="early")
    with pytest.raises(InputError, match="relations"):
        net(relations="both")

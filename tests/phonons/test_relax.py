"""Relaxation at fixed cell: what moves, what stays, what is reported."""

import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes

from mlepi_core.artefacts import InputError, MlepiError
from mlepi_core.phonons.relax import relax_structure, unrelaxed
from mlepi_core.structures import build_ab, build_supercell, interlayer_distances
from tests.phonons.spring_model import SpringBilayer


class Pushed(Calculator):
    """A force model with a spurious net force, like forces from a coarse grid."""

    implemented_properties = ("energy", "forces")

    def __init__(self, inner, push):
        super().__init__()
        self.inner, self.push = inner, np.array(push)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {
            "energy": self.inner.get_potential_energy(atoms),
            "forces": self.inner.get_forces(atoms) + self.push,
        }


@pytest.fixture
def rattled():
    atoms = build_supercell(build_ab(distance=3.4), (2, 2, 1))
    atoms.rattle(0.05, seed=3)
    return atoms


def test_forces_fall_below_the_tolerance_and_layers_find_their_distance(rattled):
    result = relax_structure(rattled, SpringBilayer(), force_tolerance=1e-4)
    forces = SpringBilayer().get_forces(result.atoms)
    assert np.linalg.norm(forces, axis=1).max() < 1e-4
    assert result.report["residual_force_eV_per_A"] == pytest.approx(
        np.linalg.norm(forces, axis=1).max(), rel=1e-3
    )
    assert result.report["energy_change_eV"] < 0
    assert result.report["interlayer_distance_A"] == pytest.approx([3.103], abs=0.01)
    assert result.report["interlayer_distance_start_A"] == pytest.approx(
        interlayer_distances(rattled).tolist()
    )


def test_cell_centre_of_mass_and_input_stay(rattled):
    before = rattled.copy()
    result = relax_structure(rattled, SpringBilayer())
    assert np.array_equal(rattled.positions, before.positions)
    assert np.array_equal(result.atoms.cell, before.cell)
    assert result.atoms.get_center_of_mass() == pytest.approx(before.get_center_of_mass(), abs=1e-10)
    moved = np.linalg.norm(result.atoms.positions - before.positions, axis=1)
    assert result.report["moved_max_A"] == pytest.approx(moved.max())
    assert np.array_equal(result.atoms.arrays["layer"], before.arrays["layer"])


def test_net_force_is_reported_and_does_not_disturb(rattled):
    plain = relax_structure(rattled, SpringBilayer(), force_tolerance=1e-5)
    pushed = relax_structure(rattled, Pushed(SpringBilayer(), [0.01, 0.0, -0.02]), force_tolerance=1e-5)
    assert pushed.report["net_force_start_eV_per_A"] == pytest.approx([0.16, 0.0, -0.32], abs=1e-9)
    assert pushed.atoms.positions == pytest.approx(plain.atoms.positions, abs=2e-3)


def test_unrelaxed_reports_forces():
    report = unrelaxed(build_ab(distance=3.4), SpringBilayer()).report
    assert not report["relaxed"]
    assert report["residual_force_eV_per_A"] > 0.01
    assert report["interlayer_distance_A"] == pytest.approx([3.4])


def test_failures_say_what_to_do(rattled):
    with pytest.raises(MlepiError, match="after 2 steps"):
        relax_structure(rattled, SpringBilayer(), max_steps=2)
    with pytest.raises(InputError, match="force_tolerance"):
        relax_structure(rattled, SpringBilayer(), force_tolerance=0.0)

"""The space of symmetric force constants: basis, expansion by translations, frequencies."""

import numpy as np
import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.phonons import impose_sum_rules, sum_rule_violation
from mlepi_core.phonons.bands import eigensystem
from mlepi_core.phonons.force_constants import full_force_constants, make_phonopy
from mlepi_core.phonons.space import force_constant_space
from mlepi_core.structures import build_ab


@pytest.fixture
def space(dft):
    return force_constant_space(dft, build_ab())


def test_symmetric_force_constants_come_back(dft, space):
    space, coefficients = space
    impose_sum_rules(dft)
    fc = full_force_constants(dft)
    assert space.full(coefficients) == pytest.approx(fc, abs=1e-10)
    assert np.linalg.norm(coefficients) == pytest.approx(np.linalg.norm(fc))
    assert space.coefficients(space.full(coefficients)) == pytest.approx(coefficients, abs=1e-10)


def test_any_coefficients_obey_the_translational_rules(dft, space):
    space, coefficients = space
    dft.force_constants = space.full(np.random.default_rng(1).standard_normal(len(coefficients)))
    violation = sum_rule_violation(dft)
    assert violation["translation_eV_per_A2"] < 1e-12
    assert violation["permutation_eV_per_A2"] < 1e-12


def test_rotational_space_is_the_one_that_is_imposed(dft, space):
    narrow, coefficients = force_constant_space(dft, build_ab(), "rotational")
    assert narrow.size < space[0].size
    impose_sum_rules(dft, "rotational")
    assert narrow.full(coefficients) == pytest.approx(full_force_constants(dft), abs=1e-10)


def test_frequencies_are_those_of_phonopy_and_of_the_supercell(dft, space):
    space, coefficients = space
    impose_sum_rules(dft)
    space.supercell.set_masses(np.full(len(space.supercell), dft.primitive.masses[0]))
    found = space.frequencies(coefficients)
    expected = [
        eigensystem(dft, q, drop_translations=not number)[0] for number, q in enumerate(space.qpoints)
    ]
    assert found == pytest.approx(np.concatenate(expected), abs=1e-6)
    assert np.sort(found) == pytest.approx(space.modes(coefficients).frequencies, abs=1e-6)
    labels = space.mode_labels()
    assert len(labels) == len(found)
    assert labels[0][1] == 4
    assert labels[9][1] == 1


def test_a_cell_that_is_no_repetition_is_refused(dft):
    phonon = make_phonopy(build_ab(), (2, 2, 1))
    phonon._supercell_matrix = np.array([[2, 1, 0], [1, 2, 0], [0, 0, 1]])
    with pytest.raises(InputError, match="no repetition"):
        force_constant_space(phonon, build_ab())
    with pytest.raises(InputError, match="sum_rules: is 'none'"):
        force_constant_space(dft, build_ab(), "none")

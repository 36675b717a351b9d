"""Rotational sum rules of cells whose positions are symmetric only up to rounding, as relaxed ones are."""

import numpy as np
import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.phonons import impose_sum_rules, sum_rule_violation, sum_rules
from mlepi_core.phonons.bands import eigensystem
from mlepi_core.phonons.force_constants import finite_differences, full_force_constants, make_phonopy
from mlepi_core.phonons.units import CM1_PER_THZ
from tests.phonons.spring_model import SpringBilayer

OPTICAL_CM1 = 300.0  # above the rigid-layer modes, which the rotational conditions are meant to change


def rounded_cell(reference, repeats, noise=0.0):
    """Spring bilayer off its symmetric positions by 1e-7 Å, with noise (eV/Å²) on its force constants."""
    rng = np.random.default_rng(1)
    atoms = reference.copy()
    atoms.positions += rng.uniform(-1e-7, 1e-7, (len(atoms), 3))
    phonon = make_phonopy(atoms, (repeats, repeats, 1))
    phonon.force_constants = finite_differences(phonon, atoms, SpringBilayer())
    full = full_force_constants(phonon)
    phonon.force_constants = full + rng.normal(scale=noise, size=full.shape)
    impose_sum_rules(phonon, "translational")
    return phonon


def optical_frequencies(phonon):
    """Frequencies (cm⁻¹) at Γ and two M points, those above the rigid-layer modes."""
    points = np.array([[0, 0, 0], [0.5, 0, 0], [0.5, 0.5, 0]])
    found = np.concatenate([eigensystem(phonon, q)[0] for q in points]) * CM1_PER_THZ
    return found[found > OPTICAL_CM1]


@pytest.mark.parametrize("repeats", [4, 6])
def test_rotations_leave_the_optical_modes_alone(spring_ab, repeats):
    phonon = rounded_cell(spring_ab.reference, repeats, noise=0.25)
    before = sum_rule_violation(phonon)
    # at least what a trained network leaves
    assert before["rotation_eV_per_A"] > 0.04
    assert before["huang_eV"] > 1.6
    optical = optical_frequencies(phonon)
    assert len(optical) > 20
    impose_sum_rules(phonon, "rotational")
    # the remainder is that of positions which are not quite symmetric
    assert max(sum_rule_violation(phonon).values()) < 1e-4
    assert optical_frequencies(phonon) == pytest.approx(optical, rel=0.01)


def test_rank_does_not_depend_on_rounding(spring_ab):
    exact = make_phonopy(spring_ab.reference, (4, 4, 1))
    exact.force_constants = full_force_constants(spring_ab.phonon)
    rounded = rounded_cell(spring_ab.reference, 4)
    for phonon in (exact, rounded):
        impose_sum_rules(phonon, "rotational")
    assert optical_frequencies(rounded) == pytest.approx(optical_frequencies(exact), rel=1e-4)
    change = full_force_constants(rounded) - full_force_constants(exact)
    assert np.abs(change).max() < 1e-3


def test_conditions_of_rounding_are_refused(spring_ab, monkeypatch):
    phonon = rounded_cell(spring_ab.reference, 4)
    kept = full_force_constants(phonon).copy()
    monkeypatch.setattr(sum_rules, "RANK_TOLERANCE", 1e-12)
    with pytest.raises(InputError, match=r"phonons\.sum_rules.*use translational"):
        impose_sum_rules(phonon, "rotational")
    assert np.array_equal(full_force_constants(phonon), kept)


def test_force_constants_far_from_the_rules_are_refused(spring_ab):
    phonon = make_phonopy(spring_ab.reference, (2, 2, 1))
    phonon.force_constants = np.random.default_rng(0).normal(size=(16, 16, 3, 3))
    impose_sum_rules(phonon, "translational")
    with pytest.raises(InputError, match="dynamical matrix"):
        impose_sum_rules(phonon, "rotational")

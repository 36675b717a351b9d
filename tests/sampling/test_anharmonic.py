"""Self-consistent force constants against exact solutions, and their files."""

import warnings

import numpy as np
import pytest
from ase import Atoms
from scipy.optimize import brentq

from mlepi_core.artefacts import InputError
from mlepi_core.phonons import ImaginaryModesWarning, Phonons, run_phonons
from mlepi_core.phonons.force_constants import full_force_constants, make_phonopy
from mlepi_core.phonons.units import CM1_PER_THZ, THZ_PER_SQRT_EIGENVALUE
from mlepi_core.sampling import mode_variance
from mlepi_core.sampling.anharmonic import (
    AnharmonicSettings,
    NotConvergedWarning,
    self_consistent_phonons,
    trial_free_energy,
)
from mlepi_core.sampling.policy import ModePolicy
from mlepi_core.structures import build_ab, build_supercell
from tests.phonons.spring_model import SpringBilayer

MASSES = (4.0, 12.0)
REDUCED = 3.0


class Quartic:
    """Two atoms of a cubic crystal: V = Σ_a (½ k r_a² + ¼ λ r_a⁴) of their relative displacement r."""

    def __init__(self, k, quartic):
        self.k, self.quartic, self.n_forces, self.largest_batch = k, quartic, 0, 0

    def forces(self, structures):
        self.n_forces += len(structures)
        self.largest_batch = max(self.largest_batch, len(structures))
        r = np.array([atoms.positions[1] - atoms.positions[0] for atoms in structures]) - 1.5
        pull = self.k * r + self.quartic * r**3
        return np.stack([pull, -pull], axis=1)


def two_atoms(k):
    """Harmonic phonons of `Quartic`: the structure of CsCl, three modes."""
    atoms = Atoms("HeC", positions=[[0] * 3, [1.5] * 3], cell=[3.0] * 3, pbc=True, masses=MASSES)
    phonon = make_phonopy(atoms, (1, 1, 1))
    phonon.force_constants = k * np.einsum("ij,ab->ijab", [[1.0, -1.0], [-1.0, 1.0]], np.eye(3))
    return Phonons(phonon, atoms, {"relaxed": False, "sum_rules_imposed": "translational"})


def exact_frequency(k, quartic, temperature):
    """THz: ω² = (k + 3 λ ⟨r²⟩)/μ with ⟨r²⟩ = ħ/(2 μ ω) coth(ħω/2kT), as ⟨∂²V⟩ = k + 3 λ ⟨r²⟩."""

    def mismatch(frequency):
        square = mode_variance(np.array([frequency]), temperature)[0] / REDUCED
        return (k + 3 * quartic * square) / REDUCED - (frequency / THZ_PER_SQRT_EIGENVALUE) ** 2

    return brentq(mismatch, 0.3, 100.0)


def only_row(result):
    """Frequency and standard error, cm⁻¹, of the three equal modes."""
    values = {row["frequency_cm1"] for row in result.frequencies}
    assert len(result.frequencies) == 3
    assert max(values) - min(values) < 1e-3
    return result.frequencies[0]["frequency_cm1"], result.frequencies[0]["frequency_se_cm1"]


def harmonic(k):
    """cm⁻¹, imaginary as a negative number."""
    return np.sign(k) * np.sqrt(abs(k) / REDUCED) * THZ_PER_SQRT_EIGENVALUE * CM1_PER_THZ


@pytest.mark.parametrize("temperature", [0.0, 300.0])
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_quartic_oscillator(temperature, share):
    k, quartic = 2.0, 60.0
    settings = AnharmonicSettings(pairs=1500, least_share=share, tolerance_cm1=0.05)
    model = Quartic(k, quartic)
    result = self_consistent_phonons(two_atoms(k), model, temperature, settings)
    frequency, error = only_row(result)
    exact = exact_frequency(k, quartic, temperature) * CM1_PER_THZ
    assert result.converged
    assert abs(frequency - exact) < 4 * error
    assert error < 0.01 * exact
    # neither the harmonic frequency nor the one of first order, ⟨∂²V⟩ in the harmonic ensemble
    first_order = harmonic(
        k + 3 * quartic * mode_variance(np.array([harmonic(k) / CM1_PER_THZ]), temperature)[0] / REDUCED
    )
    assert frequency - harmonic(k) > 10 * error
    assert first_order - frequency > 8 * error
    rows = result.convergence
    assert sum(row["new_samples"] for row in rows) == model.n_forces
    assert result.phonons.report["anharmonic"]["force_evaluations"] == model.n_forces
    # reweighting saves forces, at share 1 every iteration computes them
    assert (model.n_forces == 3000 * len(rows)) == (share == 1.0)
    assert all(row["effective_samples"] >= 0.5 * 3000 for row in rows)


class QuarticLattice:
    """Simple cubic crystal whose neighbours have V = Σ_a (½ k Δ_a² + ¼ λ Δ_a⁴), Δ = u_j − u_i."""

    def __init__(self, k, quartic, reference):
        self.k, self.quartic, self.reference = k, quartic, reference

    def forces(self, structures):
        moved = np.array([atoms.positions for atoms in structures]) - self.reference.positions
        home = self.reference.arrays["cell_index"]
        grid = np.zeros((len(structures), *(home.max(axis=0) + 1), 3))
        grid[(slice(None), *home.T)] = moved
        total = np.zeros_like(grid)
        for axis in (1, 2, 3):
            for step in (1, -1):
                bond = np.roll(grid, step, axis=axis) - grid
                total += self.k * bond + self.quartic * bond**3
        return total[(slice(None), *home.T)]


def test_quartic_lattice():
    """Dispersive modes: by symmetry all bonds and components have one mean curvature k + 3 λ ⟨Δ²⟩."""
    k, quartic, temperature, mass = 1.0, 25.0, 200.0, 10.0
    atoms = Atoms("B", cell=[2.5] * 3, pbc=True, masses=[mass])
    phonon = make_phonopy(atoms, (3, 3, 3))
    reference = build_supercell(atoms, (3, 3, 3))
    waves = 2 * (1 - np.cos(2 * np.pi * reference.arrays["cell_index"] / 3))
    total = waves.sum(axis=1)[1:]

    def mode_frequencies(stiffness):
        return np.sqrt(stiffness * total / mass) * THZ_PER_SQRT_EIGENVALUE

    def mismatch(stiffness):
        variance = mode_variance(mode_frequencies(stiffness), temperature) / mass
        return k + 3 * quartic * np.sum(waves[1:, 0] * variance) / len(waves) - stiffness

    curvature = np.zeros((27, 27))
    unit = QuarticLattice(k, 0.0, reference)
    for number in range(27):
        moved = reference.copy()
        moved.positions[number, 0] += 1.0
        curvature[:, number] = -unit.forces([moved])[0][:, 0]
    phonon.force_constants = np.einsum("ij,ab->ijab", curvature, np.eye(3))
    start = Phonons(phonon, atoms, {"relaxed": False})
    result = self_consistent_phonons(
        start, QuarticLattice(k, quartic, reference), temperature, AnharmonicSettings(pairs=60)
    )
    assert result.converged
    exact = np.repeat(mode_frequencies(brentq(mismatch, k, 50 * k)), 3) * CM1_PER_THZ
    harmonic_ones = np.repeat(mode_frequencies(k), 3) * CM1_PER_THZ
    found, errors, begun = (
        np.array([row[name] for row in result.frequencies])
        for name in ("frequency_cm1", "frequency_se_cm1", "start_cm1")
    )
    assert begun == pytest.approx(harmonic_ones, abs=1e-3)
    assert np.abs((found - exact) / errors).max() < 4.5
    assert np.abs(found / exact - 1).max() < 0.03
    assert (exact / harmonic_ones).min() > 1.15


def test_error_bars_are_those_of_other_seeds():
    k, quartic = 2.0, 60.0
    found = [
        only_row(
            self_consistent_phonons(
                two_atoms(k), Quartic(k, quartic), 300.0, AnharmonicSettings(pairs=100, seed=seed, mixing=1.0)
            )
        )
        for seed in range(24)
    ]
    frequencies, errors = np.array(found).T
    exact = exact_frequency(k, quartic, 300.0) * CM1_PER_THZ
    assert abs(frequencies.mean() - exact) < 4 * frequencies.std() / np.sqrt(len(found))
    # the error of one fit; self-consistency makes that of the solution smaller: more amplitude, more force
    assert 0.4 < frequencies.std() / errors.mean() < 1.2


def test_double_well_becomes_stable_at_high_temperature():
    k, quartic, temperature = -1.0, 40.0, 600.0
    start = two_atoms(k)
    result = self_consistent_phonons(
        start, Quartic(k, quartic), temperature, AnharmonicSettings(pairs=1500, tolerance_cm1=0.05)
    )
    frequency, error = only_row(result)
    assert result.frequencies[0]["start_cm1"] == pytest.approx(harmonic(k), abs=1e-3)
    assert result.frequencies[0]["start_cm1"] < 0
    assert result.converged
    assert result.convergence[0]["n_touched_modes"] == 3
    assert result.convergence[-1]["n_touched_modes"] == 0
    assert result.phonons.report["imaginary_modes"] == []
    assert abs(frequency - exact_frequency(k, quartic, temperature) * CM1_PER_THZ) < 4 * error
    assert error < 0.02 * frequency


def test_imaginary_modes_that_remain_are_listed():
    k = -1.0
    settings = AnharmonicSettings(pairs=20, iterations=5)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = self_consistent_phonons(two_atoms(k), Quartic(k, 0.0), 300.0, settings)
    assert {entry.category for entry in caught} == {ImaginaryModesWarning, NotConvergedWarning}
    assert "came to rest with imaginary modes or modes sampled with other frequencies than theirs (3)" in str(
        caught[-1].message
    )
    assert not result.converged
    assert result.phonons.report["anharmonic"]["end"] == "changed modes"
    # it is not worth an iteration more
    assert len(result.convergence) == 1
    assert [mode["frequency_cm1"] for mode in result.phonons.report["imaginary_modes"]] == pytest.approx(
        [harmonic(k)] * 3, abs=1e-3
    )
    with pytest.raises(InputError, match="imaginary modes: 3 of 3 modes"):
        self_consistent_phonons(two_atoms(k), Quartic(k, 0.0), 300.0, AnharmonicSettings(imaginary="refuse"))


def test_too_few_iterations_are_said():
    with pytest.warns(NotConvergedWarning, match="not self-consistent after 2 iterations"):
        result = self_consistent_phonons(
            two_atoms(2.0), Quartic(2.0, 60.0), 300.0, AnharmonicSettings(pairs=50, iterations=2)
        )
    section = result.phonons.report["anharmonic"]
    assert not section["converged"]
    assert section["end"] == "iterations"
    assert section["max_frequency_change_cm1"] > section["tolerance_cm1"]


def test_a_single_pair_has_no_error_bar_and_no_easier_goal():
    result = self_consistent_phonons(
        two_atoms(2.0), Quartic(2.0, 60.0), 300.0, AnharmonicSettings(pairs=1, least_share=0.1)
    )
    assert result.converged
    assert len(result.convergence) > 3
    assert result.convergence[-1]["max_frequency_change_cm1"] <= 0.2
    assert result.convergence[-1]["max_frequency_se_cm1"] is None
    assert result.frequencies[0]["frequency_se_cm1"] is None
    assert result.phonons.report["anharmonic"]["mean_force_se_meV_per_A"] is None


def test_progress_ends_with_the_iteration():
    told = []
    result = self_consistent_phonons(
        two_atoms(2.0),
        Quartic(2.0, 60.0),
        300.0,
        AnharmonicSettings(pairs=40),
        progress=lambda *state: told.append(state),
    )
    steps = len(result.convergence)
    assert [(done, total) for done, total, _ in told] == [
        *((n, 40) for n in range(1, steps)),
        (steps, steps),
    ]


def test_batches_and_seeds():
    def run(**changes):
        model = Quartic(2.0, 60.0)
        settings = AnharmonicSettings(**{"pairs": 40, "mixing": 1.0} | changes)
        result = self_consistent_phonons(two_atoms(2.0), model, 300.0, settings)
        return full_force_constants(result.phonons.phonon), model.largest_batch

    whole, largest = run(batch=1000)
    parts, small = run(batch=7)
    assert (largest, small) == (80, 7)
    assert np.array_equal(whole, parts)
    assert np.array_equal(run()[0], whole)
    assert np.abs(run(seed=2)[0] - whole).max() > 1e-3


def test_going_on_from_a_solution_ends_at_once():
    model = Quartic(2.0, 60.0)
    settings = AnharmonicSettings(pairs=40, least_share=1.0)
    first = self_consistent_phonons(two_atoms(2.0), model, 300.0, settings)
    again = self_consistent_phonons(first.phonons, model, 300.0, settings)
    assert len(first.convergence) > 3
    assert len(again.convergence) == 1
    assert again.converged


def test_springs_are_a_fixed_point():
    start = run_phonons(build_ab(distance=3.2), SpringBilayer(), (2, 2, 1))
    exact = full_force_constants(start.phonon)

    class Harmonic:
        def forces(self, structures):
            moved = [atoms.positions - still for atoms in structures]
            return [-np.einsum("iajb,jb->ia", exact.transpose(0, 2, 1, 3), u) for u in moved]

    still = _supercell_positions(start)
    result = self_consistent_phonons(start, Harmonic(), 300.0, AnharmonicSettings(pairs=12))
    assert result.converged
    assert len(result.convergence) == 1
    assert full_force_constants(result.phonons.phonon) == pytest.approx(exact, abs=1e-9)
    assert result.convergence[0]["force_residual_meV_per_A"] < 1e-7
    assert max(abs(row["change_cm1"]) for row in result.frequencies) < 1e-3
    assert result.phonons.report["rigid_layer_modes"] == start.report["rigid_layer_modes"]


def _supercell_positions(phonons):
    from mlepi_core.phonons.space import force_constant_space

    return force_constant_space(phonons.phonon, phonons.reference)[0].supercell.positions


def test_thermal_force_on_the_mean_positions_of_springs():
    """Stretched springs pull: no net force, layers pushed apart or together alike, none in the plane."""
    start = run_phonons(build_ab(distance=3.2), SpringBilayer(), (2, 2, 1))
    result = self_consistent_phonons(start, SpringBilayer(), 0.0, AnharmonicSettings(pairs=12))
    section = result.phonons.report["anharmonic"]
    force = np.array(section["mean_force_meV_per_A"])
    assert np.abs(force[:, :2]).max() < 1e-9
    assert np.abs(force.sum(axis=0)).max() < 1e-9
    layer = start.reference.arrays["layer"]
    assert force[layer == 1, 2].sum() == pytest.approx(-force[layer == 0, 2].sum(), abs=1e-9)
    assert section["max_mean_force_meV_per_A"] > 1.0
    assert section["max_net_force_meV_per_A"] < 1e-9


def test_free_energy_of_oscillators():
    """Against the derivative: −∂F/∂T is the entropy, and E = F + TS the thermal energy."""
    frequencies = np.array([1.0, 7.0, 40.0])
    policy = ModePolicy("refuse", None, frequencies, np.ones(3, dtype=bool))
    temperature, step = 250.0, 0.01
    free = trial_free_energy(policy, temperature)
    slope = (
        trial_free_energy(policy, temperature + step) - trial_free_energy(policy, temperature - step)
    ) / (2 * step)
    # E = Σ ω² σ²: both halves of an oscillator's energy are equal
    kinetic_and_potential = np.sum(
        (frequencies / THZ_PER_SQRT_EIGENVALUE) ** 2 * mode_variance(frequencies, temperature)
    )
    assert free - temperature * slope == pytest.approx(1e3 * kinetic_and_potential, rel=1e-6)
    assert trial_free_energy(policy, 0.0) == pytest.approx(0.5 * 4.135667696 * frequencies.sum())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": 0}, "pairs: is 0"),
        ({"iterations": 0}, "iterations: is 0"),
        ({"batch": 0}, "batch: is 0"),
        ({"mixing": 0.0}, "mixing: is 0.0"),
        ({"mixing": 1.5}, "mixing: is 1.5"),
        ({"least_share": 2.0}, "least_share: is 2.0"),
        ({"tolerance_cm1": -1.0}, "tolerance: is -1.0"),
        ({"imaginary": "drop"}, "imaginary: is 'drop'"),
        ({"imaginary": "floor"}, "floor_cm1: is None"),
        ({"sum_rules": "none"}, "sum_rules: is 'none'"),
    ],
)
def test_settings_out_of_range(changes, message):
    with pytest.raises(InputError, match=message):
        self_consistent_phonons(two_atoms(2.0), Quartic(2.0, 1.0), 300.0, AnharmonicSettings(**changes))


def test_other_bad_input(dft_phonons):
    with pytest.raises(InputError, match="temperature: is -1"):
        self_consistent_phonons(two_atoms(2.0), Quartic(2.0, 1.0), -1.0)

    class Broken:
        def forces(self, structures):
            return np.full((len(structures), len(structures[0]), 3), np.nan)

    with pytest.raises(InputError, match="not finite at displacements up to"):
        self_consistent_phonons(two_atoms(2.0), Broken(), 300.0)
    with pytest.raises(InputError, match="pairs: 1 do not determine the"):
        self_consistent_phonons(dft_phonons, SpringBilayer(), 300.0, AnharmonicSettings(pairs=1))

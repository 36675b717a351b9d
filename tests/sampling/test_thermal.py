"""Thermal distribution (acceptance tests 1 and 3): covariance, form (D), phonopy, limits, random numbers."""

import numpy as np
import pytest
from ase import Atoms
from phonopy.phonon.random_displacements import RandomDisplacements
from scipy import constants

from mlepi_core.artefacts import InputError
from mlepi_core.phonons import supercell_modes
from mlepi_core.phonons.bands import eigensystem
from mlepi_core.phonons.force_constants import make_phonopy
from mlepi_core.phonons.modes import SupercellModes, supercell_force_constants, translations
from mlepi_core.phonons.units import CM1_PER_THZ
from mlepi_core.randomness import stream
from mlepi_core.sampling import ThermalSampler, apply_policy, mode_numbers, mode_variance

TEMPERATURES = (0.0, 300.0)
N_SAMPLES = 3000


def sampler(modes, temperature):
    return ThermalSampler(modes, apply_policy(modes), temperature)


def wishart_deviation(samples, covariance):
    """(⟨u_i u_j⟩ − C_ij) in units of its standard error √((C_ij² + C_ii C_jj)/n), mean known to be zero."""
    observed = samples.T @ samples / len(samples)
    diagonal = np.diag(covariance)
    return (observed - covariance) / np.sqrt((covariance**2 + np.outer(diagonal, diagonal)) / len(samples))


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_covariance_of_samples_is_exact_in_every_element(modes, temperature):
    thermal = sampler(modes, temperature)
    samples = np.array([thermal.displacement(11, pair).ravel() for pair in range(N_SAMPLES)])
    deviation = wishart_deviation(samples, thermal.covariance())
    # 5886 distinct elements: five standard errors is a chance of 0.3 %, the seed is fixed
    assert np.abs(deviation).max() < 5.0
    # mode by mode the elements are independent, so that their mean square is one within 2 %
    root = np.sqrt(np.repeat(modes.reference.get_masses(), 3))
    deviation = wishart_deviation((samples * root) @ modes.eigenvectors, np.diag(thermal.variance))
    assert np.mean(deviation**2) == pytest.approx(1.0, abs=0.08)


def test_the_test_sees_one_number_per_coordinate(modes):
    """The misreading of the reference paper, one number per atom coordinate, must fail."""
    thermal = sampler(modes, 300.0)
    width = np.sqrt(np.diag(thermal.covariance()))
    samples = np.array(
        [width * stream(11, "wrong", pair).standard_normal(len(width)) for pair in range(N_SAMPLES)]
    )
    deviation = wishart_deviation(samples, thermal.covariance())
    assert np.abs(np.diag(deviation)).max() < 5.0
    assert np.abs(deviation).max() > 10.0


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_covariance_agrees_with_phonopy(dft_phonons, modes, temperature):
    cell = make_phonopy(dft_phonons.reference, (3, 3, 1))
    fc = supercell_force_constants(dft_phonons.phonon, dft_phonons.reference, (3, 3, 1))
    oracle = RandomDisplacements(cell.supercell, cell.primitive, fc, cutoff_frequency=0.05)
    with np.errstate(divide="ignore", over="ignore"):
        oracle.run_correlation_matrix(temperature)
    theirs = oracle.uu.transpose(0, 2, 1, 3).reshape(108, 108)
    ours = sampler(modes, temperature).covariance()
    # phonopy has older physical constants, which differ in the seventh digit
    assert np.abs(ours - theirs).max() < 1e-6 * np.abs(ours).max()


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_gamma_form_and_q_form_agree(dft_phonons, modes, temperature):
    """(A) against (D): C = (N √MM')⁻¹ Σ_q σ² e e* exp(iq·(r − r')), the sum over ±q made explicit."""
    reference, phonon = dft_phonons.reference, dft_phonons.phonon
    supercell = modes.reference
    kappa = supercell.arrays["kappa"]
    scaled = supercell.positions @ np.linalg.inv(reference.cell.array)
    total = np.zeros((108, 108), dtype=complex)
    for q in (np.array([a, b, 0]) / 3 for a in range(3) for b in range(3)):
        frequencies, vectors = eigensystem(phonon, q, drop_translations=not q.any())
        wave = vectors.reshape(4, 3, -1)[kappa] * np.exp(2j * np.pi * scaled @ q)[:, None, None]
        wave = wave.reshape(108, -1) * np.sqrt(mode_variance(frequencies, temperature))
        total += wave @ wave.conj().T / 9
    masses = np.sqrt(np.repeat(supercell.get_masses(), 3))
    expected = total / np.outer(masses, masses)
    ours = sampler(modes, temperature).covariance()
    # relative to the largest element, which the soft shear mode makes
    assert np.abs(expected.imag).max() < 1e-12
    assert np.abs(ours - expected.real).max() < 1e-9 * np.abs(ours).max()


def test_variance_of_a_mode():
    frequencies = np.array([0.7, 5.0, 47.0])
    # σ² [amu Å²] = 1.010758/f (n + 1/2)
    assert mode_variance(frequencies, 0.0) == pytest.approx(1.010758 / frequencies / 2, rel=1e-6)
    n = 1 / np.expm1(47.99243 * frequencies / 300.0)
    assert mode_variance(frequencies, 300.0) == pytest.approx(1.010758 / frequencies * (n + 0.5), rel=1e-6)
    # shear of a bilayer, 31 cm⁻¹: 7.33 amu Å² at 300 K, 0.54 at 0 K
    shear = np.array([31.0 / CM1_PER_THZ])
    assert mode_variance(shear, 300.0) == pytest.approx([7.33], abs=0.01)
    assert mode_variance(shear, 0.0) == pytest.approx([0.54], abs=0.01)


def test_limits_of_temperature():
    frequencies = np.array([0.7, 5.0, 47.0])
    assert mode_variance(frequencies, 1e-3) == pytest.approx(mode_variance(frequencies, 0.0), rel=1e-12)
    hot = 1e6
    classical = constants.k * hot / (2 * np.pi * frequencies * 1e12) ** 2 / constants.atomic_mass * 1e20
    assert mode_variance(frequencies, hot) == pytest.approx(classical, rel=1e-5)
    with pytest.raises(InputError, match="temperature"):
        mode_variance(frequencies, -1.0)
    with pytest.raises(InputError, match="temperature"):
        mode_variance(frequencies, float("nan"))


def test_classical_covariance_does_not_know_masses(dft_phonons):
    """⟨u u⟩ → k_B T Φ⁻¹ for high T apart from the frame, in which translations are removed."""
    relative, zero = [], []
    for masses in ([12.0] * 4, [12.0, 12.0, 40.0, 40.0]):
        reference = dft_phonons.reference.copy()
        reference.set_masses(masses)
        modes = supercell_modes(dft_phonons.phonon, reference, (1, 1, 1))
        difference = np.zeros((3, 12))
        difference[:, 0:3], difference[:, 6:9] = np.eye(3), -np.eye(3)
        relative.append(difference @ sampler(modes, 1e5).covariance() @ difference.T)
        zero.append(difference @ sampler(modes, 0.0).covariance() @ difference.T)
    assert relative[1] == pytest.approx(relative[0], rel=1e-3, abs=1e-6 * relative[0].max())
    assert np.all(np.diag(zero[1]) < 0.95 * np.diag(zero[0]))


def test_two_masses_on_a_spring():
    """⟨x²⟩ of the relative coordinate is ħ/(2μω) coth(…); each mass moves by its inverse share."""
    masses, spring = np.array([1.0, 16.0]), 30.0
    atoms = Atoms("HO", positions=[[0, 0, 0], [0, 0, 1]], cell=[5, 5, 5], masses=masses)
    reduced = masses.prod() / masses.sum()
    along_z = np.array([0, 0, np.sqrt(masses[1]), 0, 0, -np.sqrt(masses[0])]) / np.sqrt(masses.sum())
    modes = SupercellModes(atoms, np.array([spring / reduced]), along_z[:, None])
    assert np.abs(translations(masses).T @ along_z).max() < 1e-15
    covariance = ThermalSampler(modes, apply_policy(modes), 200.0).covariance()
    relative = covariance[2, 2] + covariance[5, 5] - 2 * covariance[2, 5]
    omega = np.sqrt(spring * constants.e / 1e-20 / (reduced * constants.atomic_mass))
    expected = constants.hbar / (2 * reduced * constants.atomic_mass * omega)
    expected /= np.tanh(constants.hbar * omega / (2 * constants.k * 200.0))
    assert relative == pytest.approx(expected * 1e20, rel=1e-9)
    assert covariance[2, 2] / covariance[5, 5] == pytest.approx((masses[1] / masses[0]) ** 2)


def test_centre_of_mass_does_not_move(modes):
    thermal = sampler(modes, 300.0)
    masses = modes.reference.get_masses()
    for pair in range(5):
        assert np.abs(masses @ thermal.displacement(2, pair) / masses.sum()).max() < 1e-15


def test_random_numbers_are_one_standard_normal_per_mode(modes):
    numbers = np.array([mode_numbers(modes, 5, pair) for pair in range(2000)])
    assert numbers.shape == (2000, 105)
    correlation = numbers.T @ numbers / 2000
    assert np.abs(correlation - np.eye(105)).max() < 5 * np.sqrt(2 / 2000)


def test_random_numbers_do_not_depend_on_temperature(modes):
    """Common random numbers: the same ξ at every T, so every mode only scales."""
    cold, hot = (sampler(modes, temperature) for temperature in (0.0, 300.0))
    root = np.sqrt(modes.reference.get_masses())[:, None]
    projections = [
        modes.eigenvectors.T @ (thermal.displacement(3, 7) * root).ravel() for thermal in (cold, hot)
    ]
    ratio = np.sqrt(hot.variance / cold.variance)
    assert projections[1] == pytest.approx(ratio * projections[0], rel=1e-8, abs=1e-12)


def test_samples_do_not_depend_on_the_choice_of_eigenvectors(modes):
    """Signs and rotations within degenerate pairs change nothing."""
    vectors = modes.eigenvectors.copy()
    vectors[:, 5:50] *= -1.0
    cosine, sine = np.cos(0.4), np.sin(0.4)
    assert modes.eigenvalues[0] == pytest.approx(modes.eigenvalues[1], rel=1e-6)
    vectors[:, :2] = vectors[:, :2] @ np.array([[cosine, -sine], [sine, cosine]])
    other = SupercellModes(modes.reference, modes.eigenvalues, vectors)
    assert sampler(other, 300.0).displacement(1, 0) == pytest.approx(
        sampler(modes, 300.0).displacement(1, 0), abs=1e-9
    )


def test_seeds_and_pairs_differ(modes):
    thermal = sampler(modes, 300.0)
    drawn = {thermal.displacement(seed, pair).tobytes() for seed in (1, 2) for pair in (0, 1, 2)}
    assert len(drawn) == 6

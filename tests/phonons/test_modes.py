"""Modes of the sampling supercell (acceptance test 3): route through D(q), translations, the K phonon."""

import numpy as np
import pytest
from phonopy.harmonic.dynmat_to_fc import DynmatToForceConstants

from mlepi_core.artefacts import InputError
from mlepi_core.phonons import (
    commensurate_points,
    contains_sampling_cell,
    frequencies_at,
    gamma_m_k_gamma,
    phonon_bands,
    rigid_layer_modes,
    rigid_layer_weights,
    run_phonons,
    supercell_modes,
)
from mlepi_core.phonons.force_constants import full_force_constants, make_phonopy
from mlepi_core.phonons.modes import supercell_force_constants, translations
from mlepi_core.phonons.units import CM1_PER_THZ
from mlepi_core.structures import build_ab, build_supercell, k_point
from tests.phonons.spring_model import SpringBilayer


@pytest.fixture
def reference():
    return build_ab()


def test_same_cell_gives_the_force_constants_back(dft, reference):
    # the order of atoms is phonopy's, too
    assert supercell_force_constants(dft, reference, (4, 4, 1)) == pytest.approx(
        full_force_constants(dft), abs=1e-10
    )


@pytest.mark.parametrize("supercell", [(3, 3, 1), (2, 2, 1), (2, 3, 1)])
def test_other_cells_agree_with_phonopy(dft, reference, supercell):
    target = make_phonopy(reference, supercell)
    inverse = DynmatToForceConstants(target.primitive, target.supercell)
    matrices = []
    for q in inverse.commensurate_points:
        dft.dynamical_matrix.run(q)
        matrices.append(dft.dynamical_matrix.dynamical_matrix)
    inverse.dynamical_matrices = np.array(matrices)
    inverse.run()
    ours = supercell_force_constants(dft, reference, supercell)
    # the file has the mass 12.0107, ASE's is 12.011: D is the DFT one, both sides unweigh with their own
    theirs = np.array(inverse.force_constants) * dft.primitive.masses[0] / target.primitive.masses[0]
    assert ours == pytest.approx(theirs, abs=1e-9)


def test_force_constants_do_not_depend_on_periodic_images(dft, reference):
    moved = reference.copy()
    moved.positions[[1, 2]] += [[-1, 0, 0], [2, 1, 0]] @ reference.cell.array
    plain, shifted = (supercell_modes(dft, atoms, (3, 3, 1)) for atoms in (reference, moved))
    assert shifted.eigenvalues == pytest.approx(plain.eigenvalues, abs=1e-10)


def test_modes_are_the_primitive_ones_at_commensurate_q(dft, reference):
    reference.set_masses(dft.primitive.masses)
    modes = supercell_modes(dft, reference, (4, 4, 1))
    everywhere = np.sort(frequencies_at(dft, commensurate_points(dft)).ravel())
    # three of them are the translations
    nearest = np.argsort(np.abs(everywhere))[:3]
    assert modes.frequencies == pytest.approx(np.delete(everywhere, nearest), abs=1e-6)


def test_translations_are_gone_and_the_rest_is_complete(dft, reference):
    modes = supercell_modes(dft, reference, (3, 3, 1))
    vectors = modes.eigenvectors
    assert vectors.shape == (108, 105)
    assert np.abs(translations(modes.reference.get_masses()).T @ vectors).max() < 1e-14
    assert vectors.T @ vectors == pytest.approx(np.eye(105), abs=1e-12)


def test_a_soft_mode_below_the_translations_is_kept(dft, reference):
    """With violated sum rules the translations lie above the shear: order would drop the wrong modes."""
    fc = full_force_constants(dft).copy()
    n = len(fc)
    fc[np.arange(n), np.arange(n)] += 0.05 * np.eye(3)
    dft.force_constants = fc
    modes = supercell_modes(dft, reference, (1, 1, 1))
    rigid = [mode.frequency_cm1 for mode in rigid_layer_modes(modes)]
    # ω² of every mode is raised by 0.05/m, that of the dropped translations, too
    raised = 0.05 / 12.011 * 521.47**2
    assert rigid == pytest.approx(np.sqrt(np.array([23.32, 23.32, 142.78]) ** 2 + raised), abs=0.1)


def test_rigid_layers_are_found_by_their_motion(spring_aa, spring_ab):
    for phonons, shear in ((spring_ab, 11.24), (spring_aa, -17.72)):
        modes = supercell_modes(phonons.phonon, phonons.reference, (3, 3, 1))
        found = rigid_layer_modes(modes)
        assert [mode.kind for mode in found] == ["shear", "shear", "breathing"]
        assert [mode.frequency_cm1 for mode in found[:2]] == pytest.approx([shear, shear], abs=0.1)
        assert found[2].frequency_cm1 == pytest.approx(115, abs=2)
        assert all(mode.weight > 0.99 for mode in found)
        total = sum(weights.sum() for weights in rigid_layer_weights(modes).values())
        assert total == pytest.approx(3.0, abs=1e-10)


def test_rigid_layers_of_a_tilted_cell():
    tilted = build_ab(distance=3.1)
    tilted.rotate(35, (1, 2, 0.5), rotate_cell=True)
    straight = run_phonons(build_ab(distance=3.1), SpringBilayer(bending=0.0), (2, 2, 1), relax=False)
    turned = run_phonons(tilted, SpringBilayer(bending=0.0), (2, 2, 1), relax=False)
    results = [
        [
            (mode.kind, round(mode.frequency_cm1, 1))
            for mode in rigid_layer_modes(supercell_modes(p.phonon, p.reference, (1, 1, 1)))
        ]
        for p in (straight, turned)
    ]
    assert results[0] == results[1]


def test_layers_are_needed_for_rigid_layers(dft, reference):
    del reference.arrays["layer"]
    with pytest.raises(InputError, match="layer"):
        rigid_layer_modes(supercell_modes(dft, reference, (1, 1, 1)))


@pytest.mark.parametrize(("n", "there"), [(3, True), (6, True), (4, False), (5, False)])
def test_k_phonon_is_in_cells_of_three_m(dft, reference, n, there):
    reference.set_masses(dft.primitive.masses)
    highest_at_k = frequencies_at(dft, k_point(reference.cell))[0, -1]
    modes = supercell_modes(dft, reference, (n, n, 1))
    assert (np.abs(modes.frequencies - highest_at_k).min() < 1e-6) == there


def test_supercell_inclusion(dft):
    assert [contains_sampling_cell(dft, (n, n, 1)) for n in (1, 2, 3, 4, 8)] == [
        True,
        True,
        False,
        True,
        False,
    ]


def test_another_structure_is_refused(dft, reference):
    with pytest.raises(InputError, match="another cell"):
        supercell_modes(dft, build_ab(lattice_constant=2.46), (2, 2, 1))
    reference.positions[0] += 0.1
    with pytest.raises(InputError, match="not where"):
        supercell_modes(dft, reference, (2, 2, 1))
    with pytest.raises(InputError, match="other atoms"):
        supercell_modes(dft, build_supercell(reference, (2, 1, 1)), (2, 2, 1))


def test_bands_run_through_the_special_points(dft, reference):
    path = gamma_m_k_gamma(reference.cell, points=11)
    bands = phonon_bands(dft, path)
    assert path.labels == ("Γ", "M", "K", "Γ")
    lengths = np.diff(path.label_distances)
    # ΓM : MK : KΓ = √3 : 1 : 2
    assert lengths / lengths[1] == pytest.approx([np.sqrt(3), 1.0, 2.0])
    assert len(path.qpoints) == 31
    assert path.qpoints[20] == pytest.approx(k_point(reference.cell))
    assert bands.frequencies[[0, 20]] == pytest.approx(frequencies_at(dft, path.qpoints[[0, 20]]))
    # the threefold axis makes pairs of modes degenerate at K, not on the way to it
    at_k = bands.frequencies_cm1[20]
    assert at_k[10] == pytest.approx(at_k[11], abs=1e-3)
    assert bands.frequencies_cm1[18, 11] - bands.frequencies_cm1[18, 10] > 1
    rows = list(bands.rows())
    assert len(rows) == 31 * 12
    assert float(rows[-1]["frequency_cm1"]) == pytest.approx(
        bands.frequencies[-1, -1] * CM1_PER_THZ, abs=1e-3
    )

"""Force constants from displacements and Hessians, sum rules, files."""

import numpy as np
import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.phonons import (
    frequencies_at,
    impose_sum_rules,
    read_phonons,
    rigid_layer_modes,
    run_phonons,
    sum_rule_violation,
    supercell_modes,
    write_phonons,
)
from mlepi_core.phonons.force_constants import (
    finite_differences,
    full_force_constants,
    keep_one_cell,
    make_phonopy,
    supercell_atoms,
)
from mlepi_core.structures import build_ab
from tests.phonons.spring_model import SpringBilayer

QPOINTS = np.array([[0, 0, 0], [0.5, 0, 0], [1 / 3, 2 / 3, 0], [0.1, 0.07, 0]])


def numerical_hessian(atoms, step=1e-3):
    """∂²E/∂x_i∂x_j of the spring model by central differences of forces, (N, 3, N, 3)."""
    result = np.zeros((len(atoms), 3, len(atoms), 3))
    for row, axis in np.ndindex(len(atoms), 3):
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[row, axis] += sign * step
            result[row, axis] -= sign * SpringBilayer().get_forces(moved) / (2 * step)
    return result


def test_finite_differences_agree_with_the_hessian(spring_ab):
    common = {"supercell": (2, 2, 1), "relax": False}
    differences = run_phonons(spring_ab.reference, SpringBilayer(), **common)
    hessian = run_phonons(
        spring_ab.reference, SpringBilayer(), **common, method="hessian", hessian=numerical_hessian
    )
    assert hessian.report["displacement_A"] is None
    assert hessian.report["sum_rules_before"]["permutation_eV_per_A2"] < 1e-4
    full = full_force_constants(differences.phonon)
    # what remains is fourth order in the displacement of 0.02 Å
    assert np.abs(full_force_constants(hessian.phonon) - full).max() < 1e-3 * np.abs(full).max()
    assert frequencies_at(hessian.phonon, QPOINTS[1:]) == pytest.approx(
        frequencies_at(differences.phonon, QPOINTS[1:]), abs=0.02
    )


def test_batch_function_gives_the_same_as_the_calculator(spring_ab):
    calls = []

    def forces(structures):
        calls.append(len(structures))
        return [SpringBilayer().get_forces(atoms) for atoms in structures]

    phonon = make_phonopy(spring_ab.reference, (3, 3, 1))
    batch = finite_differences(phonon, spring_ab.reference, forces)
    single = finite_differences(phonon, spring_ab.reference, SpringBilayer())
    assert len(calls) == 1
    assert np.array_equal(batch, single)


def test_net_force_of_a_cell_is_removed(spring_ab):
    def pushed(structures):
        return [SpringBilayer().get_forces(atoms) + 0.01 * n for n, atoms in enumerate(structures)]

    phonon = make_phonopy(spring_ab.reference, (3, 3, 1))
    disturbed = finite_differences(phonon, spring_ab.reference, pushed)
    assert disturbed == pytest.approx(
        finite_differences(phonon, spring_ab.reference, SpringBilayer()), abs=1e-10
    )


def test_displaced_cells_keep_their_layers():
    reference = build_ab()
    reference.positions[:, 2] += 13.0
    reference.arrays["winding"] = np.array([0, 0, 1, 1])
    phonon = make_phonopy(reference, (2, 2, 1))
    atoms = supercell_atoms(phonon, reference)
    unwrapped = atoms.positions[:, 2] - 14.0 * atoms.arrays["winding"]
    expected = reference.positions[:, 2] - 14.0 * reference.arrays["winding"]
    assert np.array_equal(atoms.arrays["layer"], np.repeat([0, 0, 1, 1], 4))
    assert unwrapped == pytest.approx(np.repeat(expected, 4))


def test_sum_rules_are_reported_and_imposed(spring_ab):
    phonon = make_phonopy(spring_ab.reference, (3, 3, 1))
    phonon.force_constants = finite_differences(phonon, spring_ab.reference, SpringBilayer())
    noise = np.random.default_rng(0).normal(scale=0.01, size=phonon.force_constants.shape)
    phonon.force_constants = phonon.force_constants + noise
    before = sum_rule_violation(phonon)
    assert before["permutation_eV_per_A2"] == pytest.approx(
        np.abs(noise - noise.transpose(1, 0, 3, 2)).max(), rel=0.02
    )
    assert before["translation_eV_per_A2"] > 0.1
    impose_sum_rules(phonon)
    after = sum_rule_violation(phonon)
    assert after["permutation_eV_per_A2"] < 1e-10
    assert after["translation_eV_per_A2"] < 1e-10
    impose_sum_rules(phonon)
    assert sum_rule_violation(phonon)["translation_eV_per_A2"] < 1e-10


def test_rotational_sum_rules(dft):
    original = full_force_constants(dft)
    assert sum_rule_violation(dft)["rotation_eV_per_A"] > 0.01
    impose_sum_rules(dft, "rotational")
    after = sum_rule_violation(dft)
    assert max(after.values()) < 1e-9
    assert np.abs(full_force_constants(dft) - original).max() < 0.02
    # rotations tie the shear to stiffer constants, which the labels have right: 38-42 by the slips
    modes = supercell_modes(dft, build_ab(), (1, 1, 1))
    shear = [mode.frequency_cm1 for mode in rigid_layer_modes(modes) if mode.kind == "shear"]
    assert shear == pytest.approx([40.2, 40.2], abs=1.0)


def test_no_sum_rules_leaves_everything(spring_ab):
    phonon = make_phonopy(spring_ab.reference, (2, 2, 1))
    raw = finite_differences(phonon, spring_ab.reference, SpringBilayer())
    impose_sum_rules(phonon, "none")
    assert np.array_equal(phonon.force_constants, raw)
    with pytest.raises(InputError, match=r"phonons\.sum_rules"):
        impose_sum_rules(phonon, "some")


def test_folder_round_trip(spring_ab, tmp_path):
    written = write_phonons(tmp_path / "phonons", spring_ab)
    assert sorted(path.name for path in (tmp_path / "phonons").iterdir()) == [
        "phonopy_params.yaml",
        "reference.extxyz",
        "relaxation.json",
    ]
    read = read_phonons(tmp_path / "phonons")
    assert read.digest == written.digest
    assert len(read.digest) == 16
    assert read.report["residual_force_eV_per_A"] < 1e-4
    assert np.array_equal(read.reference.arrays["layer"], [0, 0, 1, 1])
    assert full_force_constants(read.phonon) == pytest.approx(
        full_force_constants(spring_ab.phonon), abs=1e-12
    )
    assert frequencies_at(read.phonon, QPOINTS[1:]) == pytest.approx(
        frequencies_at(spring_ab.phonon, QPOINTS[1:]), abs=1e-6
    )


def test_masses_survive_the_folder(tmp_path):
    atoms = build_ab(distance=3.1)
    atoms.set_masses([12.0, 13.0, 14.0, 12.0])
    made = run_phonons(atoms, SpringBilayer(), (2, 2, 1), force_tolerance=1e-3)
    read = read_phonons(tmp_path) if write_phonons(tmp_path, made) else None
    assert read.reference.get_masses() == pytest.approx([12.0, 13.0, 14.0, 12.0])


def test_compact_form_means_the_same(spring_ab):
    phonon = make_phonopy(spring_ab.reference, (3, 3, 1))
    phonon.force_constants = finite_differences(phonon, spring_ab.reference, SpringBilayer())
    impose_sum_rules(phonon)
    full = full_force_constants(phonon)
    keep_one_cell(phonon)
    assert np.asarray(phonon.force_constants).shape == (4, 36, 3, 3)
    assert full_force_constants(phonon) == pytest.approx(full, abs=1e-12)


def test_bad_input_is_named(spring_ab, tmp_path):
    with pytest.raises(InputError, match="supercell"):
        make_phonopy(build_ab(), (4, 4))
    with pytest.raises(InputError, match="supercell"):
        make_phonopy(build_ab(), (4, 0, 1))
    with pytest.raises(InputError, match="displacement"):
        run_phonons(build_ab(), SpringBilayer(), (2, 2, 1), relax=False, displacement=-0.01)
    with pytest.raises(InputError, match=r"phonons\.method"):
        run_phonons(build_ab(), SpringBilayer(), (2, 2, 1), relax=False, method="magic")
    with pytest.raises(InputError, match="no hessian"):
        run_phonons(build_ab(), SpringBilayer(), (2, 2, 1), relax=False, method="hessian")
    with pytest.raises(InputError, match="calculator"):
        finite_differences(
            make_phonopy(build_ab(), (2, 2, 1)),
            build_ab(),
            lambda cells: np.full((len(cells), 16, 3), np.nan),
        )
    with pytest.raises(InputError, match=r"phonopy_params\.yaml"):
        read_phonons(tmp_path)
    write_phonons(tmp_path, spring_ab)
    report = (tmp_path / "relaxation.json").read_text()
    (tmp_path / "relaxation.json").write_text(report.replace('structure_hash": "', 'structure_hash": "0'))
    with pytest.raises(InputError, match="another reference"):
        read_phonons(tmp_path)
    (tmp_path / "relaxation.json").write_text("{}")
    with pytest.raises(InputError, match=r"relaxation\.json"):
        read_phonons(tmp_path)
    content = (tmp_path / "phonopy_params.yaml").read_text()
    (tmp_path / "phonopy_params.yaml").write_text(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"phonopy_params\.yaml"):
        read_phonons(tmp_path)

"""AA stacking is unstable (acceptance test 9): warned about, refused by sampling; what each policy does."""

import json

import numpy as np
import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.phonons import ImaginaryModesWarning, run_phonons, supercell_modes, write_phonons
from mlepi_core.sampling import apply_policy, read_samples
from mlepi_core.stages.sample import sample
from mlepi_core.structures import build_aa, build_monolayer
from tests.phonons.spring_model import SpringBilayer

SHEAR = 17.72


@pytest.fixture(scope="module")
def folder(spring_aa, tmp_path_factory):
    path = tmp_path_factory.mktemp("aa")
    write_phonons(path, spring_aa)
    return path


@pytest.fixture(scope="module")
def modes(spring_aa):
    return supercell_modes(spring_aa.phonon, spring_aa.reference, (3, 3, 1))


def test_phonons_warn_and_list():
    with pytest.warns(ImaginaryModesWarning, match=r"2 imaginary modes .* -17\.7, -17\.7"):
        result = run_phonons(build_aa(distance=3.2), SpringBilayer(), (2, 2, 1))
    listed = [mode for mode in result.report["imaginary_modes"] if mode["q"] == [0, 0, 0]]
    assert [mode["frequency_cm1"] for mode in listed] == pytest.approx([-SHEAR, -SHEAR], abs=0.1)


def test_report_file_lists_them(folder):
    report = json.loads((folder / "relaxation.json").read_text())
    assert len(report["imaginary_modes"]) == 2
    assert [mode["kind"] for mode in report["rigid_layer_modes"]] == ["shear", "shear", "breathing"]
    assert report["rigid_layer_modes"][0]["frequency_cm1"] == pytest.approx(-SHEAR, abs=0.1)


def test_sampling_refuses_by_default_and_writes_nothing(folder, tmp_path):
    out = tmp_path / "block0.h5"
    with pytest.raises(InputError, match=r"2 of 105 modes .*: 17\.7\di, 17\.7\di cm⁻¹; .*--imaginary"):
        sample(folder, (3, 3, 1), 300.0, 2, 1, out)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("policy", "floor", "touched", "used"),
    [
        ("drop", None, 2, [None, None]),
        ("absolute", None, 2, [SHEAR, SHEAR]),
        ("floor", 30.0, 2, [30.0, 30.0]),
        ("floor", 150.0, 3, [150.0, 150.0, 150.0]),
    ],
)
def test_policies(folder, tmp_path, modes, policy, floor, touched, used):
    out = tmp_path / "block0.h5"
    made = sample(folder, (3, 3, 1), 300.0, 3, 1, out, imaginary=policy, floor_cm1=floor)
    read = read_samples(out)
    assert read.imaginary_policy == policy
    assert read.floor_cm1 == floor
    assert read.touched == made.touched
    assert len(read.touched) == touched
    assert [mode["kind"] for mode in read.touched] == ["shear", "shear", "breathing"][:touched]
    for mode, value in zip(read.touched, used, strict=True):
        assert mode["used_cm1"] == (None if value is None else pytest.approx(value, abs=0.1))
    # the amplitude of the shear follows the policy
    masses = np.sqrt(read.reference.get_masses())[:, None]
    weighted = ((read.positions - read.reference.positions) * masses).reshape(len(read), -1)
    amplitude = np.abs(weighted @ modes.eigenvectors[:, :2])
    assert (amplitude.max() < 1e-12) == (policy == "drop")


def test_stable_modes_do_not_depend_on_the_policy(folder, tmp_path, modes):
    """What a policy does not touch has the same amplitude, digit by digit."""
    weighted = []
    for index, (policy, floor) in enumerate([("drop", None), ("absolute", None), ("floor", 30.0)]):
        out = tmp_path / f"{index}.h5"
        made = sample(folder, (3, 3, 1), 100.0, 2, 5, out, imaginary=policy, floor_cm1=floor)
        u = (made.positions - made.reference.positions) * np.sqrt(made.reference.get_masses())[:, None]
        weighted.append(u.reshape(len(made), -1) @ modes.eigenvectors[:, 2:])
    assert weighted[1] == pytest.approx(weighted[0], abs=1e-12)
    assert weighted[2] == pytest.approx(weighted[0], abs=1e-12)


def test_floor_also_raises_real_modes_and_nothing_above(modes):
    policy = apply_policy(modes, "floor", 150.0)
    raised = policy.frequencies != modes.frequencies
    assert raised.sum() == 3
    assert np.all(modes.frequencies_cm1[~raised] > 150)


def test_stable_crystals_need_no_policy(spring_ab):
    modes = supercell_modes(spring_ab.phonon, spring_ab.reference, (3, 3, 1))
    for name in ("refuse", "drop", "absolute"):
        policy = apply_policy(modes, name)
        assert policy.n_touched == 0
        assert np.array_equal(policy.frequencies, modes.frequencies)
        assert policy.sampled.all()


def test_modes_without_restoring_force_count_as_imaginary():
    """Layers out of reach of each other: the three relative motions have no frequency at all."""
    lone = build_aa(distance=7.0, cell_height=20.0)
    result = run_phonons(lone, SpringBilayer(), (2, 2, 1), relax=False)
    modes = supercell_modes(result.phonon, result.reference, (2, 2, 1))
    assert modes.unstable.sum() >= 3
    with pytest.raises(InputError, match="no restoring force"):
        apply_policy(modes)
    with pytest.raises(InputError, match="zero frequency"):
        apply_policy(modes, "absolute")
    assert apply_policy(modes, "floor", 20.0).n_touched == modes.unstable.sum()


def test_policy_arguments_are_checked(modes):
    with pytest.raises(InputError, match="imaginary"):
        apply_policy(modes, "ignore")
    with pytest.raises(InputError, match="floor_cm1"):
        apply_policy(modes, "floor")
    with pytest.raises(InputError, match="floor_cm1"):
        apply_policy(modes, "drop", 20.0)
    with pytest.raises(InputError, match="floor_cm1"):
        apply_policy(modes, "floor", -1.0)


def test_a_monolayer_has_no_rigid_layer_modes():
    result = run_phonons(build_monolayer(), SpringBilayer(), (2, 2, 1))
    assert result.report["rigid_layer_modes"] == []
    assert result.report["imaginary_modes"] == []

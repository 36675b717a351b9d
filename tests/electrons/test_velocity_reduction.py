"""Statistics over pairs, merging, the sample file and refusals."""

from dataclasses import replace

import numpy as np
import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.electrons import (
    VELOCITY_COLUMNS,
    BlochHamiltonian,
    VelocitySpec,
    evaluate_entry,
    jackknife,
    load_samples,
    merge,
    reduce_velocity,
    save_samples,
)
from mlepi_core.electrons.reduction import means_over_pairs
from mlepi_core.structures import build_supercell
from tests.electrons.tight_binding import displaced, tight_binding

SPEC = VelocitySpec(estimators=("manifold", "operator"), windows=((0.03, 0.10),), k_points=3, directions=2)


def evaluate(atoms, spec=SPEC, **attrs):
    bloch = BlochHamiltonian.from_atoms(atoms, tight_binding(atoms, cutoff=2.1))
    return evaluate_entry(atoms, bloch, spec, n_electrons=len(atoms), attrs=attrs)


@pytest.fixture(scope="module")
def parts(graphene_3x3):
    facts = {"temperature": 100.0, "seed": 5, "imaginary_policy": "floor", "n_touched_modes": 3}
    return [
        evaluate(displaced(graphene_3x3, 0.04, pair, sign), pair=pair, sign=sign, **facts)
        for pair in range(4)
        for sign in (1, -1)
    ]


@pytest.fixture(scope="module")
def static(graphene_3x3):
    return evaluate(graphene_3x3)


def test_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(size=25)
    result = jackknife(values, lambda mean: mean)
    assert result.value == pytest.approx(values.mean())
    assert result.error == pytest.approx(values.std(ddof=1) / 5)
    assert jackknife(values[:1], lambda mean: mean).error is None


def test_jackknife_of_a_nonlinear_function_follows_error_propagation():
    values = 4 + 0.1 * np.random.default_rng(0).normal(size=400)
    result = jackknife(values, np.sqrt)
    assert result.error == pytest.approx(values.std(ddof=1) / 20 / 4, rel=0.01)


def test_a_pair_is_one_sample():
    features = np.array([[1.0], [3.0], [5.0], [7.0], [4.0]])
    pairs = np.array([0, 0, 1, 1, 2])
    np.testing.assert_allclose(means_over_pairs(features, pairs), [[2.0], [6.0], [4.0]])


def test_result_has_the_columns_and_converges_to_itself(parts, static):
    result = reduce_velocity(merge(parts), static, "manifold")
    assert list(result)[: len(VELOCITY_COLUMNS)] == list(VELOCITY_COLUMNS)
    assert (result["n_pairs"], result["n_evaluations"], result["seed"]) == (4, 8, 5)
    assert (result["supercell_n"], result["temperature_K"]) == (3, 100.0)
    assert (result["window_lo_per_A"], result["window_hi_per_A"]) == (0.03, 0.10)
    assert result["ratio"] == pytest.approx(result["v_m_per_s"] / result["v_static_m_per_s"])
    last = result["convergence"][-1]
    assert last["n_pairs"] == 4
    assert last["v_m_per_s"] == result["v_m_per_s"]
    assert last["ratio_se"] == result["ratio_se"]
    assert result["convergence"][0]["v_se_m_per_s"] is None
    windowless = reduce_velocity(merge(parts), static, "operator", (0.03, 0.10))
    assert windowless["window_lo_per_A"] is None


def test_order_of_the_parts_does_not_matter(parts, static):
    forward = reduce_velocity(merge(parts), static, "manifold")
    assert reduce_velocity(merge(parts[::-1]), static, "manifold") == forward


def test_sample_file_round_trip(parts, static, tmp_path):
    save_samples(tmp_path / "a.h5", merge(parts[:4]))
    save_samples(tmp_path / "b.h5", merge(parts[4:]))
    loaded = load_samples([tmp_path / "b.h5", tmp_path / "a.h5"])
    whole = merge(parts)
    assert loaded.spec == whole.spec
    assert loaded.attrs == whole.attrs
    for estimator in SPEC.estimators:
        expected = reduce_velocity(whole, static, estimator)
        assert reduce_velocity(loaded, static, estimator) == expected
    content = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "a.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="cannot be read"):
        load_samples([tmp_path / "a.h5"])


def test_static_sample_file(static, tmp_path):
    save_samples(tmp_path / "static.h5", static)
    assert load_samples([tmp_path / "static.h5"]).temperature is None


def test_what_does_not_belong_together_is_refused(parts, static, graphene):
    samples = merge(parts)
    with pytest.raises(InputError, match="pair 0 is given twice"):
        merge([*parts, parts[0]])
    with pytest.raises(InputError, match="100 K and 200 K"):
        merge([parts[0], replace(parts[1], temperature=200.0)])
    with pytest.raises(InputError, match="no samples"):
        merge([])
    small = evaluate(build_supercell(graphene, 2))
    with pytest.raises(InputError, match="supercell n differs: 3 and 2"):
        reduce_velocity(samples, small, "manifold")
    with pytest.raises(InputError, match="lattice constants differ"):
        reduce_velocity(samples, replace(static, lattice_constant=2.5), "manifold")
    hashes = [
        replace(s, attrs={**s.attrs, "reference_hash": name}) for s, name in ((samples, "aa"), (static, "bb"))
    ]
    with pytest.raises(InputError, match="reference structure differs: aa and bb"):
        reduce_velocity(*hashes, "manifold")
    with pytest.raises(InputError, match=r"0\.02 1/Å was not evaluated; evaluated: 0\.03"):
        reduce_velocity(samples, static, "manifold", (0.02, 0.10))
    with pytest.raises(InputError, match="bilayer needs two layers"):
        reduce_velocity(samples, static, "bilayer")


def test_velocity_without_operator_says_so(graphene_3x3):
    samples = evaluate(graphene_3x3, replace(SPEC, estimators=("manifold",)))
    with pytest.raises(InputError, match="made without 'operator'"):
        reduce_velocity(samples, samples, "operator")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"estimators": ("fancy",)}, "unknown estimator 'fancy'"),
        ({"windows": ((0.1, 0.05),)}, "give 0 <= LO < HI"),
        ({"k_points": 1}, "two k points"),
        ({"gauge": "length"}, "'length' is unknown"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(InputError, match=message):
        VelocitySpec(**settings)


def test_pairs_of_one_scrambling_are_one_sample(graphene_3x3, static):
    """Sobol pairs j and j + 8 belong together: the error is that of eight means, not of sixteen pairs."""
    samples = merge(
        [
            evaluate(
                displaced(graphene_3x3, 0.04, pair, 1), pair=pair, sign=1, scheme="sobol", temperature=1.0
            )
            for pair in range(16)
        ]
    )
    result = reduce_velocity(samples, static, "operator")
    groups = (samples.velocity_squared[:8] + samples.velocity_squared[8:]) / 2
    bare = static.velocity_squared[0]
    expected = jackknife(groups / bare, np.sqrt)
    assert result["n_pairs"] == 16
    assert result["ratio"] == pytest.approx(expected.value)
    assert result["ratio_se"] == pytest.approx(expected.error)
    apart = replace(samples, attrs={**samples.attrs, "scheme": "plain"})
    assert reduce_velocity(apart, static, "operator")["ratio_se"] != pytest.approx(expected.error, rel=0.01)

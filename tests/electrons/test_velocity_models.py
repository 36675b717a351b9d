"""Estimators on models whose velocity is known and on displaced tight-binding cells (acceptance test 6)."""

import numpy as np
import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.electrons import (
    METRES_PER_SECOND,
    BlochHamiltonian,
    FiniteSizeWarning,
    VelocitySpec,
    evaluate_entry,
    merge,
    naive_limit,
    reduce_velocity,
)
from tests.electrons.dirac_model import HBAR_V, Snapshots, bilayer, monolayer, samples
from tests.electrons.tight_binding import displaced, tight_binding

EXACT = HBAR_V * METRES_PER_SECOND
# Slope of the mean bands over the true one, by n and window in 1/Å.
NAIVE_TABLE = {
    (3, 0.0, 0.02): 0.35,
    (3, 0.0, 0.05): 0.61,
    (3, 0.0, 0.10): 0.80,
    (3, 0.05, 0.10): 0.92,
    (6, 0.0, 0.02): 0.54,
    (6, 0.0, 0.03): 0.66,
    (6, 0.0, 0.05): 0.80,
    (6, 0.0, 0.10): 0.91,
    (6, 0.05, 0.10): 0.98,
    (9, 0.0, 0.05): 0.87,
    (12, 0.0, 0.05): 0.91,
}


def ideal(n: int, count: int = 1) -> Snapshots:
    still = Snapshots(n, count, 0)
    still.shift[:], still.mass[:] = 0, 0
    return still


@pytest.mark.filterwarnings("ignore::mlepi_core.electrons.notes.FiniteSizeWarning")
@pytest.mark.parametrize(("n", "low", "high"), NAIVE_TABLE)
def test_naive_reproduces_the_finite_size_artefact(n, low, high):
    """1500 snapshots; the table scatters by about 0.005 between seeds."""
    points = round((high - low) / 0.0025) + 1
    spec = VelocitySpec.single("naive", (low, high), directions=1, k_points=points)
    moved = Snapshots(n, 1500, seed=7)
    still = ideal(n)
    result = reduce_velocity(
        samples(lambda k: monolayer(moved, k), n, spec, 1),
        samples(lambda k: monolayer(still, k), n, spec, 1),
        "naive",
    )
    assert result["v_static_m_per_s"] == pytest.approx(EXACT, rel=1e-9)
    assert result["ratio"] == pytest.approx(NAIVE_TABLE[n, low, high], abs=0.015)


@pytest.mark.parametrize("window", [(0.0, 0.02), (0.03, 0.05), (0.03, 0.10)])
@pytest.mark.parametrize("layers", [1, 2])
def test_manifold_is_exact_in_every_snapshot(window, layers):
    """The trace removes cone shifts, gaps and gamma_1 from the slope: no statistical error either."""
    spec = VelocitySpec.single("manifold", window, directions=1)
    pair = Snapshots(3, 40, 1), Snapshots(3, 40, 2)
    still = ideal(3)
    moved = samples(lambda k: monolayer(pair[0], k) if layers == 1 else bilayer(*pair, k), 3, spec, layers)
    static = samples(
        lambda k: monolayer(still, k) if layers == 1 else bilayer(still, still, k), 3, spec, layers
    )
    result = reduce_velocity(moved, static, "manifold")
    assert result["v_m_per_s"] == pytest.approx(EXACT, rel=1e-9)
    assert result["v_se_m_per_s"] == pytest.approx(0, abs=1)
    assert result["ratio"] == pytest.approx(1, abs=1e-9)


def test_bilayer_is_exact_on_its_model():
    """gamma_1 alone: E_low E_high = (hbar v k)^2 at every k."""
    spec = VelocitySpec.single("bilayer", (0.02, 0.15), directions=3)
    still = ideal(6)
    static = samples(lambda k: bilayer(still, still, k), 6, spec, 2)
    result = reduce_velocity(static, static, "bilayer")
    assert result["v_static_m_per_s"] == pytest.approx(EXACT, rel=1e-9)
    np.testing.assert_allclose(result["curve"]["static"], (HBAR_V * spec.radii) ** 2, rtol=1e-9)


def test_bilayer_note_states_its_finite_size_bias():
    """Gaps and cone shifts of a model whose velocity does not change."""
    for n, bias in ((3, -0.025), (6, -0.01)):
        spec = VelocitySpec.single("bilayer", directions=3)
        pair, still = (Snapshots(n, 800, 3), Snapshots(n, 800, 4)), ideal(n)
        moved = samples(lambda k, pair=pair: bilayer(*pair, k), n, spec, 2)
        static = samples(lambda k, still=still: bilayer(still, still, k), n, spec, 2)
        result = reduce_velocity(moved, static, "bilayer")
        assert result["ratio"] - 1 == pytest.approx(bias, abs=0.006)
        assert "-2.5 % at n = 3 and -1 % at n = 6" in result["note"]


def test_aa_stacking():
    """Cones at +-gamma_1: `manifold` is exact, `bilayer` refuses."""

    def energies(k):
        offsets = np.array([s * 0.3 + t * HBAR_V * np.hypot(*k) for s in (-1, 1) for t in (-1, 1)])
        return np.sort(np.repeat(offsets, 2))[None]

    spec = VelocitySpec(estimators=("manifold", "bilayer"), directions=1)
    static = samples(energies, 3, spec, 2)
    assert reduce_velocity(static, static, "manifold")["v_m_per_s"] == pytest.approx(EXACT, rel=1e-9)
    with pytest.raises(InputError, match="bilayer needs AB stacking"):
        reduce_velocity(static, static, "bilayer")


@pytest.mark.parametrize(
    ("n", "low", "warns"), [(3, 0.0, True), (3, 0.05, True), (3, 0.06, False), (6, 0.03, False)]
)
def test_naive_warns_where_the_artefact_is(n, low, warns, recwarn):
    spec = VelocitySpec.single("naive", (low, 0.1), directions=1)
    still = ideal(n)
    static = samples(lambda k: monolayer(still, k), n, spec, 1)
    result = reduce_velocity(static, static, "naive")
    assert bool(result["warnings"]) == warns == any(w.category is FiniteSizeWarning for w in recwarn)
    assert "Finite-size artefact" in result["note"]


def test_naive_limit_is_twice_the_first_table():
    for n, radius in ((3, 0.027), (6, 0.0135), (9, 0.009), (12, 0.007), (24, 0.0034)):
        assert naive_limit(n) == pytest.approx(2 * radius, rel=0.05)


@pytest.fixture(scope="module")
def thermal_like(graphene_3x3):
    """40 antithetic pairs of uncorrelated displacements of 0.05 Å, S not unity, and the static cell."""
    spec = VelocitySpec(
        estimators=("naive", "manifold", "operator"),
        windows=((0.0, 0.03), (0.03, 0.10), (0.05, 0.10)),
        naive_windows=((0.0, 0.03), (0.0, 0.05)),
        k_points=3,
    )

    def evaluate(atoms, pair, sign):
        bloch = BlochHamiltonian.from_atoms(atoms, tight_binding(atoms, 0.1, cutoff=2.1))
        attrs = {"temperature": 0.0, "pair": pair, "sign": sign}
        return evaluate_entry(atoms, bloch, spec, n_electrons=len(atoms), attrs=attrs)

    parts = [
        evaluate(displaced(graphene_3x3, 0.05, pair, sign), pair, sign)
        for pair in range(40)
        for sign in (1, -1)
    ]
    return merge(parts), evaluate(graphene_3x3, 0, 1)


def test_estimators_agree_on_displaced_cells(thermal_like):
    """E1 and E3 within errors, E1 independent of the window, the error bars small and not zero."""
    manifold = [reduce_velocity(*thermal_like, "manifold", w) for w in thermal_like[0].spec.windows]
    operator = reduce_velocity(*thermal_like, "operator")
    ratios = [result["ratio"] for result in manifold]
    assert max(ratios) - min(ratios) < 0.003
    error = np.hypot(operator["ratio_se"], manifold[0]["ratio_se"])
    assert abs(operator["ratio"] - ratios[0]) < 3 * error + 1e-3
    assert 0 < error < 0.01
    assert operator["n_pairs"] == 40
    assert operator["n_evaluations"] == 80
    assert abs(operator["ratio"] - 1) > 3 * operator["ratio_se"], "the displacements do change the velocity"


@pytest.mark.filterwarnings("ignore::mlepi_core.electrons.notes.FiniteSizeWarning")
def test_naive_slope_is_reduced_by_far_more(thermal_like):
    robust = reduce_velocity(*thermal_like, "manifold")["ratio"]
    narrow, wide = (
        reduce_velocity(*thermal_like, "naive", w)["ratio"] for w in thermal_like[0].spec.naive_windows
    )
    assert narrow < wide < robust - 0.1

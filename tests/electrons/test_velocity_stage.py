"""The stage behind `mlepi velocity`, on stores of tight-binding snapshots."""

import json

import numpy as np
import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.electrons import VELOCITY_COLUMNS, FiniteSizeWarning, VelocitySpec
from mlepi_core.formats.store import LabelEntry, StoreWriter
from mlepi_core.orbitals import Basis
from mlepi_core.stages.velocity import evaluate_stores, static_samples, velocity, velocity_rows
from tests.electrons.tight_binding import displaced, tight_binding

S_ONLY = Basis({"C": (0,)})


def write(path, snapshots, **root):
    """Store of (name, atoms, attributes)."""
    with StoreWriter(path, S_ONLY, root) as writer:
        for name, atoms, attrs in snapshots:
            blocks = tight_binding(atoms, 0.1, cutoff=2.1)
            writer.add(LabelEntry(name, atoms, n_electrons=float(len(atoms)), blocks=blocks, attrs=attrs))
    return path


@pytest.fixture(scope="module")
def stores(graphene, graphene_3x3, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")

    def block(name, pairs):
        snapshots = [
            (
                f"T300_p{pair}_{'+' if sign > 0 else '-'}",
                displaced(graphene_3x3, 0.04, pair, sign),
                {"temperature": 300.0, "pair": pair, "sign": sign, "reference_hash": "abc"},
            )
            for pair in pairs
            for sign in (1, -1)
        ]
        return write(folder / name, snapshots, seed=11, imaginary_policy="floor", n_touched_modes=3)

    return {
        "blocks": [block("b0.h5", range(3)), block("b1.h5", range(3, 5))],
        "static": write(folder / "static.h5", [("cell", graphene_3x3, {})]),
        "primitive": write(folder / "primitive.h5", [("cell", graphene, {})]),
    }


def test_result_file(stores, tmp_path):
    out = tmp_path / "v.json"
    result = velocity(stores["blocks"], stores["static"], "manifold", (0.03, 0.08), out)
    assert json.loads(out.read_text()) == json.loads(json.dumps(result))
    assert set(VELOCITY_COLUMNS) < set(result)
    assert (result["n_pairs"], result["n_evaluations"], result["seed"]) == (5, 10, 11)
    assert (result["imaginary_policy"], result["n_touched_modes"]) == ("floor", 3)
    assert result["ratio_se"] > 0


@pytest.mark.parametrize("estimator", ["manifold", "operator"])
def test_a_smaller_static_cell_is_repeated(stores, estimator):
    whole = velocity(stores["blocks"], stores["static"], estimator)
    repeated = velocity(stores["blocks"], stores["primitive"], estimator)
    assert repeated["v_static_m_per_s"] == pytest.approx(whole["v_static_m_per_s"], rel=1e-10)
    assert repeated["ratio"] == pytest.approx(whole["ratio"], rel=1e-10)


def test_static_against_itself(stores):
    result = velocity(stores["static"], stores["static"], "manifold")
    assert result["ratio"] == 1
    assert (result["n_pairs"], result["v_se_m_per_s"], result["temperature_K"]) == (1, None, None)


def test_naive_warns(stores):
    with pytest.warns(FiniteSizeWarning, match="below 0.054"):
        result = velocity(stores["blocks"], stores["static"], "naive")
    assert "artefact" in result["warnings"][0]


def test_rows_of_a_table(stores):
    spec = VelocitySpec(windows=((0.03, 0.10), (0.05, 0.10)), naive_windows=((0.06, 0.10),), k_points=2)
    samples = evaluate_stores(stores["blocks"], spec)
    rows = velocity_rows(samples, static_samples(stores["primitive"], 3, spec), spec)
    assert [(r["estimator"], r["window_lo_per_A"]) for r in rows] == [
        ("naive", 0.06),
        ("manifold", 0.03),
        ("manifold", 0.05),
        ("operator", None),
    ]
    assert all(np.isfinite(row["ratio"]) for row in rows)


def test_refusals(stores, graphene, graphene_3x3, tmp_path):
    with pytest.raises(InputError, match="pair 0 is given twice"):
        velocity([stores["blocks"][0]] * 2, stores["static"], "manifold")
    with pytest.raises(InputError, match="static_name"):
        velocity(stores["blocks"], stores["blocks"][0], "manifold")
    with pytest.raises(InputError, match="is a 3x3 cell, the samples are 1x1"):
        velocity(stores["primitive"], stores["static"], "manifold")
    two = write(tmp_path / "two.h5", [("a", graphene, {}), ("b", graphene, {})])
    with pytest.raises(InputError, match="entry a is no thermal sample"):
        velocity(two, stores["static"], "manifold")
    with pytest.raises(InputError, match="unknown estimator"):
        velocity(stores["blocks"], stores["static"], "fancy")

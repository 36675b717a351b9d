"""Verb `two-level`: a biased tight-binding model corrected by a few snapshots of the right one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.cli.main import _run
from mlepi_core.formats.store import LabelEntry, StoreWriter
from mlepi_core.orbitals import Basis
from mlepi_core.stages.two_level import two_level_velocity
from mlepi_core.stages.velocity import velocity
from mlepi_core.structures import build_monolayer, build_supercell
from tests.electrons.tight_binding import displaced, tight_binding

PAIRS, COMPUTED = 40, 8


def entry(name, atoms, *, biased: bool, **attrs) -> LabelEntry:
    blocks = tight_binding(atoms, 0.1, cutoff=2.1)
    if biased:  # hoppings too large by a part that grows with their size
        h = blocks.hamiltonian
        blocks = blocks.with_values(h * (1.03 + 0.02 * (np.abs(h) > 2.7)))
    return LabelEntry(name, atoms, n_electrons=float(len(atoms)), blocks=blocks, attrs=attrs)


def write(path: Path, entries) -> Path:
    with StoreWriter(path, Basis({"C": (0,)}), {}) as writer:
        for one in entries:
            writer.add(one)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("two-level")
    cell = build_supercell(build_monolayer(), 3)
    facts = {"temperature": 300.0, "seed": 1}
    moved = {(p, s): displaced(cell, 0.04, p, s) for p in range(PAIRS) for s in (1, -1)}
    predicted = [
        entry(f"T300_p{p}_{'+' if s > 0 else '-'}", atoms, biased=True, pair=p, sign=s, **facts)
        for (p, s), atoms in moved.items()
    ]
    write(path / "predicted.h5", predicted)
    true = [
        entry(f"p{p}{s}", atoms, biased=False, pair=p, sign=s, **facts) for (p, s), atoms in moved.items()
    ]
    write(path / "all.h5", true)
    few = [
        entry(f"run_{k}", atoms, biased=False)
        for k, ((p, _), atoms) in enumerate(moved.items())
        if p % (PAIRS // COMPUTED) == 1
    ]
    write(path / "computed.h5", few)
    write(path / "static.h5", [entry("cell", cell, biased=False)])
    write(path / "static_predicted.h5", [entry("cell", cell, biased=True)])
    return path


@pytest.mark.parametrize("estimator", ["manifold", "operator"])
def test_few_snapshots_give_the_result_of_all(folder, estimator):
    result = two_level_velocity(
        folder / "predicted.h5", folder / "computed.h5", folder / "static.h5", estimator, cost_ratio=1000.0
    )
    exact = velocity(folder / "all.h5", folder / "static.h5", estimator)
    model = velocity(folder / "predicted.h5", folder / "static_predicted.h5", estimator)
    assert (result["n_pairs"], result["n_reference_pairs"]) == (PAIRS, COMPUTED)
    # The same snapshots: what is left is the scatter of the difference over eight pairs.
    assert result["v_m_per_s"] == pytest.approx(exact["v_m_per_s"], abs=4 * result["correction_se_m_per_s"])
    assert abs(model["v_m_per_s"] - exact["v_m_per_s"]) > 10 * result["v_se_m_per_s"]
    assert result["v_model_m_per_s"] == pytest.approx(model["v_m_per_s"])
    assert result["v_static_m_per_s"] == pytest.approx(exact["v_static_m_per_s"])
    assert result["ratio_se"] < 1.3 * exact["ratio_se"]
    assert result["best_pairs_per_reference"] > 30


def test_all_snapshots_give_exactly_the_result_of_dft(folder):
    result = two_level_velocity(
        folder / "predicted.h5", folder / "all.h5", folder / "static.h5", "manifold", (0.03, 0.08)
    )
    exact = velocity(folder / "all.h5", folder / "static.h5", "manifold", (0.03, 0.08))
    assert result["ratio"] == pytest.approx(exact["ratio"], rel=1e-10)
    assert result["ratio_se"] == pytest.approx(exact["ratio_se"], rel=0.01)
    assert (result["window_lo_per_A"], result["window_hi_per_A"]) == (0.03, 0.08)


def test_the_verb_and_its_refusals(folder, tmp_path, capsys):
    common = [
        "--static",
        str(folder / "static.h5"),
        "--estimator",
        "operator",
        "--json",
        str(tmp_path / "o.json"),
    ]
    arguments = ["two-level", str(folder / "predicted.h5"), "--reference", str(folder / "computed.h5")]
    assert _run([*arguments, *common, "--cost-ratio", "500"]) == 0
    assert "predicted pairs for one of DFT" in capsys.readouterr().out
    assert json.loads((tmp_path / "o.json").read_text())["n_reference_pairs"] == COMPUTED
    stranger = displaced(build_supercell(build_monolayer(), 3), 0.04, 999, 1)
    write(tmp_path / "stranger.h5", [entry("other", stranger, biased=False)])
    with pytest.raises(InputError, match="entry other is none of the predicted structures"):
        two_level_velocity(
            folder / "predicted.h5", tmp_path / "stranger.h5", folder / "static.h5", "operator"
        )

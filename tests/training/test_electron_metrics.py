"""Errors of Hamiltonians of any spin: counted elements, free constant, real parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlepi_core.formats.store import LabelEntry, LabelStore
from mlepi_core.training.electron_metrics import evaluate_electron, gauge_row, real_parts, structure_errors

STORES = {
    "none": "bilayer-graphene/rigid.h5",
    "soc": "molybdenum-disulfide/monolayers-2x2.h5",
}


@pytest.fixture(params=STORES)
def entry(request: pytest.FixtureRequest, root: Path) -> LabelEntry:
    with LabelStore(root / "resources" / STORES[request.param]) as store:
        entry = store.read(store.names[0])
    assert entry.blocks.spin == request.param
    return entry


def test_a_shift_along_the_overlap_is_found_and_taken_off(entry: LabelEntry) -> None:
    blocks = entry.blocks
    row = structure_errors(entry, blocks.add_scalar(0.05 * blocks.overlap).hamiltonian)
    assert row["mu"] == pytest.approx(0.05, abs=1e-12)
    assert row["mu_onsite"] == pytest.approx(0.05, abs=1e-12)
    assert row["absolute_aligned"] / row["weight"] < 1e-12
    assert row["absolute"] / row["weight"] > 1e-4


def test_a_shift_of_one_spin_alone_is_half_a_shift(root: Path) -> None:
    with LabelStore(root / "resources" / STORES["soc"]) as store:
        entry = store.read(store.names[0])
    changed = entry.blocks.hamiltonian.copy()
    changed[0] += 0.1 * entry.blocks.overlap
    row = structure_errors(entry, changed)
    assert row["mu"] == pytest.approx(0.05, abs=1e-12)
    assert row["absolute_aligned"] > 0.5 * row["absolute"]


class Shifted:
    """A model whose H is off by `mu` times S; nothing else of it is asked for."""

    baseline = None

    def __init__(self, mu: float) -> None:
        self.mu = mu

    def hamiltonians(self, structures: list, matrices: list) -> list:
        return [matrix.add_scalar(self.mu * matrix.overlap) for matrix in matrices]


def test_gauge_row_has_the_constants_of_label_and_error(entry: LabelEntry) -> None:
    label = entry.blocks
    entry.blocks = label.with_values(hamiltonian=label.empty_hamiltonian()).add_scalar(-0.7 * label.overlap)
    (structure,) = evaluate_electron(Shifted(0.02), [entry])["structures"]
    row = gauge_row(structure)
    assert (row["mu_onsite_eV"], row["mu_all_eV"]) == pytest.approx((-0.7, -0.7))
    assert (row["error_mu_onsite_meV"], row["error_mu_all_meV"]) == pytest.approx((20, 20))
    assert row["mae_aligned_meV"] < 1e-9 < row["mae_meV"]
    assert (row["structure"], row["fermi_level_eV"]) == (entry.name, entry.fermi_level)


def test_every_element_counts_once_for_each_place_in_the_matrix(entry: LabelEntry) -> None:
    """A uniform error e in all elements has the mean |e|; weights are numbers of elements."""
    blocks = entry.blocks
    row = structure_errors(entry, blocks.hamiltonian + 0.003)
    assert row["absolute"] / row["weight"] == pytest.approx(0.003)
    assert row["square"] / row["weight"] == pytest.approx(0.003**2)
    full = blocks.directed()
    assert row["weight"] == full.hamiltonian.size
    assert row["weight_intra"] + row["weight_inter"] == row["weight"]
    onsite = int((blocks.counts**2).sum()) * (blocks.hamiltonian.size // blocks.overlap.size)
    assert row["weight_onsite"] == onsite


def test_real_parts_keep_every_number() -> None:
    values = np.array([[1 + 2j, 3 + 4j], [5 + 6j, 7 + 8j]])
    assert real_parts(values).tolist() == [1, 3, 5, 7, 2, 4, 6, 8]
    assert real_parts(np.array([1.0, 2.0])).tolist() == [1, 2]

"""Structure hash: what changes it and what does not."""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
import pytest

from mlepi_core.structures import (
    build_ab,
    build_supercell,
    build_twisted,
    rattle,
    read_structure,
    structure_hash,
    write_structure,
)


def test_hash_is_16_hexadecimal_digits_and_reproducible() -> None:
    value = structure_hash(build_ab())
    assert len(value) == 16
    assert set(value) <= set(string.hexdigits.lower())
    assert value == structure_hash(build_ab())


def test_noise_of_one_billionth_does_not_change_the_hash_of_common_structures() -> None:
    generator = np.random.default_rng(0)
    for atoms in (build_ab(), build_supercell(build_ab(), 3), build_twisted((1, 1))):
        moved = atoms.copy()
        moved.positions += generator.uniform(-1e-9, 1e-9, moved.positions.shape)
        moved.set_cell(moved.cell.array + generator.uniform(-1e-9, 1e-9, (3, 3)))
        assert structure_hash(moved) == structure_hash(atoms)


def test_the_eight_decimals_of_a_file_do_not_move_a_coordinate_over_an_edge_of_the_grid() -> None:
    edges = (np.arange(10_000, 10_200) + 0.5) * 1e-4 * np.sqrt(2.0)
    exact = edges + 1e-10
    written = np.round(exact, 8)
    crossing = exact[written < edges]
    assert len(crossing) > 50
    for x in crossing[:20]:
        atoms, read = build_ab(), build_ab()
        atoms.positions[0, 0], read.positions[0, 0] = x, np.round(x, 8)
        assert structure_hash(atoms) == structure_hash(read)


@pytest.mark.parametrize("seed", range(20))
def test_writing_and_reading_never_changes_the_hash(seed: int, tmp_path: Path) -> None:
    atoms = rattle(build_supercell(build_ab(), 2), 0.05, seed)
    write_structure(tmp_path / "cell.extxyz", atoms)
    assert structure_hash(read_structure(tmp_path / "cell.extxyz")) == structure_hash(atoms)


def test_everything_that_matters_changes_the_hash() -> None:
    atoms = build_ab()
    variants = [atoms]
    for change in ("position", "cell", "species", "layer", "pbc", "order", "winding"):
        other = atoms.copy()
        if change == "position":
            other.positions[2, 0] += 1e-3
        elif change == "cell":
            other.set_cell(other.cell.array * (1 + 1e-3))
        elif change == "species":
            other.numbers[0] = 5
        elif change == "layer":
            other.arrays["layer"] = 1 - other.arrays["layer"]
        elif change == "pbc":
            other.pbc = True
        elif change == "order":
            other = other[[1, 0, 2, 3]]
        else:
            other.set_array("winding", np.array([0, 0, 1, 0]))
        variants.append(other)
    assert len({structure_hash(variant) for variant in variants}) == len(variants)


def test_zero_winding_and_other_arrays_do_not_count() -> None:
    atoms = build_ab()
    other = atoms.copy()
    other.set_array("winding", np.zeros(4, dtype=int))
    other.set_array("kappa", np.arange(4))
    other.info["note"] = "x"
    assert structure_hash(other) == structure_hash(atoms)
    other.positions[0, 0] = -0.0
    assert structure_hash(other) == structure_hash(atoms)

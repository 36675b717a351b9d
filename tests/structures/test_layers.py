"""Layer labels: bonds, windings, fragments, rotated cells, fallbacks and refusals."""

from __future__ import annotations

import logging
import time

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, mx2
from scipy.spatial.transform import Rotation

from mlepi_core.artefacts import InputError
from mlepi_core.graph import atoms_pairs, relation_masks
from mlepi_core.structures import (
    assign_layers,
    build_ab,
    build_bilayer,
    build_monolayer,
    build_supercell,
    build_twisted,
    ensure_layers,
    interlayer_distances,
    layer_heights,
    rattle,
    ripple,
)
from mlepi_core.structures.bonds import bond_graph, bonds_within


def labels(atoms: Atoms, n_layers: int | None = None) -> list[int]:
    return assign_layers(atoms, n_layers).arrays["layer"].tolist()


def stack(n_layers: int, spacing: float = 3.35, n: int = 3) -> Atoms:
    """Bulk graphite of `n_layers` per cell, AB stacking, periodic along c."""
    atoms = Atoms(pbc=True)
    for number in range(n_layers):
        layer = build_bilayer((1 / 3, 1 / 3), cell_height=n_layers * spacing, distance=spacing)
        layer = layer[[0, 1]] if number % 2 == 0 else layer[[2, 3]]
        layer.positions[:, 2] = number * spacing
        atoms.extend(layer)
        atoms.cell = layer.cell
    del atoms.arrays["layer"]
    return build_supercell(atoms, n) if n > 1 else atoms


@pytest.mark.parametrize("build", [build_ab, build_monolayer, lambda: build_twisted((2, 1))])
def test_labels_of_the_builders_are_found_again(build: object) -> None:
    atoms = build()  # type: ignore[operator]
    assert labels(atoms) == atoms.arrays["layer"].tolist()
    assert "winding" not in assign_layers(atoms).arrays


def test_magic_angle_cell_takes_less_than_two_seconds() -> None:
    atoms = build_twisted((30, 1))
    start = time.perf_counter()
    found = assign_layers(atoms)
    assert time.perf_counter() - start < 2.0
    assert np.array_equal(found.arrays["layer"], atoms.arrays["layer"])


@pytest.mark.parametrize("sigma", [0.05, 0.10, 0.15, 0.20])
def test_rattled_layers_are_still_found(sigma: float) -> None:
    """The bond limit of 2.13 Å holds up to 0.20 Å per coordinate."""
    atoms = rattle(build_supercell(build_ab(), 12), sigma, seed=1)
    assert labels(atoms) == atoms.arrays["layer"].tolist()


def test_order_follows_a1_cross_a2_in_any_orientation() -> None:
    atoms = build_supercell(build_ab(), 3)
    expected = atoms.arrays["layer"].copy()
    turn = Rotation.from_euler("xyz", [1.0, 2.0, -0.5]).as_matrix()
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ turn.T)
    turned.positions = atoms.positions @ turn.T
    assert np.array_equal(labels(turned), expected)
    flipped = atoms.copy()
    flipped.set_cell(atoms.cell.array[[1, 0, 2]])
    assert np.array_equal(labels(flipped), 1 - expected)


def test_labels_do_not_depend_on_the_choice_of_images_or_on_the_order() -> None:
    atoms = build_supercell(build_ab(), 3)
    generator = np.random.default_rng(5)
    moved = atoms.copy()
    moved.positions[:, :3] += generator.integers(-3, 4, (len(atoms), 3)) * [1, 1, 0] @ atoms.cell.array
    order = generator.permutation(len(atoms))
    assert np.array_equal(labels(moved[order]), atoms.arrays["layer"][order])


def test_slab_wrapped_across_the_cell_edge_is_put_together() -> None:
    atoms = build_supercell(build_ab(), 2)
    atoms.pbc = True
    expected = atoms.arrays["layer"].copy()
    atoms.positions[:, 2] -= 6.9  # the lower layer is now at -1.48 Å, and wraps to the top of the cell
    atoms.wrap()
    found = assign_layers(atoms)
    assert np.array_equal(found.arrays["layer"], expected)


def test_winding_of_a_rattled_layer_on_the_cell_edge() -> None:
    atoms = build_supercell(build_ab(), 3)
    atoms.pbc = True
    atoms.positions[:, 2] -= atoms.positions[:, 2].min()
    atoms = rattle(atoms, 0.05, seed=2)
    expected, height = atoms.arrays["layer"].copy(), atoms.positions[:, 2].copy()
    atoms.wrap()
    found = assign_layers(atoms)
    assert np.array_equal(found.arrays["layer"], expected)
    assert set(found.arrays["winding"][expected == 0]) in ({0, 1}, {-1, 0})
    assert not found.arrays["winding"][expected == 1].any()
    means = [height[expected == n].mean() for n in (0, 1)]
    assert interlayer_distances(found) == pytest.approx([means[1] - means[0]], abs=1e-9)


def test_bulk_graphite_intra_and_inter() -> None:
    atoms = assign_layers(stack(2))
    assert sorted(set(atoms.arrays["layer"].tolist())) == [0, 1]
    assert layer_heights(atoms) == pytest.approx([0.0, 3.35])
    i, j, R = atoms_pairs(atoms, 4.0)
    intra, inter = relation_masks(i, j, R, atoms.arrays["layer"], atoms.arrays.get("winding"))
    vertical = np.abs(atoms.positions[j, 2] + R[:, 2] * 6.7 - atoms.positions[i, 2])
    assert np.array_equal(intra, vertical < 1.0)
    assert (inter & (R[:, 2] != 0)).any()


def test_supercell_of_a_stack_along_c_has_more_layers() -> None:
    double = build_supercell(assign_layers(stack(2, n=1)), (2, 2, 2))
    assert len(set(labels(double))) == 4


def test_layers_with_thick_unit_stay_together() -> None:
    """MoS2: three atomic planes are one layer; two of them are two layers, in a slanted stack as well."""
    layer = mx2("MoS2", size=(3, 3, 1), vacuum=8.0)
    layer.pbc = (True, True, False)
    assert set(labels(layer)) == {0}
    upper = layer.copy()
    upper.positions[:, 2] += 6.5
    assert labels(layer + upper) == [0] * 27 + [1] * 27
    bulk_cell = layer.copy()
    bulk_cell.set_cell([*layer.cell.array[:2], layer.cell.array[0] / 9 + [0.0, 0.0, 6.5]])
    bulk_cell.pbc = True
    assert set(labels(bulk_cell)) == {0}


def test_layers_that_merge_at_the_standard_limit_are_separated() -> None:
    """MoTe2: 1.4 times the radii of Te-Te is 3.86 Å, but Te atoms on top of each other are 3.4 Å apart."""
    layer = mx2("MoTe2", a=3.55, thickness=3.60, size=(2, 2, 1), vacuum=8.0)
    layer.pbc = (True, True, False)
    upper = layer.copy()
    upper.positions[:, 2] += 6.98
    atoms = layer + upper
    merged = bond_graph(len(atoms), *bonds_within(atoms, 1.4))
    assert merged.n_components == 1
    assert labels(atoms) == [0] * 12 + [1] * 12
    assert set(labels(layer)) == {0}


def test_strong_ripples_are_harmless() -> None:
    """A common ripple of 2.5 Å makes the height ranges overlap; the order is then judged locally."""
    atoms = build_supercell(build_ab(), (16, 4))
    bent = ripple(atoms, 2.5, seed=4, n_waves=1, min_wavelength=30.0)
    lower, upper = (bent.positions[atoms.arrays["layer"] == n, 2] for n in (0, 1))
    assert lower.max() > upper.min()
    assert labels(bent) == atoms.arrays["layer"].tolist()


def test_fragments_join_the_nearest_layer_and_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    atoms = build_supercell(build_ab(), 3)
    adatom = Atoms("H2", positions=[[1.0, 1.0, 11.0], [3.0, 1.0, 2.5]])
    with caplog.at_level(logging.WARNING):
        found = labels(atoms + adatom)
    assert found == atoms.arrays["layer"].tolist() + [1, 0]
    assert "joined the nearest layer" in caplog.text


def test_fragment_across_the_cell_edge_takes_the_winding_of_its_layer() -> None:
    atoms = build_supercell(build_ab(), 3)
    atoms.pbc = True
    atoms.positions[:, 2] -= atoms.positions[:, 2].min()
    adatom = Atoms("H", positions=[[1.0, 1.0, 14.0 - 2.5]])  # 2.5 Å below the lower layer
    found = assign_layers(atoms + adatom)
    assert found.arrays["layer"][-1] == 0
    assert found.arrays["winding"][-1] == 1
    i, j, R = atoms_pairs(found, 3.5)
    intra, _ = relation_masks(i, j, R, found.arrays["layer"], found.arrays["winding"])
    assert intra[(i == len(atoms)) & (found.arrays["layer"][j] == 0)].all()


def test_an_atom_far_from_everything_is_refused() -> None:
    atoms = build_supercell(build_ab(cell_height=60.0), 2)
    with pytest.raises(InputError, match="atom 16"):
        assign_layers(atoms + Atoms("H", positions=[[0, 0, 59.0]]))


def unbonded_bilayer() -> Atoms:
    """Bilayer whose atoms are all too far apart for a bond, with heights spread by 0.1 Å."""
    atoms = build_supercell(build_ab(lattice_constant=4.2), 6)
    atoms.positions[:, 2] += np.random.default_rng(2).normal(0.0, 0.1, len(atoms))
    return atoms


@pytest.mark.parametrize("n_layers", [None, 2])
def test_without_bonds_heights_decide(n_layers: int | None, caplog: pytest.LogCaptureFixture) -> None:
    atoms = unbonded_bilayer()
    with caplog.at_level(logging.WARNING):
        assert labels(atoms, n_layers) == atoms.arrays["layer"].tolist()
    assert "clustering the heights" in caplog.text


def test_heights_are_unwrapped_in_the_fallback() -> None:
    atoms = unbonded_bilayer()
    atoms.pbc = True
    atoms.positions[:, 2] -= 5.42
    expected = atoms.arrays["layer"].copy()
    atoms.wrap()
    assert np.ptp(atoms.positions[expected == 0, 2]) > 13.0
    found = assign_layers(atoms)
    assert np.array_equal(found.arrays["layer"], expected)
    assert interlayer_distances(found) == pytest.approx([3.16], abs=0.05)


def test_components_that_cross_are_refused() -> None:
    """Two chains, one rising and one falling: each is above the other at one end."""
    x = 0.5 * np.arange(20)
    rising = np.column_stack([x, np.zeros(20), 0.4 * x])
    falling = np.column_stack([x, np.full(20, 1.2), 0.4 * x[::-1]])
    with pytest.raises(InputError, match="no layers of equal size and separate heights"):
        assign_layers(Atoms("He40", positions=np.vstack([rising, falling])))


def test_an_adatom_in_the_primitive_cell_is_no_layer() -> None:
    """Half as many atoms as a layer, but without bonds to its images: endless components are the layers."""
    atoms = build_ab() + Atoms("H", positions=[[0.0, 0.0, 8.58 + 2.5]])
    assert labels(atoms) == [0, 0, 1, 1, 1]


def test_merged_pair_of_three_layers_is_separated_by_height() -> None:
    atoms = stack(3, n=2)
    atoms.pbc = (True, True, False)
    atoms.cell[2, 2] = 20.0
    atoms.positions[0, 2] += 1.675  # an atom half-way between two layers bonds both
    atoms.positions[np.flatnonzero(atoms.positions[:, 2] > 3.0)[0]] = atoms.positions[0] + [0, 0, 1.675]
    assert sorted(np.bincount(labels(atoms, n_layers=3)).tolist()) == [8, 8, 8]


def test_layers_of_different_size_are_accepted_when_heights_agree() -> None:
    graphene = build_supercell(build_monolayer(lattice_constant=2.474), 4)
    silicene = build_supercell(build_monolayer(lattice_constant=2.474 * 4 / 3, elements=("B", "N")), 3)
    silicene.positions[:, 2] += 3.3
    silicene.set_cell(graphene.cell)
    found = labels(graphene + silicene)
    assert found == [0] * 32 + [1] * 18


def test_three_dimensional_network_is_refused() -> None:
    with pytest.raises(InputError, match="three-dimensional"):
        assign_layers(bulk("C", "diamond", a=3.57, cubic=True))


def test_unexpected_number_of_layers_is_refused() -> None:
    with pytest.raises(InputError, match="no 3 layers"):
        assign_layers(build_ab(), n_layers=3)
    assert labels(build_ab(), n_layers=2) == [0, 0, 1, 1]


def test_empty_structure_is_refused() -> None:
    with pytest.raises(InputError, match="no atoms"):
        assign_layers(Atoms())


def test_existing_labels_are_kept_and_checked() -> None:
    atoms = build_ab()
    atoms.arrays["layer"] = np.array([1.0, 1.0, 0.0, 0.0])
    assert ensure_layers(atoms).arrays["layer"].tolist() == [1, 1, 0, 0]
    assert ensure_layers(atoms).arrays["layer"].dtype == np.int64
    atoms.arrays["layer"] = np.array([0.5, 0, 1, 1])
    with pytest.raises(InputError, match="layer"):
        ensure_layers(atoms)
    with pytest.raises(InputError, match="expected 3"):
        ensure_layers(build_ab(), n_layers=3)
    unlabelled = build_ab()
    del unlabelled.arrays["layer"]
    assert ensure_layers(unlabelled).arrays["layer"].tolist() == [0, 0, 1, 1]


def test_input_is_not_changed() -> None:
    atoms = build_ab()
    del atoms.arrays["layer"]
    assign_layers(atoms)
    assert "layer" not in atoms.arrays


def test_flake_without_periodicity() -> None:
    sheet = build_supercell(build_ab(), 4)
    flake = Atoms(sheet.numbers, positions=sheet.positions)
    assert np.array_equal(labels(flake), sheet.arrays["layer"])


def test_offsets_and_ranks_of_the_bond_graph() -> None:
    atoms = build_monolayer()
    i, j, R = bonds_within(atoms, 1.4)
    graph = bond_graph(2, i, j, R)
    assert len(i) == 6
    assert graph.n_components == 1
    assert graph.ranks().tolist() == [2]
    assert not graph.crosses_layers()

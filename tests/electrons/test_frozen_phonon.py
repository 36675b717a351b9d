"""Frozen phonons: response of single atoms from displaced cells, superposition, splitting of the cone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.electrons import BlochHamiltonian, DiracCone, solve
from mlepi_core.electrons.displacement_response import (
    Displaced,
    atom_response,
    ideal_blocks,
    primitive_cell,
    superpose,
)
from mlepi_core.electrons.frozen_phonon import Matrices, coupling_squared, patterns
from mlepi_core.formats.openmx import read_openmx
from mlepi_core.formats.store import LabelStore
from mlepi_core.stages.derivative import opposite_pairs
from mlepi_core.structures import build_ab, build_monolayer, build_supercell, k_point, supercell_map
from tests.electrons.tight_binding import BOND, DECAY, HOPPING, LATTICE_CONSTANT, RAW, tight_binding

DISPLACED = Path(__file__).parents[2] / "resources/bilayer-graphene/phonon-displacements-4x4.h5"
SLOPE = HOPPING * DECAY / BOND
"""Change of the hopping with the bond length, eV/Å."""


def layer_cell(cells: int):
    return build_supercell(build_monolayer(lattice_constant=LATTICE_CONSTANT), (cells, cells, 1))


def slope_matrices(atoms, pattern, overlap=0.0, step=1e-4) -> Matrices:
    """H, S at Gamma and their derivatives along a pattern by central differences."""
    values = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions += sign * step * pattern
        values.append(BlochHamiltonian.from_atoms(moved, tight_binding(moved, overlap)).matrices((0, 0, 0)))
    ideal = BlochHamiltonian.from_atoms(atoms, tight_binding(atoms, overlap)).matrices((0, 0, 0))
    (h1, s1), (h2, s2) = values
    return Matrices(*ideal, (h1 - h2) / (2 * step), (s1 - s2) / (2 * step))


def test_patterns_move_every_atom_by_one_and_not_the_layer():
    atoms = build_supercell(build_ab(), (3, 3, 1))
    for layer in (0, 1):
        members = atoms.arrays["layer"] == layer
        for pattern in patterns(atoms, layer).values():
            assert np.linalg.norm(pattern[members], axis=1) == pytest.approx(np.ones(members.sum()))
            assert np.abs(pattern[~members]).max() == 0
            assert np.abs(pattern.sum(axis=0)).max() < 1e-9


def test_breathing_hexagons_keep_their_shape():
    """A1' lengthens the bonds within a third of the hexagons and shortens those between them."""
    atoms = layer_cell(3)
    moved = atoms.copy()
    moved.positions += 0.01 * patterns(atoms, 0)["A1'"]
    lengths = np.sort(moved.get_all_distances(mic=True)[np.triu_indices(18, 1)])[:27]
    counts = np.unique(np.round(lengths, 5), return_counts=True)
    assert counts[1].tolist() == [9, 18]
    assert counts[0] == pytest.approx([BOND - 0.02, BOND + 0.01], abs=2e-4)


@pytest.mark.parametrize("cells", [3, 6])
@pytest.mark.parametrize("overlap", [0.0, 0.12])
def test_splittings_of_the_nearest_neighbour_model(cells, overlap):
    """6 eta d for both phonons, eta = dt/db, in any cell that folds K to Gamma."""
    atoms = layer_cell(cells)
    states = DiracCone.from_atoms(atoms, n_electrons=len(atoms)).subset
    # The level at the Dirac point is 0.1 eV: E dS counts.
    eta = SLOPE + 0.1 * overlap * DECAY / BOND
    for name, pattern in patterns(atoms, 0).items():
        matrices = slope_matrices(atoms, pattern, overlap)
        assert matrices.splitting(states) == pytest.approx(6 * eta, rel=1e-5), name
        assert matrices.coupling_norm(states) == pytest.approx(6 * eta, rel=1e-5), name
        assert matrices.finite_splitting(states, 1e-3) == pytest.approx(6 * eta, rel=1e-4), name
    assert coupling_squared("A1'", 6.0) == pytest.approx(9 / 2)
    assert coupling_squared("E2g_x", 6.0) == pytest.approx(9 / 4)


def test_valleys_must_meet():
    with pytest.raises(InputError, match="does not fold"):
        patterns(layer_cell(4), 0)


@pytest.fixture(scope="module")
def model_cells():
    """4 x 4 cells of the nearest-neighbour model with one atom of each sublattice displaced."""
    ideal = layer_cell(4)
    move, cells = np.array([0.004, 0.001, 0.005]) * 1e-2, []
    for atom in (0, 16):
        matrices = []
        for sign in (1, -1):
            moved = ideal.copy()
            moved.positions[atom] += sign * move
            matrices.append(tight_binding(moved, 0.12))
        cells.append(Displaced(atom, move, *matrices))
    return ideal, cells


def test_superposition_of_a_short_ranged_model_is_exact(model_cells):
    """Patterns that do not repeat with the displaced 4 x 4 cell, from the responses of single atoms."""
    ideal, cells = model_cells
    primitive = primitive_cell(ideal, 4)
    responses = {k: atom_response(primitive, ideal, cell, (0,)) for k, cell in enumerate(cells)}
    assert max(response.asymmetry for response in responses.values()) < 1e-6
    atoms = build_supercell(primitive, (3, 3, 1))
    generator = np.random.default_rng(1)
    for pattern in (*patterns(atoms, 0).values(), generator.standard_normal((18, 3)) * [1, 1, 0]):
        slopes = superpose(responses, primitive, 3, pattern)
        expected = slope_matrices(atoms, pattern, 0.12)
        dh, ds = BlochHamiltonian.from_atoms(atoms, slopes).matrices((0, 0, 0))
        assert np.abs(dh - expected.d_hamiltonian).max() < 1e-5 * SLOPE
        assert np.abs(ds - expected.d_overlap).max() < 1e-5
    shift = superpose(responses, primitive, 3, np.tile([0.3, -0.2, 0.1], (18, 1)))
    assert np.abs(shift.hamiltonian).max() < 1e-9


def test_too_little_symmetry_or_too_few_displacements(model_cells):
    ideal, cells = model_cells
    primitive = primitive_cell(ideal, 4)
    flat = Displaced(0, np.array([1e-4, 0, 0]), cells[0].plus, cells[0].minus)
    with pytest.raises(InputError, match="do not span space"):
        atom_response(primitive, ideal, flat, (0,))
    response = atom_response(primitive, ideal, cells[0], (0,))
    with pytest.raises(InputError, match="no displacement of an atom like atom 1"):
        superpose({0: response}, primitive, 3, np.ones((18, 3)))


@pytest.fixture(scope="module")
def dft():
    with LabelStore(DISPLACED) as store:
        pairs = opposite_pairs([store.read(name) for name in store.names])
    ideal = pairs[0][0].atoms.copy()
    ideal.positions = np.median([entry.atoms.positions for pair in pairs for entry in pair], axis=0)
    return ideal, pairs


def test_ideal_matrix_of_dft_has_the_bands_of_the_small_cell(dft):
    ideal, pairs = dft
    primitive = primitive_cell(ideal, 4)
    blocks = ideal_blocks(primitive, ideal, [entry.blocks for pair in pairs for entry in pair])
    small, _ = read_openmx(RAW / "bg_ab_prim.scfout.xz")
    k = k_point(primitive.cell.array)
    energies = []
    for atoms, matrix in ((primitive, blocks), (small.atoms, small.blocks)):
        levels = solve(*BlochHamiltonian.from_atoms(atoms, matrix).matrices(k)).energies[:10]
        energies.append(levels - levels[7:9].mean())
    assert np.abs(energies[0] - energies[1]).max() < 2e-3


def test_dft_response_obeys_the_symmetry_of_the_site(dft):
    """Orbital rotations, mirrors and images fit together: 6 operations for 3 unknown directions."""
    ideal, pairs = dft
    primitive = primitive_cell(ideal, 4)
    kappa = supercell_map(ideal, primitive).kappa
    for plus, minus in pairs:
        moves = (plus.atoms.positions - minus.atoms.positions) / 2
        atom = int(np.abs(moves).max(axis=1).argmax())
        cell = Displaced(atom, moves[atom], plus.blocks, minus.blocks)
        response = atom_response(primitive, ideal, cell, (0, 0, 1, 1))
        assert response.asymmetry < 1e-3
        own = (response.sites == [kappa[atom], 0, 0, 0] * 2).all(axis=1)
        gradient = response.values["hamiltonian"][:, own][:, 0]
        assert np.abs(gradient[2]).max() > 1e-2, "the other layer breaks the mirror plane"

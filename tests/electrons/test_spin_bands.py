"""Bands, Fermi level and the stage with spin: spinors against OpenMX, collinear channels, S x 1."""

import csv

import numpy as np
import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.electrons import (
    BlochHamiltonian,
    VelocitySpec,
    eigenvalues,
    evaluate_label,
    fermi_level,
    fermi_level_of,
    gamma_mesh,
    repeat_blocks,
    solve,
    spin_channels,
    velocity_matrices,
)
from mlepi_core.electrons.solver import _eigenvalues_torch
from mlepi_core.formats.band import read_band
from mlepi_core.formats.blocks import BlockMatrix
from mlepi_core.formats.openmx import read_openmx
from mlepi_core.formats.store import LabelEntry, StoreWriter
from mlepi_core.stages.bands import BAND_COLUMNS, bands
from mlepi_core.structures import build_supercell, k_point
from tests.electrons.tight_binding import RAW

K = np.array([0.137, -0.291, 0.0])


@pytest.fixture(scope="module")
def mos2() -> LabelEntry:
    return read_openmx(RAW / "mos2_soc_prim.scfout.xz")[0]


@pytest.fixture(scope="module")
def oxygen() -> LabelEntry:
    return read_openmx(RAW / "o2_spin.scfout.xz")[0]


@pytest.fixture(scope="module")
def bloch(mos2) -> BlochHamiltonian:
    return BlochHamiltonian.from_atoms(mos2.atoms, mos2.blocks)


def as_spinors(blocks: BlockMatrix) -> BlockMatrix:
    """The spinor form of a collinear or spinless matrix."""
    h = blocks.hamiltonian
    up, down = (h[0], h[1]) if blocks.spin == "collinear" else (h, h)
    parts = np.stack([up, 0 * up, 0 * up, down]).astype(complex)
    return blocks.with_values(hamiltonian=parts, spin="soc")


def test_true_spinors_reproduce_openmx_bands(mos2, bloch):
    """Every band at every k of the path; measured 1.2e-8 eV."""
    reference = read_band(RAW / "mos2_soc_prim.Band.xz")
    energies, dropped = eigenvalues(bloch, reference.kpoints)
    assert (dropped, bloch.n_orbitals, bloch.n_states) == (0, 40, 80)
    assert np.abs(energies - reference.energies).max() < 1e-6


def test_matrices_equal_a_slow_sum(mos2, bloch):
    both = mos2.blocks.directed()
    at, n = both.orbital_offsets, both.n_orbitals
    for gauge in ("cell", "atomic"):
        h, s = np.zeros((4, n, n), dtype=complex), np.zeros((n, n), dtype=complex)
        for p, (i, j, *shift) in enumerate(both.pairs.tolist()):
            lever = np.array(shift, dtype=float)
            if gauge == "atomic":
                between = mos2.atoms.positions[j] - mos2.atoms.positions[i]
                lever = lever + between @ np.linalg.inv(mos2.atoms.cell.array)
            phase = np.exp(2j * np.pi * (lever @ K))
            h[:, at[i] : at[i + 1], at[j] : at[j + 1]] += phase * both.block(p)
            s[at[i] : at[i + 1], at[j] : at[j + 1]] += phase * both.block(p, "overlap")
        found = bloch.matrices(K, gauge)
        np.testing.assert_allclose(found[0], np.block([[h[0], h[1]], [h[2], h[3]]]), atol=1e-12)
        np.testing.assert_allclose(found[1], np.kron(np.eye(2), s), atol=1e-12)


def test_derivatives_and_velocities_of_spinors(bloch):
    analytic = bloch.derivatives(K)
    states = solve(*bloch.matrices(K), vectors=True)
    velocity = velocity_matrices(bloch, K, states.energies, states.vectors)
    for x in range(2):
        dk = bloch.fractional(1e-5 * np.eye(3)[x])
        plus, minus = bloch.matrices(K + dk, "atomic"), bloch.matrices(K - dk, "atomic")
        for which in (0, 1):
            numeric = (plus[which] - minus[which]) / 2e-5
            np.testing.assert_allclose(analytic[which][x], numeric, atol=1e-7)
        upper, lower = (eigenvalues(bloch, K + sign * dk)[0][0] for sign in (1, -1))
        np.testing.assert_allclose(np.diagonal(velocity[x]).real, (upper - lower) / 2e-5, atol=1e-5)


def test_torch_path(bloch):
    kpoints = np.array([K, [0, 0, 0]])
    expected, _ = eigenvalues(bloch, kpoints)
    energies, _ = _eigenvalues_torch(bloch, kpoints, None, 5e-4, "cpu")
    np.testing.assert_allclose(energies, expected, atol=1e-9)


def test_supercell_of_spinors_folds_the_bands(mos2, bloch):
    atoms = build_supercell(mos2.atoms, (2, 1, 1))
    folded = BlochHamiltonian.from_atoms(atoms, repeat_blocks(mos2.blocks, (2, 1, 1)))
    unfolded = [(K + [a, 0, 0]) / [2, 1, 1] for a in range(2)]
    expected = np.sort(eigenvalues(bloch, unfolded)[0].ravel())
    np.testing.assert_allclose(eigenvalues(folded, K)[0][0], expected, atol=1e-10)


def test_spinors_without_coupling_are_two_copies(dft_monolayer):
    spinors = BlochHamiltonian.from_atoms(dft_monolayer.atoms, as_spinors(dft_monolayer.blocks))
    plain = BlochHamiltonian.from_atoms(dft_monolayer.atoms, dft_monolayer.blocks)
    energies = eigenvalues(spinors, [K])[0][0]
    np.testing.assert_allclose(energies, np.repeat(eigenvalues(plain, [K])[0][0], 2), atol=1e-9)
    mesh = (6, 6, 1)
    assert fermi_level_of(spinors, mesh=mesh) == pytest.approx(fermi_level_of(plain, mesh=mesh), abs=1e-9)


def test_fermi_level_of_spinors_lies_in_the_gap(mos2, bloch):
    level = fermi_level_of(bloch, mos2.n_electrons, mesh=(6, 6, 1))
    energies = eigenvalues(bloch, [np.array(k_point(mos2.atoms.cell))])[0][0]
    assert energies[25] < level < energies[26]
    assert energies[25] < mos2.fermi_level < energies[26]


def test_collinear_channels_and_their_common_fermi_level(oxygen):
    channels = spin_channels(oxygen.atoms, oxygen.blocks)
    assert list(channels) == ["up", "down"]
    level = fermi_level_of(list(channels.values()), 12, mesh=(1, 1, 1))
    up, down = (eigenvalues(bloch, [[0, 0, 0]])[0][0] for bloch in channels.values())
    assert ((up < level).sum(), (down < level).sum()) == (7, 5)
    spinors = BlochHamiltonian.from_atoms(oxygen.atoms, as_spinors(oxygen.blocks))
    together = eigenvalues(spinors, [[0, 0, 0]])[0][0]
    np.testing.assert_allclose(together, np.sort([*up, *down]), atol=1e-9)
    assert fermi_level_of(spinors, 12, mesh=(1, 1, 1)) == pytest.approx(level, abs=1e-9)
    with pytest.raises(InputError, match="two spin channels"):
        BlochHamiltonian.from_atoms(oxygen.atoms, oxygen.blocks)


def test_filling_of_states_that_hold_one_electron():
    energies = np.array([[-0.3, 0.5]])
    assert fermi_level(energies, [1.0], 1.0, electrons_per_state=1) == pytest.approx(0.1, abs=1e-9)
    with pytest.raises(InputError, match="3 electrons in 2 bands"):
        fermi_level(energies, [1.0], 3, electrons_per_state=1)


def test_mesh_without_time_reversal_is_the_whole_mesh():
    points, weights = gamma_mesh((3, 2, 1), time_reversal=False)
    assert len(points) == 6
    np.testing.assert_allclose(weights, 1 / 6)


def test_velocity_refuses_spin(mos2):
    with pytest.raises(InputError, match="has a Hamiltonian of spin 'soc'"):
        evaluate_label(mos2, VelocitySpec())


@pytest.mark.parametrize(("stem", "n_bands"), [("o2_spin", 26), ("mos2_soc_prim", 80)])
def test_stage_names_the_spin_only_where_there_are_two(tmp_path, stem, n_bands):
    entry, basis = read_openmx(RAW / f"{stem}.scfout.xz")
    with StoreWriter(tmp_path / "s.h5", basis) as writer:
        writer.add(entry)
    (tmp_path / "k.txt").write_text("0 0 0\n0.1 0.2 0\n")
    summary = bands(tmp_path / "s.h5", None, tmp_path / "k.txt", tmp_path / "b.csv")
    assert (summary["n_kpoints"], summary["n_bands"]) == (2, n_bands)
    with open(tmp_path / "b.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    if stem == "mos2_soc_prim":
        assert tuple(rows[0]) == BAND_COLUMNS
        assert len(rows) == 2 * 80
        return
    assert tuple(rows[0]) == (*BAND_COLUMNS, "spin")
    for spin, bloch in spin_channels(entry.atoms, entry.blocks).items():
        written = [float(row["energy_eV"]) for row in rows if row["spin"] == spin]
        assert [row["band"] for row in rows if row["spin"] == spin][:n_bands] == [
            str(n) for n in range(n_bands)
        ]
        expected = eigenvalues(bloch, [[0, 0, 0], [0.1, 0.2, 0]])[0]
        np.testing.assert_allclose(written, expected.ravel(), atol=1e-11)

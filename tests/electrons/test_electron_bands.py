"""Bands from true H and S against OpenMX's own, comparison of bands, the stage."""

import csv

import numpy as np
import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.electrons import (
    BlochHamiltonian,
    band_difference,
    compare_bands,
    eigenvalues,
    k_path,
    path_lengths,
    read_kpoints,
    symmetry_path,
)
from mlepi_core.formats.band import read_band
from mlepi_core.formats.openmx import read_openmx
from mlepi_core.formats.store import StoreWriter
from mlepi_core.stages.bands import BAND_COLUMNS, bands
from tests.electrons.tight_binding import RAW


@pytest.mark.parametrize("name", ["graphene_prim", "bg_ab_prim", "bn_bilayer_prim", "graphene_prim_s2p2d1"])
def test_true_matrices_reproduce_openmx_bands(name):
    entry, _ = read_openmx(RAW / f"{name}.scfout.xz")
    reference = read_band(RAW / f"{name}.Band.xz")
    energies, dropped = eigenvalues(BlochHamiltonian.from_atoms(entry.atoms, entry.blocks), reference.kpoints)
    assert dropped == 0
    assert np.abs(energies - reference.energies).max() < 1e-5


def test_difference_matches_states_by_index_and_removes_one_shift():
    reference = np.array([[-2.0, -0.2, 0.3], [-2.5, -0.4, 0.9]])
    other = reference + 0.5 + np.array([[9.0, 0.01, -0.01], [9.0, 0.03, -0.03]])
    result = band_difference(reference, other, fermi=0.0, window=1.0)
    assert result.n_states == 4
    assert result.shift == pytest.approx(-0.5)
    assert result.rms == pytest.approx(np.sqrt((2 * 0.01**2 + 2 * 0.03**2) / 4))
    assert result.largest == pytest.approx(0.03)
    unaligned = band_difference(reference, other, fermi=0.0, window=1.0, align=False)
    assert unaligned.rms == pytest.approx(np.sqrt(0.5**2 + result.rms**2))
    with pytest.raises(InputError, match="no state within"):
        band_difference(reference, other, fermi=10.0)
    with pytest.raises(InputError, match="shapes"):
        band_difference(reference, other[:1], fermi=0.0)


def test_constant_shift_of_h_does_not_count(dft_monolayer):
    """H + mu S has the same bands up to mu."""
    blocks = dft_monolayer.blocks
    shifted = blocks.with_values(hamiltonian=blocks.hamiltonian + 0.2 * blocks.overlap)
    pair = [BlochHamiltonian.from_atoms(dft_monolayer.atoms, b) for b in (blocks, shifted)]
    k, _ = k_path([[0, 0, 0], [0.5, 0, 0], [1 / 3, 2 / 3, 0]], 5)
    result = compare_bands(*pair, k, window=3.0)
    assert result.shift == pytest.approx(-0.2, abs=1e-9)
    assert result.rms < 1e-9


def test_path():
    k, nodes = k_path([[0, 0, 0], [0.5, 0, 0], [0.5, 0.5, 0]], 4)
    assert len(k) == 9
    np.testing.assert_allclose(k[nodes], [[0, 0, 0], [0.5, 0, 0], [0.5, 0.5, 0]])
    np.testing.assert_allclose(path_lengths(k, 2 * np.eye(3))[nodes], [0, 1, 2])


def test_kpoint_file(tmp_path):
    path = tmp_path / "k.txt"
    path.write_text("# Gamma and K\n0 0 0\n\n0.25, 0.5, 0  # K\n")
    np.testing.assert_allclose(read_kpoints(path), [[0, 0, 0], [0.25, 0.5, 0]])
    path.write_text("0 0 0\n0 0.5\n")
    with pytest.raises(InputError, match="line 2"):
        read_kpoints(path)
    path.write_text("# nothing\n")
    with pytest.raises(InputError, match="holds no k point"):
        read_kpoints(path)
    with pytest.raises(InputError, match="no such"):
        read_kpoints(tmp_path / "absent.txt")


def test_stage_writes_every_band(tmp_path):
    entry, basis = read_openmx(RAW / "graphene_prim.scfout.xz")
    store, points, out = tmp_path / "s.h5", tmp_path / "k.txt", tmp_path / "b.csv"
    with StoreWriter(store, basis) as writer:
        writer.add(entry)
    points.write_text("0 0 0\n0.1 0.2 0\n")
    summary = bands(store, None, points, out)
    assert summary == {"structure": "graphene_prim", "n_kpoints": 2, "n_bands": 16, "n_projected": 0}
    with open(out, newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert tuple(rows[0]) == BAND_COLUMNS
    assert [(r["ik"], r["band"]) for r in rows[:2]] == [("0", "0"), ("0", "1")]
    expected, _ = eigenvalues(
        BlochHamiltonian.from_atoms(entry.atoms, entry.blocks), [[0, 0, 0], [0.1, 0.2, 0]]
    )
    np.testing.assert_allclose([float(r["energy_eV"]) for r in rows], expected.ravel(), atol=1e-11)
    assert len(rows[0]["energy_eV"].split(".")[1]) >= 10


def test_stage_asks_for_a_name_where_there_are_several(tmp_path):
    entry, basis = read_openmx(RAW / "graphene_prim.scfout.xz")
    store, points = tmp_path / "s.h5", tmp_path / "k.txt"
    points.write_text("0 0 0\n")
    with StoreWriter(store, basis) as writer:
        for entry.name in ("first", "second"):
            writer.add(entry)
    with pytest.raises(InputError, match="--structure: first, second"):
        bands(store, None, points, tmp_path / "b.csv")
    assert bands(store, "second", points, tmp_path / "b.csv")["structure"] == "second"


@pytest.mark.parametrize("angle", [60, 120])
def test_path_of_a_hexagonal_cell_follows_the_edge_of_the_zone(angle: int) -> None:
    """|ΓM| : |MK| : |KΓ| = √3 : 1 : 2, for vectors at 60 and at 120 degrees."""
    turn = np.deg2rad(angle)
    cell = np.array([[2.46, 0, 0], [2.46 * np.cos(turn), 2.46 * np.sin(turn), 0], [0, 0, 14.0]])
    k, labels = symmetry_path(cell, 5)
    assert labels == {0: "Γ", 5: "M", 10: "K", 15: "Γ"}
    lengths = np.diff(path_lengths(k, 2 * np.pi * np.linalg.inv(cell).T)[::5])
    assert lengths / lengths[1] == pytest.approx([np.sqrt(3), 1, 2])

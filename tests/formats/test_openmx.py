"""Reader of `.scfout`: exact content of tiny files, identities and bands of real ones, clear refusals."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import eigh

from mlepi_core.artefacts import InputError
from mlepi_core.formats.band import read_band
from mlepi_core.formats.openmx import internal_blocks, read_openmx
from mlepi_core.formats.openmx_out import BOHR, HARTREE, read_out
from mlepi_core.formats.scfout import read_scfout
from mlepi_core.structures import k_point

SPINLESS = ["graphene_prim", "graphene_prim_s2p2d1", "bg_ab_prim", "bn_bilayer_prim"]
WITH_BANDS = [*SPINLESS, "mos2_soc_prim"]
RUNS = [*WITH_BANDS, "o2_spin"]
P = [1, 2, 0]  # y, z, x out of OpenMX's x, y, z
D = [2, 4, 0, 3, 1]  # xy, yz, z2, xz, x2-y2 out of z2, x2-y2, xy, xz, yz
TINY_ORDER = {0: [0, 1, *(2 + m for m in P)], 1: [0, *(1 + m for m in P), *(4 + m for m in D)]}


def _write(tmp_path, content: bytes):
    path = tmp_path / "tiny.scfout"
    path.write_bytes(content)
    return path


# --- exact content ---------------------------------------------------------------------------------


@pytest.mark.parametrize("spin", [0, 1, 3])
def test_tiny_file_is_read_bit_for_bit(tiny, tmp_path, spin):
    source = tiny(spin=spin)
    scfout = read_scfout(_write(tmp_path, source.to_bytes()))
    assert scfout.spin == spin
    assert [tuple(pair) for pair in scfout.pairs.tolist()] == source.pairs
    assert np.array_equal(scfout.offsets, source.offsets)
    for name, key in [
        ("hamiltonian", "H"),
        ("overlap", "S"),
        ("position", "r"),
        ("momentum", "p"),
        ("density", "DM"),
    ]:
        assert np.array_equal(getattr(scfout, name), source.arrays[key]), name
    if spin == 3:
        assert np.array_equal(scfout.hamiltonian_imaginary, source.arrays["iH"])
    assert scfout.atoms.get_chemical_symbols() == ["C", "N"]
    assert scfout.basis.shells == {"C": (0, 0, 1), "N": (0, 1, 2)}
    np.testing.assert_array_equal(scfout.atoms.positions, source.positions * BOHR)
    np.testing.assert_array_equal(scfout.atoms.cell.array, source.cell * BOHR)
    assert (scfout.fermi_level, scfout.temperature) == (-0.15 * HARTREE, 300.0)
    assert scfout.n_electrons == source.n_electrons
    assert scfout.exchange_correlation is None


def test_blocks_are_reordered_and_in_ev(tiny, tmp_path):
    source = tiny()
    blocks = internal_blocks(read_scfout(_write(tmp_path, source.to_bytes()))).directed()
    assert len(blocks.pairs) == len(source.pairs)
    for p, pair in enumerate(source.pairs):
        [q] = np.flatnonzero((blocks.pairs == pair).all(axis=1))
        order = np.ix_(TINY_ORDER[pair[0]], TINY_ORDER[pair[1]])
        expected = source.block(source.arrays["H"][0], p)[order] * HARTREE
        np.testing.assert_allclose(blocks.block(q), expected, rtol=0, atol=1e-14)
        expected = source.block(source.arrays["S"], p)[order]
        np.testing.assert_allclose(blocks.block(q, "overlap"), expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("spin", [1, 3])
def test_parts_of_spin_are_reordered_and_hermitian(tiny, tmp_path, spin):
    """up and down; or uu, ud, du, dd with du from the partner's ud: iHks 0, 1, 2 belong to uu, dd, ud."""
    source = tiny(spin=spin)
    half = internal_blocks(read_scfout(_write(tmp_path, source.to_bytes())))
    assert half.spin == {1: "collinear", 3: "soc"}[spin]
    blocks = half.directed()
    h, imaginary = source.arrays["H"], source.arrays["iH"]
    ud = h[-2] + 1j * (h[-1] + imaginary[2])
    for p, pair in enumerate(source.pairs):
        [q] = np.flatnonzero((blocks.pairs == pair).all(axis=1))
        r = source.pairs.index((pair[1], pair[0], *(-x for x in pair[2:])))
        expected = [source.block(part, p) for part in h[:2]]
        if spin == 3:
            up, down = (expected[s] + 1j * source.block(imaginary[s], p) for s in (0, 1))
            expected = [up, source.block(ud, p), source.block(ud, r).conj().T, down]
        order = np.ix_(TINY_ORDER[pair[0]], TINY_ORDER[pair[1]])
        for part, values in zip(blocks.block(q), expected, strict=True):
            np.testing.assert_allclose(part, values[order] * HARTREE, rtol=0, atol=1e-13)


@pytest.mark.parametrize("part", [0, 1])
def test_spinor_copies_that_differ_are_refused(tiny, tmp_path, part):
    source = tiny(spin=3)
    source.arrays["iH"][part, source.offsets[1]] += 1e-6
    scfout = read_scfout(_write(tmp_path, source.to_bytes()))
    with pytest.raises(InputError, match="hamiltonian: Hermitian copies differ by"):
        internal_blocks(scfout)


def test_settings_come_from_the_input_text(tiny, tmp_path):
    entry, _ = read_openmx(_write(tmp_path, tiny().to_bytes()))
    assert entry.name == "tiny"
    assert entry.attrs["kgrid"].tolist() == [3, 2, 1]
    assert (entry.attrs["xc"], entry.attrs["cutoff_ry"]) == ("GGA-PBE", 123.0)
    assert (entry.energy, entry.forces, entry.converged) == (None, None, None)


@pytest.mark.parametrize(("spin", "sets"), [(0, 1), (1, 2), (3, 4)])
def test_optional_vxc_tail(tiny, tmp_path, spin, sets):
    source = tiny(spin=spin, tail_sets=sets)
    scfout = read_scfout(_write(tmp_path, source.to_bytes()))
    assert np.array_equal(scfout.exchange_correlation, source.arrays["Vxc"])


# --- refusals --------------------------------------------------------------------------------------


def test_every_truncation_is_refused(tiny, tmp_path):
    content = tiny().to_bytes()
    for length in [0, 3, 27, 28, *range(40, len(content), 997), len(content) - 1]:
        with pytest.raises(InputError, match="truncated in field"):
            read_scfout(_write(tmp_path, content[:length]))
    with_tail = tiny(tail_sets=1).to_bytes()
    for length in [len(content) + 1, len(with_tail) - 1]:
        with pytest.raises(InputError, match="is truncated or was appended to"):
            read_scfout(_write(tmp_path, with_tail[:length]))


@pytest.mark.parametrize("extra", [b"\0", b"openmx.out appended\n" * 40])
def test_bytes_after_the_end_are_refused(tiny, tmp_path, extra):
    with pytest.raises(InputError, match="was appended to"):
        read_scfout(_write(tmp_path, tiny().to_bytes() + extra))


@pytest.mark.parametrize(
    ("version", "message"),
    [(0, "OpenMX 3.8 or older"), (2, "version 2; version 3"), (4, "version 4; version 3")],
)
def test_other_versions_are_refused(tiny, tmp_path, version, message):
    with pytest.raises(InputError, match=message):
        read_scfout(_write(tmp_path, tiny(version=version).to_bytes()))


def test_header_of_openmx_38_is_refused(tmp_path):
    header = np.array([2, 0, 2, 0, 0, 728], "<i4").tobytes()  # six integers: no version, no order_max
    with pytest.raises(InputError, match=r"OpenMX 3\.8 or older.*3\.9"):
        read_scfout(_write(tmp_path, header + bytes(4000)))


def test_foreign_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"not an \.scfout file"):
        read_scfout(_write(tmp_path, b"System.Name graphene\n" * 100))
    with pytest.raises(InputError, match="no such file"):
        read_scfout(tmp_path / "absent.scfout")


def test_wrong_electron_count_is_refused(tiny, tmp_path):
    source = tiny()
    source.n_electrons += 1e-6
    with pytest.raises(InputError, match=re.escape("2 Tr(DM S)")):
        read_scfout(_write(tmp_path, source.to_bytes()))


@pytest.mark.parametrize(("key", "name"), [("H", "hamiltonian"), ("S", "overlap")])
def test_different_hermitian_copies_are_refused(tiny, tmp_path, key, name):
    source = tiny()
    flat = source.arrays[key].reshape(-1)
    start = source.offsets[1]  # first entry of block (0, 0, +1)
    flat[start] += 1e-6
    source.__dict__["n_electrons"] = 2.0 * float((source.arrays["DM"][0] * source.arrays["S"]).sum())
    scfout = read_scfout(_write(tmp_path, source.to_bytes()))
    with pytest.raises(InputError, match=f"{name}: Hermitian copies differ by"):
        internal_blocks(scfout)


def test_missing_partner_is_refused(tiny, tmp_path):
    neighbours = (((0, 0), (0, 1), (1, 0), (0, 2)), ((1, 0),))
    scfout = read_scfout(_write(tmp_path, tiny(neighbours=neighbours).to_bytes()))
    with pytest.raises(InputError, match="no Hermitian partner"):
        internal_blocks(scfout)


def test_species_must_fit_the_orbitals(tiny, tmp_path):
    source = tiny()
    source.text = source.text.replace("C6.0-s2p1", "C6.0-s2p2")
    with pytest.raises(InputError, match="orbitals per atom do not fit"):
        read_scfout(_write(tmp_path, source.to_bytes()))


def test_two_bases_of_one_element_are_refused(tiny, tmp_path):
    source = tiny()
    source.text = source.text.replace("N6.0-s1p1d1 N_PBE19", "C6.0-s1p1d1 C_PBE19")
    with pytest.raises(InputError, match="C has two bases"):
        read_scfout(_write(tmp_path, source.to_bytes()))


def test_out_file_of_another_run_is_refused(raw, tmp_path):
    with pytest.raises(InputError, match="belongs to another run: other species"):
        read_openmx(raw / "graphene_prim.scfout.xz", out=raw / "bg_ab_prim.out.xz")
    with pytest.raises(InputError, match="belongs to another run: positions"):
        read_openmx(raw / "graphene_prim.scfout.xz", out=raw / "graphene_prim_s2p2d1.out.xz")


# --- real files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stem", RUNS)
def test_electron_count_of_real_files(raw_scfout, stem):
    scfout = raw_scfout(stem)
    expected = {"graphene_prim": 8, "graphene_prim_s2p2d1": 8, "o2_spin": 12, "mos2_soc_prim": 26}.get(
        stem, 16
    )
    assert scfout.n_electrons == expected
    assert scfout.electron_count() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("stem", RUNS)
def test_band_energy_of_real_files(raw, raw_scfout, stem):
    out = read_out(raw / f"{stem}.out.xz")
    assert raw_scfout(stem).band_energy() == pytest.approx(out.band_energy_ha, abs=1e-10)


@pytest.mark.parametrize("stem", RUNS)
def test_wrong_band_energy_is_refused(raw, stem, monkeypatch):
    import mlepi_core.formats.openmx as reader

    true_out = reader.read_out
    monkeypatch.setattr(
        reader,
        "read_out",
        lambda *args: replace(true_out(*args), band_energy_ha=true_out(*args).band_energy_ha + 1e-7),
    )
    with pytest.raises(InputError, match=re.escape("2 Tr(DM H)")):
        read_openmx(raw / f"{stem}.scfout.xz")


@pytest.mark.parametrize("stem", WITH_BANDS)
def test_bands_agree_with_openmx(raw, stem):
    """True H and S through the reader against OpenMX's own eigenvalues; measured 2e-8 eV."""
    entry, _ = read_openmx(raw / f"{stem}.scfout.xz")
    bands = read_band(raw / f"{stem}.Band.xz")
    assert entry.fermi_level == pytest.approx(bands.fermi_level, abs=1e-10)
    energies = np.array([_eigenvalues(entry.blocks, k) for k in bands.kpoints])
    assert np.abs(energies - bands.energies).max() < 1e-6


def _eigenvalues(blocks, k):
    full = blocks.directed()
    at = full.orbital_offsets
    H = np.zeros((*full.hamiltonian_shape[:-1], blocks.n_orbitals, blocks.n_orbitals), dtype=complex)
    S = np.zeros(H.shape[-2:], dtype=complex)
    for p, (i, j, *R) in enumerate(full.pairs.tolist()):
        window = np.s_[..., at[i] : at[i + 1], at[j] : at[j + 1]]
        phase = np.exp(2j * np.pi * np.dot(k, R))
        H[window] += phase * full.block(p)
        S[window] += phase * full.block(p, "overlap")
    if blocks.spin == "soc":
        H, S = np.block([[H[0], H[1]], [H[2], H[3]]]), np.kron(np.eye(2), S)
    return eigh(H, S, eigvals_only=True)


def test_oxygen_molecule_is_a_triplet(raw):
    """Seven electrons up and five down, whose highest pairs of levels are the pi* orbitals."""
    entry, _ = read_openmx(raw / "o2_spin.scfout.xz")
    assert (entry.n_electrons, entry.converged) == (12, True)
    assert entry.attrs["total_spin"] == pytest.approx(1, abs=1e-9)
    assert entry.forces.shape == (2, 3)
    up, down = (_eigenvalues(entry.blocks.channel(s), [0, 0, 0]) - entry.fermi_level for s in (0, 1))
    assert ((up < 0).sum(), (down < 0).sum()) == (7, 5)
    assert up[6] - up[5] < 1e-6
    assert down[6] - down[5] < 1e-6
    assert down[5] - up[5] == pytest.approx(2.44, abs=0.01)


def test_spin_splitting_of_mos2(raw):
    """Kramers pairs at Gamma; at K the valence band splits by 0.15 eV (Zhu et al., PRB 84, 153402, 2011)."""
    entry, _ = read_openmx(raw / "mos2_soc_prim.scfout.xz")
    assert entry.blocks.time_odd_rms() < 1e-9
    gamma = _eigenvalues(entry.blocks, [0, 0, 0])
    assert np.abs(gamma[::2] - gamma[1::2]).max() < 1e-8
    k = np.array(k_point(entry.atoms.cell))
    at_k = _eigenvalues(entry.blocks, k)
    assert at_k[25] - at_k[24] == pytest.approx(0.148, abs=0.01)
    np.testing.assert_allclose(_eigenvalues(entry.blocks, -k), at_k, atol=1e-8)


def test_dirac_point_of_graphene(raw):
    entry, _ = read_openmx(raw / "graphene_prim.scfout.xz")
    at_k = _eigenvalues(entry.blocks, [1 / 3, 2 / 3, 0])
    assert np.abs(at_k[3:5] - entry.fermi_level).max() < 1e-3


@pytest.mark.parametrize("stem", SPINLESS)
def test_overlaps_rotate_as_the_orbital_order_says(raw, stem):
    """S is two-centre: s-p blocks lie along the bond, s-d blocks are the d harmonics of the bond,
    p-p blocks are (sigma - pi) u u^T + pi. A wrong order or sign is off by 1e-2."""
    entry, basis = read_openmx(raw / f"{stem}.scfout.xz")
    blocks, atoms = entry.blocks.directed(), entry.atoms
    worst = 0.0
    for p, (i, j, *R) in enumerate(blocks.pairs.tolist()):
        vector = atoms.positions[j] + R @ atoms.cell.array - atoms.positions[i]
        distance = np.linalg.norm(vector)
        if distance < 0.1:
            continue
        x, y, z = vector / distance
        harmonics = {
            1: np.array([y, z, x]),
            2: np.sqrt(3) * np.array([x * y, y * z, (3 * z * z - 1) / 12**0.5, x * z, (x * x - y * y) / 2]),
        }
        shells = [(l, part) for l, part in zip(
            basis.shells_of(int(atoms.numbers[j])), basis.shell_slices(int(atoms.numbers[j])), strict=True
        )]  # fmt: skip
        block = blocks.block(p, "overlap")
        for l, part in shells[1:]:
            if l == 0:
                continue
            row = block[0, part]
            worst = max(worst, np.abs(row - (row @ harmonics[l]) * harmonics[l]).max())
            if l == 1:
                u = harmonics[1]
                square = block[shells[2][1], part]
                sigma = u @ square @ u
                pi = (np.trace(square) - sigma) / 2
                worst = max(worst, np.abs(square - (sigma - pi) * np.outer(u, u) - pi * np.eye(3)).max())
    assert worst < 1e-8

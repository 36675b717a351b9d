"""DeepH folders old and new: exact round trips of real results, what the files hold, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase import Atoms

from mlepi_core.artefacts import InputError
from mlepi_core.cli.main import _run
from mlepi_core.formats.deeph import KINDS, read_deeph, write_deeph
from mlepi_core.formats.openmx import read_openmx
from mlepi_core.formats.scfout import read_scfout
from mlepi_core.formats.store import LabelEntry, LabelStore
from mlepi_core.orbitals import Basis
from mlepi_core.stages.convert import convert

RAW = Path(__file__).parents[2] / "resources" / "openmx-raw"
GRAPHENE = RAW / "graphene_prim.scfout.xz"


def written(tmp_path: Path, kind: str, raw: Path) -> tuple[LabelEntry, Basis, LabelEntry, Basis]:
    entry, basis = read_openmx(raw)
    folder = tmp_path / kind
    folder.mkdir()
    write_deeph(folder, kind, entry, basis)
    return entry, basis, *read_deeph(folder, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("raw", sorted(RAW.glob("*.scfout*")), ids=lambda path: path.name.split(".")[0])
def test_round_trip_is_exact(tmp_path: Path, kind: str, raw: Path) -> None:
    """H, S, basis and Fermi level bit by bit; only the new format groups atoms by element."""
    entry, basis = read_openmx(raw)
    if entry.blocks.spin == "collinear":
        with pytest.raises(InputError, match="none and soc only"):
            write_deeph(tmp_path, kind, entry, basis)
        return
    entry, basis, back, basis_back = written(tmp_path, kind, raw)
    order = np.argsort(entry.atoms.numbers, kind="stable")
    if kind == "deeph-legacy" or np.array_equal(order, np.arange(len(order))):
        np.testing.assert_array_equal(back.blocks.pairs, entry.blocks.pairs)
        np.testing.assert_array_equal(back.blocks.hamiltonian, entry.blocks.hamiltonian)
        np.testing.assert_array_equal(back.blocks.overlap, entry.blocks.overlap)
    assert basis_back == basis
    assert back.blocks.spin == entry.blocks.spin
    assert back.fermi_level == entry.fermi_level
    np.testing.assert_array_equal(
        back.atoms.numbers, entry.atoms.numbers[order] if kind == "deeph" else entry.atoms.numbers
    )
    np.testing.assert_allclose(back.atoms.cell.array, entry.atoms.cell.array, rtol=0, atol=1e-15)


def test_legacy_blocks_are_those_of_openmx(tmp_path: Path) -> None:
    """Names [Rx, Ry, Rz, i, j] with atoms from 1, OpenMX's order of orbitals, both copies, column vectors."""
    entry, *_ = written(tmp_path, "deeph-legacy", GRAPHENE)
    folder, raw = tmp_path / "deeph-legacy", read_scfout(GRAPHENE)
    np.testing.assert_allclose(np.loadtxt(folder / "lat.dat").T, entry.atoms.cell.array)
    np.testing.assert_allclose(np.loadtxt(folder / "site_positions.dat").T, entry.atoms.positions)
    reciprocal = np.loadtxt(folder / "rlat.dat").T
    np.testing.assert_allclose(reciprocal @ entry.atoms.cell.array.T, 2 * np.pi * np.eye(3), atol=1e-12)
    assert (folder / "orbital_types.dat").read_text() == "0 0 1 1\n0 0 1 1\n"
    with h5py.File(folder / "overlaps.h5") as file:
        assert len(file) == len(raw.pairs)
        for p, (i, j, *r) in enumerate(raw.pairs.tolist()):
            block = raw.overlap[raw.offsets[p] : raw.offsets[p + 1]].reshape(8, 8)
            # averaged with its Hermitian partner
            np.testing.assert_allclose(file[str([*r, i + 1, j + 1])][()], block, atol=1e-9)


def test_new_folder_counts_from_zero_and_groups_elements(tmp_path: Path) -> None:
    entry, basis = read_openmx(GRAPHENE)
    other = next(raw for raw in sorted(RAW.glob("*.scfout*")) if len(read_openmx(raw)[1].species) == 2)
    mixed, both = read_openmx(other)
    folder = tmp_path / "new"
    folder.mkdir()
    write_deeph(folder, "deeph", entry, basis)
    facts = json.loads((folder / "info.json").read_text())
    assert facts["elements_orbital_map"] == {"C": [0, 0, 1, 1]}
    assert (facts["atoms_quantity"], facts["orbits_quantity"], facts["spinful"]) == (2, 16, False)
    with h5py.File(folder / "hamiltonian.h5") as h, h5py.File(folder / "overlap.h5") as s:
        np.testing.assert_array_equal(h["atom_pairs"][:], s["atom_pairs"][:])
        assert h["atom_pairs"][:, 3:].min() == 0
        assert h["chunk_boundaries"][-1] == len(h["entries"]) == 64 * len(h["atom_pairs"])
    moved = tmp_path / "moved"
    moved.mkdir()
    write_deeph(moved, "deeph", mixed, both)
    back, _ = read_deeph(moved, "deeph")
    assert (np.diff(back.atoms.numbers) >= 0).all()
    assert sorted(np.abs(back.blocks.hamiltonian).ravel()) == sorted(np.abs(mixed.blocks.hamiltonian).ravel())


def test_folder_of_many_in_one_command_and_back(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    names = [GRAPHENE, RAW / "bg_ab_prim.scfout.xz"]
    for kind in KINDS:
        assert _run(["convert", *map(str, names), str(tmp_path / kind), "--to", kind]) == 0
        assert sorted(path.name for path in (tmp_path / kind).iterdir()) == ["bg_ab_prim", "graphene_prim"]
        assert _run(["convert", str(tmp_path / kind), str(tmp_path / f"{kind}.h5")]) == 0
        with LabelStore(tmp_path / f"{kind}.h5") as store:
            assert sorted(store.names) == ["bg_ab_prim", "graphene_prim"]
            expected = read_openmx(GRAPHENE)[0]
            np.testing.assert_array_equal(store.read("graphene_prim").blocks.overlap, expected.blocks.overlap)
    assert _run(["convert", str(GRAPHENE), str(tmp_path / "deeph"), "--to", "deeph"]) == 2
    assert "is not an empty folder" in capsys.readouterr().err


def test_wrong_order_of_orbitals_is_found_by_the_overlap(tmp_path: Path) -> None:
    written(tmp_path, "deeph-legacy", GRAPHENE)
    folder = tmp_path / "deeph-legacy"
    with h5py.File(folder / "overlaps.h5", "r+") as file:
        for key in list(file):
            block = file[key][()]
            swap = [0, 1, 3, 2, 4, 6, 5, 7]  # y, x, z
            file[key][...] = block[np.ix_(swap, swap)]
    with pytest.raises(InputError, match="axial symmetry"):
        convert(folder, tmp_path / "wrong.h5")
    assert not (tmp_path / "wrong.h5").exists()
    assert convert(folder, tmp_path / "wrong.h5", check_overlap=False)["n_structures"] == 1


def break_file(folder: Path, what: str) -> None:
    if what == "truncated":
        path = folder / "hamiltonians.h5"
        path.write_bytes(path.read_bytes()[:2000])
    elif what == "spin":
        (folder / "info.json").write_text('{"isspinful": true}')
    elif what == "no flag":
        (folder / "info.json").write_text("{}")
    elif what == "atoms":
        (folder / "element.dat").write_text("6\n6\n6\n")
    elif what == "orbitals":
        (folder / "orbital_types.dat").write_text("0 0 1 1\n0 1\n")
    elif what == "Hermitian":
        with h5py.File(folder / "hamiltonians.h5", "r+") as file:
            file["[0, 0, 0, 1, 2]"][0, 0] += 1e-2
    elif what == "number":
        with h5py.File(folder / "hamiltonians.h5", "r+") as file:
            file["[0, 0, 0, 1, 2]"][0, 0] = np.nan
    elif what == "missing":
        (folder / "lat.dat").unlink()


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("truncated", "not a complete HDF5 file"),
        ("spin", r"is \(8, 8\), the orbitals need \(16, 16\)"),
        ("no flag", "lacks isspinful"),
        ("atoms", "column vectors"),
        ("orbitals", "atoms of C differ"),
        ("Hermitian", "Hermitian copies differ by 1.0e-02"),
        ("number", "values that are no numbers"),
        ("missing", "lat.dat: cannot be read"),
    ],
)
def test_damage_is_named(tmp_path: Path, what: str, words: str) -> None:
    written(tmp_path, "deeph-legacy", GRAPHENE)
    break_file(tmp_path / "deeph-legacy", what)
    with pytest.raises(InputError, match=words):
        read_deeph(tmp_path / "deeph-legacy", "deeph-legacy")


def test_forces_alone_cannot_be_written(tmp_path: Path) -> None:
    entry = LabelEntry("forces", Atoms("C2", positions=[[0, 0, 0], [0, 0, 1.4]], cell=[5, 5, 5]))
    with pytest.raises(InputError, match="has neither H nor S"):
        write_deeph(tmp_path, "deeph", entry, Basis({"C": (0, 1)}))

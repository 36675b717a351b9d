"""Structure files through ASE, and the `build` stage."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms

from mlepi_core.artefacts import InputError
from mlepi_core.stages.structures import build
from mlepi_core.structures import build_ab, build_supercell, read_frames, read_structure, write_structure


def test_layers_and_maps_survive_the_file(tmp_path: Path) -> None:
    atoms = build_supercell(build_ab(), 2)
    path = tmp_path / "new" / "cell.extxyz"
    write_structure(path, atoms)
    again = read_structure(path)
    for name in ("layer", "kappa", "cell_index", "numbers"):
        assert np.array_equal(again.arrays[name], atoms.arrays[name])
    assert np.abs(again.positions - atoms.positions).max() < 1e-8
    assert np.array_equal(again.cell.array, atoms.cell.array)
    assert again.pbc.tolist() == [True, True, False]
    assert [file.name for file in path.parent.iterdir()] == ["cell.extxyz"]


@pytest.mark.parametrize("name", ["POSCAR", "cell.cif", "cell.xsf"])
def test_other_formats_get_their_layers_from_bonds(name: str, tmp_path: Path) -> None:
    atoms = build_supercell(build_ab(), 2)
    ase.io.write(tmp_path / name, atoms)
    again = read_structure(tmp_path / name)
    assert len(again) == 16
    assert np.bincount(again.arrays["layer"]).tolist() == [8, 8]


def test_one_of_several_frames_is_chosen_as_in_ase(tmp_path: Path) -> None:
    path = tmp_path / "two.extxyz"
    write_structure(path, [build_ab(), build_ab(distance=3.5)])
    assert len(read_frames(path)) == 2
    with pytest.raises(InputError, match=r"2 structures; choose one, such as two\.extxyz@0"):
        read_structure(path)
    assert np.ptp(read_structure(f"{path}@1").positions[:, 2]) == pytest.approx(3.5)


def test_unreadable_files_are_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.extxyz: no such file"):
        read_structure(tmp_path / "absent.extxyz")
    (tmp_path / "bad.extxyz").write_text("4\nnonsense\nC 0 0\n")
    with pytest.raises(InputError, match="ASE cannot read"):
        read_structure(tmp_path / "bad.extxyz")
    ase.io.write(tmp_path / "flake.xyz", Atoms("C2", positions=[[0, 0, 0], [1.4, 0, 0]]), format="xyz")
    with pytest.raises(InputError, match="not periodic"):
        read_structure(tmp_path / "flake.xyz")
    crowded = build_ab()
    crowded.positions[1] = crowded.positions[0] + [0.1, 0, 0]
    write_structure(tmp_path / "crowded.extxyz", crowded)
    with pytest.raises(InputError, match="atoms 0 and 1 are closer"):
        read_structure(tmp_path / "crowded.extxyz")


def test_a_missing_structure_stays_missing_when_writing_fails(tmp_path: Path) -> None:
    atoms = build_ab()
    atoms.arrays["bad"] = np.empty((4, 2, 2), dtype=object)
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever ASE raises
        write_structure(tmp_path / "cell.extxyz", atoms)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "options", "count"),
    [
        ("ab", {"size": (3, 3)}, 36),
        ("aa", {}, 4),
        ("shift", {"shift": (0.5, 0.5), "size": (2, 1)}, 8),
        ("twist", {"index": (1, 1)}, 28),
        ("monolayer", {"size": (2, 2)}, 8),
        ("ab", {"elements": ("B", "N"), "distance": 3.3}, 4),
    ],
)
def test_build_writes_labelled_structures(kind: str, options: dict, count: int, tmp_path: Path) -> None:
    atoms = build(kind, tmp_path / "out.extxyz", **options)
    again = read_structure(tmp_path / "out.extxyz")
    assert len(atoms) == len(again) == count
    assert np.array_equal(again.arrays["layer"], atoms.arrays["layer"])


def test_build_from_file_assigns_layers_and_repeats(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "POSCAR", build_ab())
    atoms = build("file", tmp_path / "out.extxyz", file=tmp_path / "POSCAR", size=(2, 2))
    assert np.bincount(atoms.arrays["layer"]).tolist() == [8, 8]


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("bc", {}, "'bc' is unknown"),
        ("shift", {}, "shift: missing"),
        ("twist", {}, "index: missing"),
        ("file", {}, "file: missing"),
        ("ab", {"shift": (0.1, 0.1)}, "shift: belongs to kind shift"),
        ("twist", {"index": (1, 1, 1)}, "index"),
        ("twist", {"index": (2, 4)}, "coprime"),
        ("ab", {"size": (0, 1)}, "supercell"),
        ("ab", {"size": (2, 2, 2)}, "size"),
        ("monolayer", {"distance": 3.0}, "distance: has no effect"),
        ("file", {"file": "x", "lattice_constant": 2.4}, "lattice_constant: has no effect"),
    ],
)
def test_build_refuses_wrong_parameters_and_writes_nothing(
    kind: str, options: dict, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        build(kind, tmp_path / "out.extxyz", **options)
    assert not list(tmp_path.iterdir())

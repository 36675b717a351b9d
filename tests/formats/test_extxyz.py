"""Store entries to extended XYZ and back."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.io import read

from mlepi_core.artefacts import InputError
from mlepi_core.formats.extxyz import read_extxyz, write_extxyz
from mlepi_core.formats.store import LabelEntry


def _entry(name: str, **labels) -> LabelEntry:
    rng = np.random.default_rng(len(name))
    atoms = Atoms("C2BN", positions=rng.normal(size=(4, 3)), cell=[[2.5, 0, 0], [1.2, 2.1, 0], [0, 0, 14]])
    atoms.pbc = (True, True, False)
    atoms.set_array("layer", np.array([0, 1, 0, 1]))
    return LabelEntry(name=name, atoms=atoms, **labels)


def test_round_trip(tmp_path):
    forces = np.random.default_rng(0).normal(size=(4, 3))
    full = _entry(
        "full",
        energy=-317.123456789012,
        forces=forces,
        fermi_level=-3.5,
        n_electrons=16.0,
        converged=False,
        split="test",
    )
    path = tmp_path / "out.xyz"
    assert write_extxyz(path, [full, _entry("bare")]) == 2
    again, bare = read_extxyz(path)
    assert (again.name, again.split, again.converged) == ("full", "test", False)
    assert again.energy == pytest.approx(full.energy, abs=1e-8)
    assert (again.fermi_level, again.n_electrons) == (-3.5, 16.0)
    np.testing.assert_allclose(again.forces, forces, atol=1e-8)
    np.testing.assert_allclose(again.atoms.positions, full.atoms.positions, atol=1e-8)
    np.testing.assert_allclose(again.atoms.cell, full.atoms.cell, atol=1e-12)
    assert again.atoms.arrays["layer"].tolist() == [0, 1, 0, 1]
    assert again.atoms.pbc.tolist() == [True, True, False]
    assert bare.name == "bare"
    assert (bare.energy, bare.forces, bare.converged, bare.split) == (None, None, None, None)


def test_ase_finds_energy_and_forces(tmp_path):
    path = tmp_path / "out.extxyz"
    write_extxyz(path, [_entry("a", energy=-1.5, forces=np.ones((4, 3)))])
    atoms = read(path)
    assert atoms.get_potential_energy() == -1.5
    assert atoms.get_forces().tolist() == np.ones((4, 3)).tolist()


def test_unreadable_file_is_refused_and_leaves_nothing(tmp_path):
    path = tmp_path / "broken.xyz"
    path.write_text("7\nnonsense\nC 0 0\n")
    with pytest.raises(InputError, match="ASE cannot read it"):
        list(read_extxyz(path))

    def failing():
        yield _entry("a")
        raise InputError("source", "damaged")

    with pytest.raises(InputError):
        write_extxyz(tmp_path / "new.xyz", failing())
    assert not (tmp_path / "new.xyz").exists()

"""Acceptance test 14: a changed cell, orbital order or gauge is refused by every stage that reads it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase.io import write as write_atoms

from mlepi_core.artefacts import InputError
from mlepi_core.config.observables import VelocitySection
from mlepi_core.electrons import load_samples
from mlepi_core.stages.bands import bands
from mlepi_core.stages.efficiency import compare_schemes
from mlepi_core.stages.measure import measure_store, tabulate
from mlepi_core.stages.observe import observe
from mlepi_core.stages.predict import sources
from mlepi_core.stages.sample import sample
from mlepi_core.stages.unfold import unfold
from mlepi_core.stages.velocity import velocity
from mlepi_core.structures import build_ab, build_supercell
from tests.stages.thermal import write_dft_phonons, write_snapshots

SECTION = VelocitySection(estimators=["operator", "manifold"])
pytestmark = pytest.mark.filterwarnings("ignore:q points of the")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Phonons, samples, Hamiltonians and quantities that belong together."""
    path = tmp_path_factory.mktemp("integrity")
    reference = write_dft_phonons(path / "phonons")
    write_atoms(path / "primitive.extxyz", reference)
    (path / "k.txt").write_text("0 0 0\n", encoding="utf-8")
    sample(path / "phonons", (3, 3, 1), 300.0, 3, 1, path / "samples.h5")
    write_snapshots(path / "store.h5", [(t.name, t.atoms, t.attrs) for t in sources(path / "samples.h5")])
    write_snapshots(path / "static.h5", [("cell", build_supercell(reference, (3, 3, 1)), {})])
    for name in ("store", "static"):
        measure_store(path / f"{name}.h5", path / f"{name}.quantities.h5", SECTION, device="cpu")
    return path


@pytest.fixture
def parts(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(whole, tmp_path / "parts"))


def tables(path: Path) -> None:
    outputs = [path / f"{name}.out" for name in ("v.csv", "v.json", "c.csv", "e.csv")]
    tabulate([path / "store.quantities.h5"], path / "static.quantities.h5", *outputs, SECTION)


def run_velocity(path: Path) -> None:
    velocity(path / "store.h5", path / "static.h5", "operator")


def run_refined(path: Path) -> None:
    options = {"phonons": path / "phonons", "control_variates": True}
    velocity(path / "store.h5", path / "static.h5", "operator", **options)


def run_unfold(path: Path) -> None:
    unfold([path / "store.h5"], path / "primitive.extxyz", path / "k.txt", path / "a.csv", points=3)


def run_bands(path: Path) -> None:
    bands(path / "static.h5", None, path / "k.txt", path / "b.csv")


def run_observe(path: Path) -> None:
    observe("gap", [path / "store.h5"], path / "o.h5")


def run_compare(path: Path) -> None:
    files = {"plain": [path / "store.quantities.h5"]}
    compare_schemes(files, path / "phonons", path / "x.csv", path / "y.csv")


def resample(path: Path) -> None:
    list(sources(path / "samples.h5"))


def attribute(name: str, key: str, value: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with h5py.File(path / name, "r+") as file:
            assert key in file.attrs
            file.attrs[key] = value

    return change


def stretched(name: str) -> Callable[[Path], None]:
    """The cell of every structure in a store is 1 % longer."""

    def change(path: Path) -> None:
        with h5py.File(path / name, "r+") as file:
            for group in [file[key] for key in file] if name != "samples.h5" else [file]:
                group["cell"][...] = group["cell"][:] * 1.01

    return change


def other_phonons(path: Path) -> None:
    write_dft_phonons(path / "phonons", scale=1.01)


def other_primitive(path: Path) -> None:
    atoms = build_ab()
    atoms.set_cell(atoms.cell * [[1.01], [1.01], [1.0]], scale_atoms=True)
    write_atoms(path / "primitive.extxyz", atoms)


ORDER = [attribute(name, "orbital_order", "openmx") for name in ("store.h5", "static.h5")]


@pytest.mark.parametrize(
    "stage",
    [tables, run_velocity, run_refined, run_unfold, run_bands, run_observe, run_compare, resample],
    ids=lambda stage: stage.__name__,
)
def test_what_belongs_together_is_taken(parts: Path, stage: Callable[[Path], None]) -> None:
    stage(parts)


@pytest.mark.parametrize(
    ("stage", "change", "words"),
    [
        (run_velocity, stretched("static.h5"), "lattice constants differ"),
        (run_velocity, ORDER[0], "orbital_order is 'openmx', not 'e3nn'"),
        (run_velocity, ORDER[1], "orbital_order is 'openmx', not 'e3nn'"),
        (run_refined, other_phonons, "holds other phonons than the samples were drawn from"),
        (run_compare, other_phonons, "holds other phonons than the samples were drawn from"),
        (run_unfold, other_primitive, "primitive"),
        (run_unfold, ORDER[0], "orbital_order"),
        (run_bands, ORDER[1], "orbital_order"),
        (run_observe, ORDER[0], "orbital_order"),
        (resample, stretched("samples.h5"), "its structure has the hash"),
        (tables, attribute("static.quantities.h5", "gauge", "cell"), "k list differs"),
        (tables, attribute("static.quantities.h5", "supercell_n", 6), "supercell n differs"),
        (tables, attribute("static.quantities.h5", "lattice_constant", 2.5), "lattice constants differ"),
        (run_velocity, attribute("store.h5", "energy_unit", "hartree"), "energy_unit is 'hartree'"),
    ],
)
def test_changed_artefacts_are_refused(
    parts: Path, stage: Callable[[Path], None], change: Callable[[Path], None], words: str
) -> None:
    change(parts)
    before = sorted(parts.iterdir())
    with pytest.raises(InputError, match=words):
        stage(parts)
    assert sorted(parts.iterdir()) == before, "a refused input leaves no output"


def test_blocks_of_other_structures_do_not_merge(parts: Path) -> None:
    """Quantities of one temperature are put together only if they are of one reference."""
    second = parts / "second.h5"
    shutil.copy(parts / "store.quantities.h5", second)
    with h5py.File(second, "r+") as file:
        file["pair"][...] = file["pair"][:] + 100
    assert len(load_samples([parts / "store.quantities.h5", second])) == 12
    with h5py.File(second, "r+") as file:
        file.attrs["reference_hash"] = "0" * 16
    with pytest.raises(InputError, match="reference structure differs"):
        load_samples([parts / "store.quantities.h5", second])
    assert np.isfinite(load_samples([parts / "store.quantities.h5"]).energies).all()

"""Verb `unfold`: snapshots to a mean spectral function."""

from __future__ import annotations

import csv

import numpy as np
import pandas as pd
import pytest
from ase import Atoms

from mlepi_core.artefacts import InputError
from mlepi_core.cli.main import _run
from mlepi_core.electrons import BlochHamiltonian, eigenvalues, fermi_level_of
from mlepi_core.formats.store import LabelEntry, StoreWriter
from mlepi_core.orbitals import Basis
from mlepi_core.stages.unfold import unfold
from mlepi_core.structures import build_monolayer, build_supercell, write_structure
from tests.electrons.tight_binding import LATTICE_CONSTANT, displaced, tight_binding

PRIMITIVE = build_monolayer(lattice_constant=LATTICE_CONSTANT)
KPOINTS = np.array([[0.31, 0.17, 0.0], [0.5, 0.0, 0.0]])


def entry(name: str, atoms: Atoms, shift: float = 0.0, **attrs) -> LabelEntry:
    """H with a constant: H + shift S."""
    blocks = tight_binding(atoms, overlap=0.12)
    blocks = blocks.with_values(blocks.hamiltonian + shift * blocks.overlap)
    return LabelEntry(name, atoms, blocks=blocks, n_electrons=float(len(atoms)), attrs=attrs)


def write(path, entries) -> str:
    with StoreWriter(path, Basis({"C": (0,)}), {}) as writer:
        for one in entries:
            writer.add(one)
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("unfold")
    write_structure(path / "primitive.extxyz", PRIMITIVE)
    (path / "k.txt").write_text("\n".join(" ".join(map(str, k)) for k in KPOINTS))
    cell = build_supercell(PRIMITIVE, (3, 3, 1))
    pairs = [
        entry(
            f"p{pair}{sign:+d}", displaced(cell, 0.05, pair, sign), 0.3 * pair, pair=pair, temperature=300.0
        )
        for pair in range(4)
        for sign in (1, -1)
    ]
    write(path / "snapshots.h5", pairs)
    write(path / "ideal.h5", [entry("ideal", cell)])
    return path


def read(path) -> dict[str, np.ndarray]:
    with open(path, encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    return {key: np.array([float(row[key] or "nan") for row in rows]) for key in rows[0]}


def test_peaks_of_the_ideal_cell_are_the_primitive_bands(folder):
    report = unfold(
        folder / "ideal.h5", folder / "primitive.extxyz", folder / "k.txt", folder / "a.csv",
        window=(-9, 12), points=4201, width=0.02,
    )  # fmt: skip
    assert (report["n_samples"], report["n_kpoints"]) == (1, 2)
    table = read(folder / "a.csv")
    assert np.isnan(table["spectral_se_per_eV"]).all()
    bloch = BlochHamiltonian.from_atoms(PRIMITIVE, tight_binding(PRIMITIVE, 0.12))
    zero = report["fermi_level_eV"]
    assert zero == pytest.approx(fermi_level_of(bloch, 2.0), abs=2e-3)
    for ik, bands in enumerate(eigenvalues(bloch, KPOINTS)[0]):
        here = table["ik"] == ik
        energy, spectrum = table["energy_eV"][here], table["spectral_per_eV"][here]
        inner = (spectrum[1:-1] > spectrum[:-2]) & (spectrum[1:-1] > spectrum[2:])
        assert energy[1:-1][inner] + zero == pytest.approx(bands, abs=3e-3)
        assert np.trapezoid(spectrum, energy) == pytest.approx(2, abs=0.02)


def test_a_pair_is_one_sample_and_constants_of_h_do_not_matter(folder):
    shared = {"window": (-2, 2), "points": 21, "width": 0.2}
    arguments = (folder / "primitive.extxyz", folder / "k.txt")
    report = unfold(folder / "snapshots.h5", *arguments, folder / "b.csv", **shared)
    assert (report["n_samples"], report["n_entries"], report["temperature_K"]) == (4, 8, 300.0)
    cell = build_supercell(PRIMITIVE, (3, 3, 1))
    singles = []
    for pair in range(4):
        parts = [entry(f"{s}", displaced(cell, 0.05, pair, s), pair=pair, temperature=300.0) for s in (1, -1)]
        unfold(write(folder / "one.h5", parts), *arguments, folder / "one.csv", **shared)
        singles.append(read(folder / "one.csv")["spectral_per_eV"])
    table = read(folder / "b.csv")
    assert table["spectral_per_eV"] == pytest.approx(np.mean(singles, axis=0), abs=1e-6)
    expected = np.std(singles, axis=0, ddof=1) / 2
    assert table["spectral_se_per_eV"] == pytest.approx(expected, rel=2e-3, abs=1e-6)
    # Unaligned, the constants blur the mean.
    unfold(folder / "snapshots.h5", *arguments, folder / "c.csv", align="none", **shared)
    assert np.abs(read(folder / "c.csv")["spectral_per_eV"] - table["spectral_per_eV"]).max() > 0.05


def test_bad_input_is_named(folder, capsys):
    write_structure(folder / "other.extxyz", build_monolayer(lattice_constant=2.6))
    files = {"--kpoints": "k.txt", "--out": "no.csv", "--primitive": "other.extxyz"}
    options = [word for option, name in files.items() for word in (option, str(folder / name))]
    assert _run(["unfold", str(folder / "ideal.h5"), *options]) == 2
    line = capsys.readouterr().err
    assert "ideal.h5: ideal: " in line
    assert "not an integer multiple" in line
    assert not (folder / "no.csv").exists()
    cell = build_supercell(PRIMITIVE, (2, 2, 1))
    mixed = write(folder / "mixed.h5", [entry(f"T{t}", cell, pair=t, temperature=float(t)) for t in (0, 9)])
    with pytest.raises(InputError, match=r"several temperatures: 0\.0, 9\.0"):
        unfold(mixed, folder / "primitive.extxyz", folder / "k.txt", folder / "d.csv")


def test_the_verb_writes_the_table(folder, capsys):
    arguments = ["--primitive", str(folder / "primitive.extxyz"), "--kpoints", str(folder / "k.txt")]
    assert _run(["unfold", str(folder / "ideal.h5"), *arguments, "--out", str(folder / "v.csv")]) == 0
    assert "A(k, E) at 2 k, mean of 1 samples" in capsys.readouterr().out
    assert len(read(folder / "v.csv")["ik"]) == 2 * 301


def test_figure_of_the_ideal_cell_has_its_bands_on_the_maxima(folder):
    """Along a path: lengths, labels, and bare bands where A has its maxima."""
    out, stem = folder / "path.csv", folder / "picture"
    unfold(
        folder / "ideal.h5", folder / "primitive.extxyz", None, out, path_points=4,
        static=folder / "ideal.h5", figure=stem, window=(-9, 14), points=2301, width=0.03,
    )  # fmt: skip
    for kind in ("png", "svg"):
        assert stem.with_suffix(f".{kind}").stat().st_size > 1000
    table, bare = pd.read_csv(out), pd.read_csv(folder / "picture_bare.csv")
    drawn = pd.read_csv(stem.with_suffix(".csv"))
    assert len(drawn) == len(table) + len(bare)
    places = table.drop_duplicates("ik")
    assert places["label"].fillna("").tolist() == ["Γ", *3 * [""], "M", *3 * [""], "K", *3 * [""], "Γ"]
    a = LATTICE_CONSTANT
    assert places["distance_per_A"].iloc[4] == pytest.approx(2 * np.pi / (np.sqrt(3) * a))
    assert places["distance_per_A"].iloc[8] == pytest.approx(2 * np.pi / a * (1 / np.sqrt(3) + 1 / 3))
    assert len(bare) == 2 * len(places)
    middle = bare[bare["ik"] == 2]["energy_eV"].to_numpy()
    here = table[table["ik"] == 2]
    for energy in middle:
        near = here[np.abs(here["energy_eV"] - energy) < 0.5]
        assert near.loc[near["spectral_per_eV"].idxmax(), "energy_eV"] == pytest.approx(energy, abs=0.011)


def test_a_path_and_a_list_exclude_each_other(folder, capsys):
    arguments = ["--primitive", str(folder / "primitive.extxyz"), "--out", str(folder / "no.csv")]
    assert _run(["unfold", str(folder / "ideal.h5"), *arguments]) == 2
    assert "give one of both" in capsys.readouterr().err
    arguments += ["--path", "3", "--figure", str(folder / "no")]
    assert _run(["unfold", str(folder / "ideal.h5"), *arguments]) == 2
    assert "would replace the table" in capsys.readouterr().err

"""Acceptance test 12: the whole way without DFT, from springs and tight binding as "DFT" to v_F and A(k, E).

Both networks learn from 32 small cells. Everything after that runs twice, with networks and exact models,
on the same random numbers. Matrix elements g(k, q) are not part of the project yet.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ase import Atoms

from mlepi_core.config.training import ElectronTraining, PhononTraining
from mlepi_core.formats.blocks import BlockMatrix, is_canonical
from mlepi_core.formats.store import LabelEntry, LabelStore, StoreWriter
from mlepi_core.orbitals import Basis
from mlepi_core.phonons import read_phonons, run_phonons, supercell_modes
from mlepi_core.stages.evaluate import evaluate
from mlepi_core.stages.phonons import phonons
from mlepi_core.stages.predict import predict
from mlepi_core.stages.sample import sample
from mlepi_core.stages.train import train
from mlepi_core.stages.unfold import unfold
from mlepi_core.stages.velocity import velocity
from mlepi_core.structures import build_ab, build_supercell, neighbour_pairs, read_structure, write_structure
from tests.electrons.tight_binding import BOND, DECAY, HOPPING, LATTICE_CONSTANT
from tests.phonons.spring_model import SpringBilayer

N_TRAIN, N_VALIDATION, N_TEST = 32, 4, 4
CUTOFF = 2.6
PAIRS = 8
COMMON: dict[str, Any] = {"radial_hidden": [16], "batch_size": 2, "warmup_steps": 10, "learning_rate": 1e-2}
SECTIONS = {
    "electron": ElectronTraining(
        channels=[16, 8, 6], edge_channels=[8, 4], head_channels=[16, 12, 8], head_unnatural=[0, 8], blocks=1,
        n_radial=12, message_cutoff=2.6, ema_decay=0.9, steps=500, validation_every=100, **COMMON,
    ),
    "phonon": PhononTraining(
        channels=16, layers=2, max_ell=2, lmax_hidden=1, correlation=2, cutoff_intra=3.2, cutoff_inter=7.0,
        steps=500, validation_every=100, **COMMON,
    ),
}  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:q points of the")]


def hamiltonian(atoms: Atoms) -> BlockMatrix:
    """H and S of one orbital per atom, layers not coupled.

    The density of neighbours shifts levels and screens hoppings: H of a pair depends on third atoms, which no
    two-centre table can know.
    """
    i, j, shift = neighbour_pairs(atoms.positions, atoms.cell, atoms.pbc, CUTOFF)[:3]
    inside = atoms.arrays["layer"][i] == atoms.arrays["layer"][j]
    i, j, shift = i[inside], j[inside], shift[inside]
    length = np.linalg.norm(atoms.positions[j] + shift @ np.asarray(atoms.cell) - atoms.positions[i], axis=1)
    smooth = ((1 - (length / CUTOFF) ** 2) / (1 - (BOND / CUTOFF) ** 2)) ** 3
    decay = np.exp(-DECAY * (length / BOND - 1)) * smooth
    n = len(atoms)
    density = np.bincount(i, decay**2, n)
    own = np.zeros((n, 5), dtype=int)
    own[:, 0] = own[:, 1] = np.arange(n)
    pairs = np.concatenate([own, np.column_stack([i, j, shift])])
    screened = 1 + 0.05 * (density[i] + density[j] - 6)
    h = np.concatenate([0.3 * density, -HOPPING * decay * screened])
    s = np.concatenate([np.ones(n), 0.1 * decay])
    order = np.lexsort(pairs.T[::-1])
    chosen = order[is_canonical(pairs[order])]
    blank = BlockMatrix(
        numbers=atoms.numbers,
        counts=np.ones(n, dtype=np.int64),
        pairs=pairs[chosen].astype(np.int32),
        offsets=np.arange(len(chosen) + 1),
    )
    return blank.with_values(h[chosen], s[chosen])


def label(number: int, cell: Atoms) -> LabelEntry:
    """Energy, forces, H and S of a cell whose atoms are displaced at random."""
    rng, atoms = np.random.default_rng(number), cell.copy()
    atoms.positions += rng.normal(size=atoms.positions.shape) * rng.uniform(0.02, 0.06)
    atoms.calc = SpringBilayer(LATTICE_CONSTANT)
    first_test = N_TRAIN + N_VALIDATION
    split = "train" if number < N_TRAIN else "validation" if number < first_test else "test"
    return LabelEntry(
        f"cell{number:02d}",
        atoms,
        energy=atoms.get_potential_energy(),
        forces=atoms.get_forces(),
        converged=True,
        n_electrons=float(len(atoms)),
        split=split,
        blocks=hamiltonian(atoms),
    )


def write_store(path: Path, tasks) -> None:
    """Entries of name, structure, attributes and matrices, with one electron per atom."""
    with StoreWriter(path, Basis({"C": (0,)}), {}) as writer:
        for name, atoms, attrs, blocks in tasks:
            entry = LabelEntry(name, atoms, n_electrons=float(len(atoms)), blocks=blocks, attrs=attrs)
            writer.add(entry)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("without-dft")
    initial = build_ab(lattice_constant=LATTICE_CONSTANT, distance=3.4)
    cell = build_supercell(initial, 2)
    with StoreWriter(
        path / "labels.h5", Basis({"C": (0,)}), {"engine": "springs and tight binding"}
    ) as writer:
        for number in range(N_TRAIN + N_VALIDATION + N_TEST):
            writer.add(label(number, cell))
    for kind, section in SECTIONS.items():
        # small cells leave gaps between the distances that they sample
        smoothing = {"overlap_smoothing": 1e-18} if kind == "electron" else {}
        train(kind, section, [path / "labels.h5"], path / f"{kind}.pt", device="cpu", **smoothing)
    write_structure(path / "initial.extxyz", initial)
    phonons(path / "phonon.pt", path / "initial.extxyz", (3, 3, 1), path / "phonons", device="cpu")
    sample(path / "phonons", (3, 3, 1), 300.0, PAIRS, 1, path / "T300.h5", imaginary="floor", floor_cm1=60.0)
    reference = path / "phonons" / "reference.extxyz"
    for source, name in ((path / "T300.h5", "samples"), (reference, "static")):
        predict(path / "electron.pt", source, path / "predicted.h5", device="cpu")
        with LabelStore(path / "predicted.h5") as store:
            entries = [store.read(name) for name in store.names]
        facts = [(entry.name, entry.atoms, store.attrs | entry.attrs) for entry in entries]
        predicted = [(*fact, entry.blocks) for fact, entry in zip(facts, entries, strict=True)]
        write_store(path / f"{name}-predicted.h5", predicted)
        write_store(path / f"{name}-exact.h5", [(*fact, hamiltonian(fact[1])) for fact in facts])
    return path


def test_both_networks_learned(folder: Path) -> None:
    """Errors on cells never seen: a few per cent of what is to be learned."""
    electron = evaluate(folder / "electron.pt", folder / "labels.h5", "test", device="cpu")
    phonon = evaluate(folder / "phonon.pt", folder / "labels.h5", "test", device="cpu")
    assert electron["mae_meV"] < 5.0
    assert phonon["force_mae_meV_per_A"] < 0.08 * phonon["force_rms_meV_per_A"]


def test_phonons_are_those_of_the_springs(folder: Path) -> None:
    learned = read_phonons(folder / "phonons")
    exact = run_phonons(read_structure(folder / "initial.extxyz"), SpringBilayer(LATTICE_CONSTANT), (3, 3, 1))
    frequencies = [
        np.sort(supercell_modes(one.phonon, one.reference, (3, 3, 1)).frequencies) for one in (learned, exact)
    ]
    optical = frequencies[1] > 10.0  # THz
    assert np.abs(frequencies[0] - frequencies[1])[optical].mean() < 0.03 * frequencies[1][optical].mean()


@pytest.mark.parametrize("estimator", ["manifold", "operator"])
def test_velocity_at_300_kelvin(folder: Path, estimator: str) -> None:
    """Same samples, so that the scatter drops out: what is left is the error of the network."""
    results = [
        velocity(folder / f"samples-{kind}.h5", folder / f"static-{kind}.h5", estimator, k_points=3)
        for kind in ("predicted", "exact")
    ]
    assert results[0]["v_static_m_per_s"] == pytest.approx(results[1]["v_static_m_per_s"], rel=0.01)
    assert results[0]["ratio"] == pytest.approx(results[1]["ratio"], abs=0.005)
    assert results[1]["ratio"] < 1 - 3 * results[1]["ratio_se"]


def test_spectral_function(folder: Path) -> None:
    """A(k, E) of both overlap almost fully, at a general k and at M."""
    (folder / "k.txt").write_text("0.31 0.17 0\n0.5 0 0\n", encoding="utf-8")
    spectra = []
    for kind in ("predicted", "exact"):
        out = folder / f"{kind}.csv"
        unfold(
            folder / f"samples-{kind}.h5", folder / "phonons" / "reference.extxyz", folder / "k.txt", out,
            window=(-10.0, 12.0), points=441, width=0.1,
        )  # fmt: skip
        spectra.append(pd.read_csv(out)["spectral_per_eV"].to_numpy())
    shared = np.minimum(*spectra).sum() / spectra[1].sum()
    assert shared > 0.93

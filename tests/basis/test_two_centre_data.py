"""Two-centre tables on the bundled OpenMX data: unseen cells, positivity, the Hamiltonian baseline."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mlepi_core.artefacts import InputError
from mlepi_core.basis.two_centre import TwoCentreTables, overlap_blocks
from mlepi_core.basis.two_centre_fit import PairSample, fit_overlap, residual_errors
from mlepi_core.formats.openmx import read_openmx
from mlepi_core.formats.store import LabelStore
from mlepi_core.stages.overlap import overlap

CARBON = 6


def test_fit_of_the_training_cells(overlap_tables: TwoCentreTables) -> None:
    record = overlap_tables.record
    assert record["precision_of_data"] == "float32"
    assert record["bridges_gaps"] is False
    assert record["largest_non_axial_entry"] < 1e-7
    assert record["errors"]["max_offsite"] < 1.5e-7
    table = overlap_tables.table(CARBON, CARBON)
    assert table.support == pytest.approx(12 * 0.529177249, abs=1e-9)
    assert table.coefficients.shape[1] == 13


@pytest.mark.parametrize(
    ("file", "split"),
    [
        ("perturbed-4x4.h5", "validation"),
        ("perturbed-4x4.h5", "test"),
        ("twisted-21.79.h5", None),
        ("phonon-displacements-4x4.h5", None),
        ("slips.h5", None),
    ],
)
def test_overlaps_of_unseen_cells(
    overlap_tables: TwoCentreTables,
    samples_of: Callable[..., list[PairSample]],
    file: str,
    split: str | None,
) -> None:
    errors = residual_errors(overlap_tables, samples_of(file, split))
    assert errors["max_offsite"] < 1.5e-7
    assert errors["max_onsite"] < 1e-8
    assert errors["rms_of_data"] > 0.05


def test_structure_alone_gives_the_stored_pairs_and_overlaps(
    overlap_tables: TwoCentreTables, bilayer_folder: Path
) -> None:
    """No DFT code: pairs and entries of the twisted cell from its positions only."""
    with LabelStore(bilayer_folder / "twisted-21.79.h5") as store:
        entry = store.read(store.names[0])
    matrix = overlap_blocks(entry.atoms, overlap_tables)
    assert np.array_equal(matrix.pairs, entry.blocks.pairs)
    assert np.abs(matrix.overlap - entry.blocks.overlap).max() < 1.5e-7


def test_overlap_matrix_is_positive(overlap_tables: TwoCentreTables, bilayer_folder: Path) -> None:
    """Smallest eigenvalue of S(k) of a rigid cell; 1e-3 to 3e-3 for this basis."""
    with LabelStore(bilayer_folder / "rigid.h5") as store:
        atoms = store.read(store.names[0], blocks=False).atoms
    matrix = overlap_blocks(atoms, overlap_tables).directed()
    starts = matrix.orbital_offsets
    for k in ([0.0, 0.0, 0.0], [1 / 3, 2 / 3, 0.0], [0.5, 0.0, 0.0], [0.137, 0.291, 0.0]):
        dense = np.zeros((matrix.n_orbitals, matrix.n_orbitals), dtype=complex)
        for p, (i, j, *image) in enumerate(matrix.pairs.tolist()):
            block = matrix.block(p, "overlap") * np.exp(2j * np.pi * np.dot(k, image))
            dense[starts[i] : starts[i + 1], starts[j] : starts[j + 1]] += block
        assert np.abs(dense - dense.conj().T).max() < 1e-13
        assert np.linalg.eigvalsh(dense)[0] > 5e-4


def test_uncovered_bond_length_raises(overlap_tables: TwoCentreTables) -> None:
    with pytest.raises(InputError, match=r"C-C: distance 1\.9000 Å lies in the gap 1\.670-2\.230 Å"):
        overlap_tables.evaluate(np.array([[1.9, 0.0, 0.0]]), CARBON, CARBON)


@pytest.mark.parametrize("name", ["graphene_prim_s2p2d1", "bn_bilayer_prim", "bg_ab_prim"])
def test_raw_overlaps_are_axial_to_float64(
    raw_folder: Path, sample_of_entry: Callable[..., PairSample], name: str
) -> None:
    """d shells and two species: a wrong order or sign of any orbital would show."""
    entry, basis = read_openmx(raw_folder / f"{name}.scfout.xz")
    tables = fit_overlap([sample_of_entry(entry)], basis, source=name)
    assert tables.record["precision_of_data"] == "float64"
    assert tables.record["largest_non_axial_entry"] < 1e-12


def test_hamiltonian_baseline(
    hamiltonian_tables: TwoCentreTables, samples_of: Callable[..., list[PairSample]]
) -> None:
    """What one table per pair, without relations, leaves of H."""
    assert set(hamiltonian_tables.tables) == {("inter", 6, 6), ("intra", 6, 6)}
    errors = residual_errors(hamiltonian_tables, samples_of("perturbed-4x4.h5", "test"))
    assert errors["mae"] < 0.045
    assert errors["rms"] < 0.19 * errors["rms_of_data"]


def test_hamiltonian_baseline_is_smooth_everywhere(hamiltonian_tables: TwoCentreTables) -> None:
    """It enters finite differences: no wiggles where data are sparse, and nothing at the end of support."""
    for (relation, *_), table in hamiltonian_tables.tables.items():
        distances = torch.linspace(table.lower + 1e-9, table.support, 4001, dtype=torch.float64)
        table.check(distances.numpy(), relation)
        values = table.values(distances).numpy()
        step = float(distances[1] - distances[0])
        assert np.abs(np.diff(values, 2, axis=0)).max() / step**2 < 60.0  # eV/Å², as the p-p sigma bond's own
        assert np.abs(values[-2:]).max() < 1e-6
    assert hamiltonian_tables.tables["intra", 6, 6].lower < 0.65
    assert hamiltonian_tables.tables["inter", 6, 6].lower < 1.5


def test_hamiltonian_baseline_is_hermitian_and_spherical_on_site(hamiltonian_tables: TwoCentreTables) -> None:
    onsite = hamiltonian_tables.onsite[CARBON]
    assert np.array_equal(onsite, onsite.T)
    assert np.abs(onsite[:2, 2:]).max() == 0.0
    for rows in (slice(2, 5), slice(5, 8)):
        for columns in (slice(2, 5), slice(5, 8)):
            part = onsite[rows, columns]
            assert np.array_equal(part, part[0, 0] * np.eye(3))


def test_speed(overlap_tables: TwoCentreTables, samples_of: Callable[..., list[PairSample]]) -> None:
    """5 ms for the 5,200 directed pairs of a 64-atom cell on one core; the bound allows for busy machines."""
    vectors = samples_of("perturbed-4x4.h5", "test")[0].vectors
    vectors = np.concatenate([vectors, -vectors])[np.tile(vectors.any(axis=1), 2)]
    overlap_tables.evaluate(vectors, CARBON, CARBON)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        overlap_tables.evaluate(vectors, CARBON, CARBON)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.05


def test_stage_writes_tables_with_coverage(bilayer_folder: Path, tmp_path: Path) -> None:
    stores = [bilayer_folder / "perturbed-4x4.h5", bilayer_folder / "rigid.h5"]
    report = overlap(stores, tmp_path / "overlap.h5")
    assert report["n_structures"] == 60
    assert report["errors"]["max_offsite"] < 1.5e-7
    assert report["pairs"]["C-C"]["gaps_angstrom"] == [pytest.approx([1.670, 2.230], abs=1e-3)]
    tables = TwoCentreTables.load(tmp_path / "overlap.h5")
    assert tables.record["source"] == "perturbed-4x4.h5, rigid.h5"
    assert sum(row["samples"] for row in tables.coverage()) == 38685


def test_stage_refuses_an_empty_selection(bilayer_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no converged entry"):
        overlap(bilayer_folder / "rigid.h5", tmp_path / "overlap.h5", split="test")
    assert not (tmp_path / "overlap.h5").exists()

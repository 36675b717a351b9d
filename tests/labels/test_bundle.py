"""The bundled data: whole, small enough, and split as documented."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlepi_core.formats.store import LabelStore
from mlepi_core.labels import Dataset, read_sums, verify_checksums

RESOURCES = Path(__file__).resolve().parents[2] / "resources"
BUNDLE = RESOURCES / "bilayer-graphene"


@pytest.mark.parametrize(
    ("name", "limit_mb"),
    [("bilayer-graphene", 34), ("openmx-raw", 12), ("boron-nitride", 8.5), ("molybdenum-disulfide", 7.5)],
)
def test_checksums_and_size(name, limit_mb):
    folder = RESOURCES / name
    sums = read_sums(folder)
    data = {path.name for path in folder.iterdir() if path.suffix in (".h5", ".xz", ".csv")}
    assert set(sums) == data
    assert len(verify_checksums(folder / file for file in sums)) == len(data)
    assert sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) < limit_mb * 1e6


def test_splits():
    with LabelStore(BUNDLE / "perturbed-4x4.h5") as store:
        splits = store.splits()
    chosen = {
        split: [name[-4:] for name in splits if splits[name] == split] for split in set(splits.values())
    }
    assert chosen == {
        "train": [f"{i:04d}" for i in [0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13]],
        "validation": ["0008", "0018"],
        "test": ["0009", "0019"],
    }
    assert Dataset(BUNDLE / "rigid.h5").counts() == {"train": 48}
    for name, count in [("phonon-displacements-4x4", 4), ("slips", 17), ("twisted-21.79", 1)]:
        assert Dataset(BUNDLE / f"{name}.h5").counts() == {"reference": count}
    assert not Dataset(BUNDLE).unconverged()


@pytest.mark.parametrize(
    "name", ["perturbed-4x4", "rigid", "phonon-displacements-4x4", "slips", "twisted-21.79"]
)
def test_entries_are_complete(name):
    with LabelStore(BUNDLE / f"{name}.h5") as store:
        entry = store.read(store.names[0])
    n = len(entry.atoms)
    assert entry.n_electrons == 4 * n
    assert entry.converged
    assert entry.energy / n == pytest.approx(-158.8, abs=0.5)
    assert -4.0 < entry.fermi_level < -3.3
    assert entry.forces.shape == (n, 3)
    assert np.bincount(entry.atoms.arrays["layer"]).tolist() == [n // 2, n // 2]
    assert {"kgrid", "engine_version", "wall_s", "cutoff_ry"} <= set(entry.attrs)
    onsite = [p for p, (i, j, *R) in enumerate(entry.blocks.pairs.tolist()) if i == j and not any(R)]
    assert len(onsite) == n
    for p in onsite:
        np.testing.assert_allclose(entry.blocks.block(p, "overlap"), np.eye(8), atol=1e-5)
        block = entry.blocks.block(p)
        np.testing.assert_allclose(block, block.T, atol=1e-5)


def test_phonopy_reads_the_reference():
    import phonopy

    phonon = phonopy.load(BUNDLE / "phonopy_params.yaml.xz", log_level=0)
    assert phonon.force_constants.shape == (4, 64, 3, 3)


@pytest.mark.parametrize(
    ("name", "spin", "splits"),
    [
        ("boron-nitride/bilayers-3x3", "none", {"train": 3, "validation": 1, "test": 2}),
        ("molybdenum-disulfide/monolayers-2x2", "soc", {"train": 5, "validation": 1, "test": 2}),
    ],
)
def test_other_materials_are_rounded_and_complete(name: str, spin: str, splits: dict[str, int]) -> None:
    path = RESOURCES / f"{name}.h5"
    assert Dataset(path).counts() == splits
    assert not Dataset(path).unconverged()
    with LabelStore(path) as store:
        assert store.spin == spin
        entry = store.read(store.names[0])
    blocks = entry.blocks
    assert entry.n_electrons is not None
    assert entry.fermi_level is not None
    assert np.abs(entry.forces).max() > 1
    for values, step in ((blocks.hamiltonian.real, 2.0**-18), (blocks.overlap, 2.0**-23)):
        assert np.array_equal(values, np.round(values / step) * step)
    assert blocks.time_odd_rms() < 1e-8

"""Stage `phonons`: from files to a folder that the stage `sample` takes."""

import pytest

from mlepi_core.artefacts import InputError, sha256_file
from mlepi_core.phonons import read_phonons
from mlepi_core.sampling import read_samples
from mlepi_core.stages.phonons import phonons
from mlepi_core.stages.sample import sample
from mlepi_core.structures import build_ab, interlayer_distances, structure_hash, write_structure
from tests.phonons.spring_model import SpringBilayer


@pytest.fixture
def model(monkeypatch, tmp_path):
    """A file that loads as the spring bilayer instead of a network."""
    calculator = pytest.importorskip("mlepi_core.inference.calculator")
    path = tmp_path / "phonon.pt"
    path.write_bytes(b"springs")

    def load(given, device):
        assert (given, device) == (path, "auto")
        return SpringBilayer()

    monkeypatch.setattr(calculator, "load_calculator", load)
    return path


def test_structure_to_samples(model, tmp_path):
    structure = tmp_path / "ab.extxyz"
    write_structure(structure, build_ab(distance=3.3))
    made = phonons(model, structure, (3, 3, 1), tmp_path / "phonons")
    assert made.report["model_sha256"] == sha256_file(model)
    assert made.report["relaxed"]
    assert made.report["interlayer_distance_A"] == pytest.approx([3.103], abs=0.01)
    read = read_phonons(tmp_path / "phonons")
    assert read.report == made.report
    sample(tmp_path / "phonons", (3, 3, 1), 300.0, 2, 1, tmp_path / "s.h5")
    samples = read_samples(tmp_path / "s.h5")
    assert samples.phonons_hash == made.digest
    # the sampling cell is made of the relaxed reference, not of the structure given
    assert interlayer_distances(samples.reference) == pytest.approx(
        made.report["interlayer_distance_A"], abs=1e-6
    )


def test_unrelaxed_structure_is_kept(model, tmp_path):
    structure = tmp_path / "ab.extxyz"
    write_structure(structure, build_ab(distance=3.1))
    phonons(model, structure, (2, 2, 1), tmp_path / "phonons", relax=False)
    read = read_phonons(tmp_path / "phonons")
    assert structure_hash(read.reference) == structure_hash(build_ab(distance=3.1))
    assert not read.report["relaxed"]


def test_failure_writes_nothing(model, tmp_path):
    structure = tmp_path / "ab.extxyz"
    write_structure(structure, build_ab(distance=3.1))
    with pytest.raises(InputError, match="supercell"):
        phonons(model, structure, (2, 2), tmp_path / "phonons")
    assert not (tmp_path / "phonons").exists()

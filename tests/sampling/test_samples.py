"""Sample files: order, names, blocks, integrity."""

import h5py
import numpy as np
import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.sampling import entry_name, read_samples
from mlepi_core.stages.sample import sample
from mlepi_core.structures import build_ab, structure_hash

# the bundled force constants come from a 4 x 4 cell, which does not contain the sampling cells of 3 x 3
pytestmark = pytest.mark.filterwarnings("ignore:q points of the . x . x . sampling cell are interpolated")


@pytest.fixture
def drawn(folder, tmp_path):
    path = tmp_path / "samples" / "T300" / "block0.h5"
    return path, sample(folder, (2, 2, 1), 300.0, 4, 1, path)


@pytest.mark.filterwarnings("error")
def test_file_holds_what_the_contract_says(drawn, folder):
    path, made = drawn
    with h5py.File(path) as file:
        assert dict(file.attrs)["schema"] == "mlepi-samples"
        assert file.attrs["version"] == 1
        assert file.attrs["temperature"] == 300.0
        assert file.attrs["seed"] == 1
        assert file.attrs["supercell"].tolist() == [2, 2, 1]
        assert file.attrs["structure_hash"] == structure_hash(made.reference)
        assert len(file.attrs["phonons_hash"]) == 16
        assert file.attrs["imaginary_policy"] == "refuse"
        assert file.attrs["n_touched_modes"] == 0
        assert file["positions"].shape == (8, 16, 3)
        assert file["positions"].dtype == np.float64
        assert file["positions"].fletcher32
        assert file["positions"].compression == "gzip"
        assert file["pair"][:].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
        assert file["sign"][:].tolist() == [1, -1] * 4
        assert file["layer"][:].tolist() == [0] * 8 + [1] * 8
        assert file["pbc"][:].tolist() == [1, 1, 0]
        for name in ("cell", "numbers", "reference_positions", "kappa", "cell_index"):
            assert name in file


def test_reading_gives_back_what_was_made(drawn):
    path, made = drawn
    read = read_samples(path)
    assert np.array_equal(read.positions, made.positions)
    assert np.array_equal(read.pair, made.pair)
    assert np.array_equal(read.sign, made.sign)
    assert read.structure_hash == made.structure_hash
    assert read.supercell == (2, 2, 1)
    assert np.array_equal(read.reference.get_masses(), made.reference.get_masses())
    for name in ("layer", "kappa", "cell_index"):
        assert np.array_equal(read.reference.arrays[name], made.reference.arrays[name])
    atoms = read.atoms(3)
    assert np.array_equal(atoms.positions, made.positions[3])
    assert np.array_equal(atoms.arrays["layer"], made.reference.arrays["layer"])


def test_pairs_are_mirror_images(drawn):
    _, made = drawn
    u = made.positions - made.reference.positions
    assert np.abs(u[0::2]).max() > 0.05
    assert u[0::2] == pytest.approx(-u[1::2], abs=1e-14)


def test_names(drawn):
    _, made = drawn
    assert [made.name(index) for index in (0, 1, 2, 7)] == [
        "T300_p0_+",
        "T300_p0_-",
        "T300_p1_+",
        "T300_p3_-",
    ]
    assert entry_name(0.0, 12, -1) == "T0_p12_-"
    assert entry_name(62.5, 0, 1) == "T62.5_p0_+"


@pytest.mark.parametrize("sizes", [[7], [1] * 7, [2, 4, 1], [3, 4]])
def test_blocks_are_parts_of_the_whole_bit_by_bit(folder, tmp_path, sizes):
    whole = sample(folder, (3, 3, 1), 100.0, 7, 42, tmp_path / "whole.h5").positions
    first, blocks = 0, []
    for size in sizes:
        path = tmp_path / f"{first}.h5"
        sample(folder, (3, 3, 1), 100.0, size, 42, path, first_pair=first)
        block = read_samples(path)
        assert block.pair[0] == first
        blocks.append(block.positions)
        first += size
    assert np.array_equal(np.concatenate(blocks), whole)


def test_zero_temperature_is_not_zero_motion(folder, tmp_path):
    made = sample(folder, (3, 3, 1), 0.0, 2, 1, tmp_path / "T0.h5")
    u = made.positions - made.reference.positions
    # zero-point motion of carbon in graphene: some 0.04-0.1 Å per coordinate
    assert 0.03 < u.std() < 0.15
    assert np.isfinite(u).all()


def test_interpolated_cells_are_warned_about(folder, tmp_path):
    with pytest.warns(UserWarning, match="3 x 3 x 1 sampling cell are interpolated"):
        sample(folder, (3, 3, 1), 0.0, 1, 1, tmp_path / "a.h5")


def test_bad_arguments_write_nothing(folder, tmp_path):
    out = tmp_path / "out.h5"
    for arguments, word in (
        (((2, 2, 1), -5.0, 2, 1), "temperature"),
        (((2, 2, 1), 300.0, 0, 1), "pairs"),
        (((2, 2), 300.0, 2, 1), "supercell"),
        (((2, 2, 2), 300.0, 2, 1), "supercell"),
    ):
        with pytest.raises(InputError, match=word):
            sample(folder, *arguments, out)
    with pytest.raises(InputError, match=r"phonopy_params\.yaml"):
        sample(tmp_path, (2, 2, 1), 300.0, 1, 1, out)
    assert list(tmp_path.iterdir()) == []


def test_damaged_and_foreign_files_are_refused(drawn, tmp_path):
    path, _ = drawn
    whole = path.read_bytes()
    cut = tmp_path / "cut.h5"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cut\.h5"):
        read_samples(cut)
    with pytest.raises(InputError, match="no such sample file"):
        read_samples(tmp_path / "none.h5")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file.attrs["schema"] = "mlepi-labels"
    with pytest.raises(InputError, match="schema"):
        read_samples(tmp_path / "foreign.h5")
    with h5py.File(path, "r+") as file:
        file["reference_positions"][0, 0] += 0.1
    with pytest.raises(InputError, match="hash"):
        read_samples(path)


def test_flipped_bits_are_noticed(drawn):
    path, _ = drawn
    with h5py.File(path) as file:
        offset = file["positions"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[offset + 20] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="not a complete sample file"):
        read_samples(path)


def test_reference_of_the_samples_is_the_supercell_of_the_phonons(drawn):
    _, made = drawn
    assert made.reference.cell.array[:2] == pytest.approx(2 * build_ab().cell.array[:2])

"""SHA256SUMS files."""

from __future__ import annotations

import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.labels import read_sums, verify_checksums, write_sums


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"content of a")
    (tmp_path / "b.h5").write_bytes(b"content of b")
    write_sums(tmp_path, ["b.h5", "a.h5"])
    return tmp_path


def test_sums_are_those_of_sha256sum(folder):
    assert list(read_sums(folder)) == ["a.h5", "b.h5"]
    assert read_sums(folder)["a.h5"].startswith("8e56b639")
    assert len(verify_checksums([folder / "a.h5", folder / "b.h5"])) == 2


def test_changed_file_is_refused(folder):
    (folder / "a.h5").write_bytes(b"content of A")
    with pytest.raises(InputError, match=r"a\.h5: checksum mismatch"):
        verify_checksums([folder / "b.h5", folder / "a.h5"])
    with pytest.raises(InputError, match="checksum mismatch"):
        verify_checksums([folder / "a.h5"], policy="if-present")


def test_unlisted_file(folder):
    (folder / "own.h5").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"own\.h5: is not listed.*if-present"):
        verify_checksums([folder / "own.h5"])
    assert verify_checksums([folder / "own.h5"], policy="if-present") == {}


def test_missing_file_and_bad_sums(folder):
    (folder / "a.h5").unlink()
    with pytest.raises(InputError, match="no such file"):
        verify_checksums([folder / "a.h5"])
    (folder / "SHA256SUMS").write_text("123  b.h5\n")
    with pytest.raises(InputError, match="line 1"):
        verify_checksums([folder / "b.h5"])

"""Reader of `.Band`."""

from __future__ import annotations

import lzma

import numpy as np
import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.formats.band import read_band
from mlepi_core.formats.openmx_out import HARTREE


def test_content(raw, raw_scfout):
    bands = read_band(raw / "bg_ab_prim.Band.xz")
    assert bands.energies.shape == (90, 32)
    assert [piece.n_points for piece in bands.paths] == [30, 20, 40]
    assert [piece.labels for piece in bands.paths] == [("G", "M"), ("M", "K"), ("K", "G")]
    assert bands.energies[0, 0] == -0.859876374670638 * HARTREE
    np.testing.assert_allclose(bands.kpoints[49], [1 / 3, 2 / 3, 0], atol=1e-14)
    np.testing.assert_array_equal(bands.kpoints[49], bands.kpoints[50])
    expected = 2 * np.pi * raw_scfout("bg_ab_prim").atoms.cell.reciprocal()
    np.testing.assert_allclose(bands.reciprocal, expected, atol=1e-10)


def test_spinors(raw):
    bands = read_band(raw / "mos2_soc_prim.Band.xz")
    assert bands.energies.shape[1] == 2 * 40


def test_damaged_files_are_refused(raw, tmp_path):
    text = lzma.decompress((raw / "graphene_prim.Band.xz").read_bytes()).decode()
    path = tmp_path / "cut.Band"
    for length in (0, 10, 200, 5000, len(text) - 400):
        path.write_text(text[:length])
        with pytest.raises(InputError, match=r"not a complete \.Band file"):
            read_band(path)
    path.write_text(text.replace(" 0  ", " 1  ", 1))
    with pytest.raises(InputError, match="spin-polarised"):
        read_band(path)

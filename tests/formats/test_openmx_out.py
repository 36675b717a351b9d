"""Reader of `.out`: energy, forces, Fermi level, convergence."""

from __future__ import annotations

import lzma
import re

import numpy as np
import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.formats.openmx import read_openmx
from mlepi_core.formats.openmx_out import BOHR, HARTREE, read_out


@pytest.fixture(scope="module")
def text(raw):
    return lzma.decompress((raw / "bg_ab_prim.out.xz").read_bytes()).decode()


def _write(tmp_path, text):
    path = tmp_path / "bg_ab_prim.out"
    path.write_text(text)
    return path


def test_values_are_those_printed(raw):
    out = read_out(raw / "bg_ab_prim.out.xz")
    assert out.version == "3.9.23"
    assert out.energy == pytest.approx(-23.346929742121 * HARTREE, abs=1e-12)
    assert out.band_energy_ha == -7.592540985221
    assert out.fermi_level == pytest.approx(-0.130794103229 * HARTREE, abs=1e-12)
    assert out.symbols == ["C"] * 4
    np.testing.assert_allclose(
        out.forces[3] * BOHR / HARTREE, [0.000041965695, -0.000000112783, 0.000195301618]
    )
    assert (out.converged, out.scf_iterations, out.wall_s) == (True, 20, 17.515)


@pytest.mark.parametrize(
    "stem", ["graphene_prim", "bg_ab_prim", "bn_bilayer_prim", "o2_spin", "mos2_soc_prim"]
)
def test_history_and_standard_output_agree_on_convergence(raw, stem):
    assert read_out(raw / f"{stem}.out.xz").converged
    assert read_out(raw / f"{stem}.out.xz", raw / f"{stem}.std.xz").converged


def test_short_history_is_not_converged(text, tmp_path):
    for last in range(1, 20):
        cut = re.sub(rf"   SCF=\s+{last + 1}  .*?(?=\n\n)", "", text, count=1, flags=re.DOTALL)
        out = read_out(_write(tmp_path, cut))
        assert (out.scf_iterations, out.converged) == (last, False)


def test_small_energy_change_with_large_residual_is_not_converged(text, tmp_path):
    wrong = text.replace("NormRD=  0.000000000167", "NormRD=  0.000000200000")
    assert wrong != text
    assert not read_out(_write(tmp_path, wrong)).converged


def test_standard_output_decides(raw, tmp_path):
    std = tmp_path / "run.std"
    std.write_text("SCF calculation at MD = 1\nThe SCF was achieved at MD=   1\nSCF calculation at MD = 2\n")
    assert not read_out(raw / "bg_ab_prim.out.xz", std).converged


def test_last_geometry_counts(text, tmp_path):
    start = text.index("SCF history at MD= 1")
    second = text[start:].replace("Utot.        -23.346929742121", "Utot.        -23.400000000000")
    assert read_out(_write(tmp_path, text + second)).energy == pytest.approx(-23.4 * HARTREE)


@pytest.mark.parametrize(
    "marker", ["SCF=   1", "  Utot.", "  Uele.", "<coordinates.forces", "coordinates.forces>"]
)
def test_cut_output_is_refused(text, tmp_path, marker):
    with pytest.raises(InputError, match="cut short"):
        read_out(_write(tmp_path, text[: text.index(marker)]))


def test_overflowed_forces_are_refused(text, tmp_path):
    with pytest.raises(InputError, match="NaN"):
        read_out(_write(tmp_path, text.replace("-0.000041965803", "nan")))
    with pytest.raises(InputError, match=r"coordinates\.forces"):
        read_out(_write(tmp_path, text.replace("-0.000041965803", "***************")))


def test_other_text_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"not the \.out file"):
        read_out(_write(tmp_path, "something else\n"))


def test_entry_of_an_unconverged_run_says_so(raw, text, tmp_path):
    cut = re.sub(r"   SCF=\s+15  .*?(?=\n\n)", "", text, count=1, flags=re.DOTALL)
    cut = cut.replace("Uele.         -7.592540985221", "Uele.         -7.592543731558")
    entry, _ = read_openmx(raw / "bg_ab_prim.scfout.xz", out=_write(tmp_path, cut), std=_empty(tmp_path))
    assert entry.converged is False
    assert entry.blocks is not None


def _empty(tmp_path):
    path = tmp_path / "bg_ab_prim.std"
    path.write_text("SCF calculation at MD = 1\n")
    return path

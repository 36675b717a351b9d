"""The bundled DFT phonons and slips, and comparison with them."""

import csv

import numpy as np
import pytest
from ase import Atoms

from mlepi_core.artefacts import InputError
from mlepi_core.phonons import (
    COMPARISON_COLUMNS,
    compare,
    frequencies_at,
    load_phonopy,
    run_phonons,
    slip_reference,
)
from mlepi_core.phonons.force_constants import full_force_constants
from mlepi_core.phonons.modes import supercell_modes
from mlepi_core.phonons.reference import commensurate_points, lattice_map
from mlepi_core.phonons.rigid_layers import rigid_layer_modes
from mlepi_core.phonons.slip import _SLIP_FIELDS
from mlepi_core.phonons.units import CM1_PER_THZ
from mlepi_core.structures import build_ab, build_monolayer
from tests.phonons.spring_model import SpringBilayer


def test_dft_frequencies_at_gamma(dft):
    reference = build_ab()
    modes = supercell_modes(dft, reference, (1, 1, 1))
    frequencies = modes.frequencies_cm1
    assert frequencies[3:5].min() > 903
    assert frequencies[3:5].max() < 907
    assert frequencies[5:].min() > 1576.5
    assert frequencies[5:].max() < 1580.5
    rigid = rigid_layer_modes(modes)
    assert [mode.frequency_cm1 for mode in rigid] == pytest.approx([23.3, 23.3, 142.8], abs=0.1)


def test_comparison_with_itself_and_with_a_scaled_copy(dft, resources):
    rows = compare(dft, dft)
    assert [row["group"] for row in rows] == ["all", "ZA", "ZO", "TA/LA", "TO/LO"]
    # 16 q points, 12 branches, three translations
    assert [row["n_modes"] for row in rows] == [189, 31, 32, 62, 64]
    assert all(row["rms_cm1"] == 0 for row in rows)
    assert set(rows[0]) == set(COMPARISON_COLUMNS)
    softer = load_phonopy(resources / "phonopy_params.yaml.xz")
    softer.force_constants = full_force_constants(dft) * 0.99**2
    scaled = compare(softer, dft)
    # every frequency is 1 % lower, so that the rms difference is 1 % of the rms frequency
    every = frequencies_at(dft, commensurate_points(dft)) * CM1_PER_THZ
    assert scaled[0]["rms_cm1"] == pytest.approx(0.01 * np.sqrt((every**2).sum() / 189), abs=2e-3)
    assert scaled[0]["max_abs_cm1"] == pytest.approx(0.01 * every.max(), abs=2e-3)
    assert scaled[0]["mean_cm1"] < 0


def test_comparison_carries_q_to_another_setting(spring_ab):
    """The same crystal with vectors at 120 degrees, rotated, atoms in another order."""
    source = spring_ab.reference
    order = [3, 0, 2, 1]
    cell = source.cell.array.copy()
    cell[1] -= cell[0]
    turned = Atoms(source.numbers, positions=source.positions[order], cell=cell, pbc=source.pbc)
    turned.arrays["layer"] = source.arrays["layer"][order]
    turned.rotate(17, "z", rotate_cell=True)
    turned.wrap(pbc=(True, True, False))
    other = run_phonons(turned, SpringBilayer(), (4, 4, 1), relax=False)
    assert compare(other.phonon, spring_ab.phonon)[0]["max_abs_cm1"] < 0.01
    assert compare(spring_ab.phonon, other.phonon)[0]["max_abs_cm1"] < 0.01


def test_comparison_from_another_supercell(spring_ab):
    larger = run_phonons(spring_ab.reference, SpringBilayer(), (5, 5, 1), relax=False)
    # the springs are shorter than half of either cell, but the interlayer pairs reach 7 Å
    assert compare(larger.phonon, spring_ab.phonon)[0]["rms_cm1"] < 0.5


def test_other_crystals_are_refused(spring_ab, dft):
    single = build_monolayer()
    monolayer = run_phonons(single, SpringBilayer(), (2, 2, 1), relax=False)
    with pytest.raises(InputError, match="primitive cell"):
        compare(monolayer.phonon, dft)
    with pytest.raises(InputError, match="another lattice"):
        lattice_map(np.diag([2.474, 2.474, 14.0]), dft.primitive.cell)


def test_commensurate_points(dft):
    points = commensurate_points(dft)
    assert points.shape == (16, 3)
    assert np.array_equal(points[0], [0, 0, 0])
    assert points * 4 == pytest.approx(np.round(points * 4))


def test_slips_give_the_rigid_layer_modes(resources):
    rows = {(row["mode"], row["source"]): row for row in slip_reference(resources / "slip.csv", 12.011)}
    for source in ("forces", "energies"):
        assert 38 <= rows["shear", source]["frequency_cm1"] <= 42
        assert rows["breathing", source]["frequency_cm1"] == pytest.approx(128, abs=1)
        assert 0 < rows["shear", source]["frequency_se_cm1"] < 5


def test_slip_fit_recovers_known_constants(tmp_path):
    path = tmp_path / "slip.csv"
    k, c, d, f, kz, a = 34.0, 15.0, -20.0, 5.0, 360.0, -200.0
    displacements = [(x, 0, 0) for x in (0, 0.05, -0.05, 0.1, -0.1, 0.2)] + [
        (0, y, 0) for y in (0.1, -0.1, 0.2)
    ]
    displacements += [(0, 0, z) for z in (-0.12, -0.06, 0.06, 0.12)]
    with open(path, "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(_SLIP_FIELDS)
        for x, y, z in displacements:
            r2 = x * x + y * y
            energy = k * r2 / 2 + c * (y**3 - 3 * x * x * y) + d * r2**2 - f * z + kz * z * z / 2 + a * z**3
            force = (
                -k * x + 6 * c * x * y - 4 * d * r2 * x,
                -k * y - 3 * c * (y * y - x * x) - 4 * d * r2 * y,
                f - kz * z - 3 * a * z * z,
            )
            writer.writerow([x, y, z, 2 * energy, *force])
    rows = slip_reference(path, 12.011)
    constants = [row["constant_eV_per_A2_per_atom"] for row in rows]
    assert constants == pytest.approx([0.034, 0.034, 0.36, 0.36], abs=1e-5)


def test_unusable_files_are_named(tmp_path, resources):
    with pytest.raises(InputError, match="no such file"):
        load_phonopy(tmp_path / "none.yaml")
    (tmp_path / "text.yaml").write_text("a: [1, 2\n")
    with pytest.raises(InputError, match=r"text\.yaml"):
        load_phonopy(tmp_path / "text.yaml")
    cut = tmp_path / "cut.yaml.xz"
    cut.write_bytes((resources / "phonopy_params.yaml.xz").read_bytes()[:5000])
    with pytest.raises(InputError, match=r"cut\.yaml\.xz"):
        load_phonopy(cut)
    lines = (resources / "slip.csv").read_text().splitlines()
    (tmp_path / "short.csv").write_text("\n".join(lines[:3]))
    with pytest.raises(InputError, match="do not determine"):
        slip_reference(tmp_path / "short.csv", 12.011)
    (tmp_path / "columns.csv").write_text("x,y\n1,2\n")
    with pytest.raises(InputError, match="slip table"):
        slip_reference(tmp_path / "columns.csv", 12.011)

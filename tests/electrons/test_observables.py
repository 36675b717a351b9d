"""Observables as plug-ins: built-in ones against exact answers, and one of the user's."""

from __future__ import annotations

import numpy as np
import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.electrons import BlochHamiltonian, eigenvalues
from mlepi_core.electrons.observables import (
    HBAR2_PER_ELECTRON_MASS,
    OBSERVABLES,
    Quantity,
    Snapshot,
    load_plugin,
    measure,
    observable,
)
from mlepi_core.structures import build_monolayer, build_supercell
from tests.electrons.tight_binding import CONE, HOPPING, LATTICE_CONSTANT, displaced, tight_binding

PRIMITIVE = build_monolayer(lattice_constant=LATTICE_CONSTANT)


def snapshot(atoms, overlap: float = 0.0, mass: float = 0.0) -> Snapshot:
    """`mass`: energies ± mass on the two sublattices, which opens a gap of 2 mass."""
    blocks = tight_binding(atoms, overlap)
    if mass:
        own = (blocks.pairs[:, 0] == blocks.pairs[:, 1]) & (blocks.pairs[:, 2:] == 0).all(axis=1)
        second = blocks.pairs[own, 0] >= len(atoms) // 2
        h = blocks.hamiltonian.copy()
        h[own] += np.where(second, -mass, mass)
        blocks = blocks.with_values(h)
    bloch = BlochHamiltonian.from_atoms(atoms, blocks)
    return Snapshot(atoms, bloch, float(len(atoms)), PRIMITIVE)


def test_gap_of_an_ideal_supercell_is_that_of_the_primitive_cell():
    cell = build_supercell(PRIMITIVE, 3)
    found = measure("gap", snapshot(cell, mass=0.4), {"k": [1 / 3, 2 / 3, 0.0]})
    assert found["snapshot_gap"].values == pytest.approx(0.8, abs=1e-9)
    assert found["unfolded_gap"].values == pytest.approx(0.8, abs=1e-9)
    elsewhere = measure("gap", snapshot(cell, mass=0.4), {"k": [0.5, 0.0, 0.0]})
    assert elsewhere["unfolded_gap"].values == pytest.approx(2 * np.hypot(HOPPING, 0.4), abs=1e-9)
    assert found["unfolded_gap"].unit == "eV"


def test_level_repulsion_biases_the_gap_of_a_snapshot_not_the_unfolded_one():
    """At M, which folds to Gamma with two others in a 2 x 2 cell, displacements split what was degenerate."""
    cell = build_supercell(PRIMITIVE, 2)
    static = measure("gap", snapshot(cell), {"k": [0.5, 0.0, 0.0]})
    assert static["unfolded_gap"].values == pytest.approx(2 * HOPPING)
    found = [
        measure("gap", snapshot(displaced(cell, 0.02, seed, sign)), {"k": [0.5, 0.0, 0.0]})
        for seed in range(10)
        for sign in (1, -1)
    ]
    change = {name: np.mean([one[name].values for one in found]) - static[name].values for name in static}
    assert change["snapshot_gap"] < -0.1
    assert abs(change["unfolded_gap"]) < 0.3 * abs(change["snapshot_gap"])


def test_bands_of_an_ideal_supercell_are_those_of_the_primitive_cell():
    path = [[0.0, 0.0, 0.0], [0.2, 0.1, 0.0], [0.5, 0.0, 0.0]]
    bands = measure("bands", snapshot(build_supercell(PRIMITIVE, 3), 0.1), {"kpoints": path, "bands": 1})[
        "bands"
    ]
    zero = eigenvalues(snapshot(PRIMITIVE, 0.1).bloch, [[1 / 3, 2 / 3, 0.0]])[0].mean()
    assert bands.axes["band"].tolist() == [-1, 1]
    assert bands.values == pytest.approx(
        eigenvalues(snapshot(PRIMITIVE, 0.1).bloch, path)[0] - zero, abs=1e-9
    )


def test_effective_mass_of_massive_dirac_electrons():
    """m* = Delta/v^2 at the edge of a gap of 2 Delta, isotropic; the saddle point at M."""
    cell, gap = build_supercell(PRIMITIVE, 2), 0.8
    settings = {"k": [1 / 3, 2 / 3, 0.0], "step": 0.003}
    for band in (1, -1):
        found = measure("effective_mass", snapshot(cell, mass=gap), settings | {"band": band})["inverse_mass"]
        expected = np.sign(band) * CONE**2 / gap / HBAR2_PER_ELECTRON_MASS
        assert found.values == pytest.approx(expected * np.eye(2), rel=1e-3, abs=1e-3 * abs(expected))
        assert found.unit == "1/m_e"
    # E = t (1 + x^2 - x y) near M with x = k.a1, y = k.a2: a saddle point.
    saddle = measure("effective_mass", snapshot(cell), {"k": [0.5, 0.0, 0.0], "step": 0.003})["inverse_mass"]
    low, high = np.linalg.eigvalsh(saddle.values) * HBAR2_PER_ELECTRON_MASS / HOPPING / LATTICE_CONSTANT**2
    assert (low, high) == pytest.approx((-0.5, 1.5), abs=1e-3)


def test_effective_masses_that_are_not_there():
    one = {"k": [1 / 3, 2 / 3, 0.0], "step": 0.003}
    with pytest.raises(InputError, match="count bands from 1"):
        measure("effective_mass", snapshot(PRIMITIVE, mass=0.5), one | {"band": 0})
    with pytest.raises(InputError, match="2 are more than there are"):
        measure("effective_mass", snapshot(PRIMITIVE, mass=0.5), one | {"degenerate": 2})
    with pytest.raises(InputError, match="primitive"):
        measure("effective_mass", Snapshot(PRIMITIVE, snapshot(PRIMITIVE).bloch, 2.0), one)


def test_density_of_states_counts_states_and_vanishes_at_the_dirac_point():
    found = measure("dos", snapshot(PRIMITIVE), {"window": (-10, 10), "points": 1001, "mesh": (48, 48, 1)})
    grid, values = found["dos"].axes["energy_eV"], found["dos"].values
    assert np.trapezoid(values, grid) == pytest.approx(2, rel=1e-3)
    assert np.trapezoid(values[grid <= 0], grid[grid <= 0]) == pytest.approx(1, rel=0.01)
    # Two logarithmic peaks at +-t, little at the middle.
    assert abs(abs(grid[np.argmax(values)]) - HOPPING) < 0.05
    assert values[500] < 0.05 * values.max()


def test_conductivity_of_graphene_is_universal():
    """e^2/4 hbar between the broadening and the trigonal warping, whatever the hopping."""
    settings = {"window": (0.8, 1.6), "points": 11, "width": 0.2, "mesh": (90, 90, 1), "temperature": 50.0}
    values = measure("conductivity", snapshot(PRIMITIVE), settings)["conductivity"].values
    assert values == pytest.approx(np.ones(11), abs=0.06)
    # The same of a repeated cell, and with orbitals that overlap only slightly changed by band curvature.
    coarse = settings | {"mesh": (30, 30, 1), "width": 0.3}
    one = measure("conductivity", snapshot(PRIMITIVE), coarse)["conductivity"].values
    repeated = snapshot(build_supercell(PRIMITIVE, 3))
    three = measure("conductivity", repeated, coarse | {"mesh": (10, 10, 1)})["conductivity"].values
    assert three == pytest.approx(one, rel=1e-6)


def test_no_absorption_below_a_gap():
    settings = {"window": (0.2, 3.0), "points": 57, "width": 0.1, "mesh": (90, 90, 1)}
    found = measure("conductivity", snapshot(PRIMITIVE, mass=0.5), settings)["conductivity"]
    grid = found.axes["photon_energy_eV"]
    assert found.values[grid < 0.6].max() < 0.01
    # Massive Dirac electrons: 1 + (2 m/hbar omega)^2 above the gap of 2 m.
    above = (grid > 1.25) & (grid < 1.6)
    assert found.values[above].mean() == pytest.approx(np.mean(1 + 1 / grid[above] ** 2), rel=0.08)


def test_spectral_function_is_that_of_unfolding():
    k = [[0.31, 0.17, 0.0]]
    found = measure(
        "spectral", snapshot(build_supercell(PRIMITIVE, 2), 0.1), {"kpoints": k, "window": (-9, 9)}
    )
    spectrum = found["spectral"]
    grid = spectrum.axes["energy_eV"]
    bands = eigenvalues(snapshot(PRIMITIVE, 0.1).bloch, k)[0][0]
    peak = grid[np.argmax(spectrum.values[0])]
    zero = eigenvalues(snapshot(PRIMITIVE, 0.1).bloch, [[1 / 3, 2 / 3, 0.0]])[0].mean()
    assert min(abs(peak + zero - bands)) < 0.06
    assert spectrum.values.shape == (1, 301)


def test_gamma1_of_a_bilayer_from_dft(dft_bilayer):
    bloch = BlochHamiltonian.from_atoms(dft_bilayer.atoms, dft_bilayer.blocks)
    found = measure("gamma1", Snapshot(dft_bilayer.atoms, bloch, dft_bilayer.n_electrons))
    # The outer bands lie 0.50 eV above and 0.50 eV below at 3.16 Å.
    assert found["gamma1"].values == pytest.approx(0.5, abs=0.03)
    with pytest.raises(InputError, match="1 layers"):
        measure("gamma1", snapshot(build_supercell(PRIMITIVE, 3)))


def test_a_file_of_the_user_adds_an_observable(tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from mlepi_core.electrons.observables import Quantity, observable\n\n\n"
        "@observable('bandwidth')\n"
        "def bandwidth(snapshot, *, k=(0.0, 0.0, 0.0)):\n"
        "    energies = snapshot.energies([k])[0]\n"
        "    return {'bandwidth': Quantity(energies[-1] - energies[0], 'eV')}\n"
    )
    try:
        assert load_plugin(plugin) == ["bandwidth"]
        assert measure("bandwidth", snapshot(PRIMITIVE))["bandwidth"].values == pytest.approx(6 * HOPPING)
    finally:
        OBSERVABLES.pop("bandwidth", None)


def test_bad_requests_are_named(tmp_path):
    with pytest.raises(InputError, match="'mobility' is unknown"):
        measure("mobility", snapshot(PRIMITIVE))
    with pytest.raises(InputError, match=r"observable dos: has no setting 'wide'"):
        measure("dos", snapshot(PRIMITIVE), {"wide": 0.1})
    bare = Snapshot(PRIMITIVE, snapshot(PRIMITIVE).bloch, 2.0)
    with pytest.raises(InputError, match="primitive"):
        measure("gap", bare, {"k": [0, 0, 0]})
    for name, text, message in (
        ("fails.py", "import no_such_module\n", "ModuleNotFoundError"),
        ("empty.py", "x = 1\n", "registers no observable"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=message):
            load_plugin(tmp_path / name)
    with pytest.raises(InputError, match="no such file"):
        load_plugin(tmp_path / "absent.py")


def test_registering_twice_replaces():
    try:
        observable("tmp")(lambda snapshot: {"a": Quantity(1.0, "eV")})
        observable("tmp")(lambda snapshot: {"a": Quantity(2.0, "eV")})
        assert measure("tmp", snapshot(PRIMITIVE))["a"].values == 2.0
    finally:
        OBSERVABLES.pop("tmp", None)

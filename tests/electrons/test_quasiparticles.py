"""Velocity from averaged Green functions (acceptance tests 6 and 7): models with exact answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms

from mlepi_core.artefacts import InputError
from mlepi_core.electrons import BlochHamiltonian
from mlepi_core.electrons.estimators import METRES_PER_SECOND
from mlepi_core.electrons.quasiparticles import (
    ESTIMATORS,
    ConeStates,
    band_energies,
    cone_states,
    half_widths,
    primitive_cell,
    projected_green,
)
from mlepi_core.formats.store import LabelEntry, StoreWriter
from mlepi_core.orbitals import Basis
from mlepi_core.stages.velocity import velocity
from mlepi_core.structures import build_monolayer, build_supercell
from tests.electrons.tight_binding import CONE, LATTICE_CONSTANT, displaced, tight_binding

PRIMITIVE = build_monolayer(lattice_constant=LATTICE_CONSTANT)
SIGMA = 0.04


def bloch_of(atoms: Atoms, shift: float = 0.0, overlap: float = 0.1) -> BlochHamiltonian:
    blocks = tight_binding(atoms, overlap)
    return BlochHamiltonian.from_atoms(
        atoms, blocks.with_values(blocks.hamiltonian + shift * blocks.overlap, blocks.overlap)
    )


def states_of(n: int, **options) -> ConeStates:
    cell = build_supercell(PRIMITIVE, (n, n, 1))
    return cone_states(bloch_of(cell), cell, PRIMITIVE, n_electrons=float(len(cell)), **options)


def green_of(atoms: Atoms, states: ConeStates, shift: float = 0.0) -> np.ndarray:
    return projected_green(bloch_of(atoms, shift), atoms, PRIMITIVE, states, float(len(atoms)))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_bare_states_do_not_depend_on_the_cell(n: int) -> None:
    one, other = states_of(1), states_of(n)
    assert other.energies == pytest.approx(one.energies, abs=1e-9)
    assert other.z == pytest.approx(one.z)
    # The slope is that of the cone, up to trigonal warping and the overlap.
    assert other.velocity(other.energies) == pytest.approx(METRES_PER_SECOND * CONE, rel=0.03)


def test_primitive_cell_of_a_supercell() -> None:
    found = primitive_cell(build_supercell(PRIMITIVE, (3, 3, 1)))
    assert len(found) == len(PRIMITIVE)
    assert np.asarray(found.cell) == pytest.approx(np.asarray(PRIMITIVE.cell))


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("n", [1, 3])
def test_ideal_cells_have_the_bare_velocity(estimator: str, n: int) -> None:
    """To 1e-3; the self-energy of an ideal cell vanishes."""
    states = states_of(n)
    green = green_of(build_supercell(PRIMITIVE, (n, n, 1)), states, shift=0.7)
    energies = band_energies(green, states, estimator)
    assert energies == pytest.approx(states.energies, abs=1e-6)
    assert states.velocity(energies) == pytest.approx(states.velocity(states.energies), rel=1e-3)
    assert np.abs(half_widths(green, states, energies)).max() < 1e-9


def test_a_constant_in_the_hamiltonian_drops_out() -> None:
    states = states_of(3)
    atoms = displaced(build_supercell(PRIMITIVE, (3, 3, 1)), SIGMA, 1)
    assert green_of(atoms, states, 1.3) == pytest.approx(green_of(atoms, states), abs=1e-8)


def test_imaginary_part_is_the_unfolded_spectrum() -> None:
    """-Im tr G/pi is a sum of Lorentzians whose weight is that of the states within the grid."""
    states = states_of(3)
    atoms = displaced(build_supercell(PRIMITIVE, (3, 3, 1)), SIGMA, 2)
    spectrum = -np.trace(green_of(atoms, states), axis1=-2, axis2=-1).imag / np.pi
    assert (spectrum > 0).all()
    wide = replace(states, z=np.linspace(-60, 60, 24001) + 0.03j)
    whole = -np.trace(green_of(atoms, wide), axis1=-2, axis2=-1).imag / np.pi
    assert np.trapezoid(whole, wide.z.real, axis=1) == pytest.approx(2.0, abs=2e-3)


def test_two_level_ensemble() -> None:
    """A band that lies at +d or -d with equal weight: G = z/(z^2 - d^2), hence a self-energy of d^2/z."""
    z = np.linspace(-1, 1, 401) + 0.05j
    states = ConeStates(np.zeros((1, 3)), np.array([0.1]), np.zeros((1, 1)), np.ones((1, 1, 1)), z)
    d = 0.02
    green = (z / (z**2 - d**2))[None, :, None, None]
    # d < eta: the pole stays at zero.
    assert band_energies(green, states, "self_energy")[0, 0] == pytest.approx(0.0, abs=1e-9)
    assert band_energies(green, states, "spectral")[0, 0] == pytest.approx(0.0, abs=1e-9)
    assert half_widths(green, states, np.zeros((1, 1)))[0, 0] == pytest.approx(d**2 / 0.05)


def store(path, tasks) -> str:
    with StoreWriter(path, Basis({"C": (0,)}), {}) as writer:
        for name, atoms, shift, attrs in tasks:
            blocks = tight_binding(atoms, 0.1)
            blocks = blocks.with_values(blocks.hamiltonian + shift * blocks.overlap, blocks.overlap)
            writer.add(LabelEntry(name, atoms, n_electrons=float(len(atoms)), blocks=blocks, attrs=attrs))
    return str(path)


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> dict[str, str]:
    """Snapshots with uncorrelated displacements, and the ideal cells."""
    path = tmp_path_factory.mktemp("quasiparticles")
    cell = build_supercell(PRIMITIVE, (6, 6, 1))
    tasks = [
        (
            f"p{pair}{sign:+d}",
            displaced(cell, SIGMA, pair, sign),
            0.2 * pair,
            {"pair": pair, "sign": sign, "temperature": 300.0},
        )
        for pair in range(24)
        for sign in (1, -1)
    ]
    return {
        "samples": store(path / "samples.h5", tasks),
        "few": store(path / "few.h5", tasks[:12]),
        "static": store(path / "static.h5", [("cell", PRIMITIVE, 0.0, {})]),
        "other": store(
            path / "other.h5", [("cell", build_monolayer(lattice_constant=LATTICE_CONSTANT * 1.02), 0.0, {})]
        ),
    }


def test_self_energy_and_spectrum_agree_with_the_manifold(stores) -> None:
    """One renormalisation: W of the mean bands against the mean of W, within errors and the static drift."""
    window = (0.04, 0.12)
    found = {
        name: velocity(stores["samples"], stores["static"], name, window)
        for name in ("manifold", "self_energy", "spectral")
    }
    exact = found["manifold"]
    for name in ESTIMATORS:
        row = found[name]
        assert row["supercell_n"] == 6
        assert (row["n_pairs"], row["n_evaluations"]) == (24, 48)
        assert row["v_static_m_per_s"] == pytest.approx(exact["v_static_m_per_s"], rel=0.01)
        assert abs(row["ratio"] - exact["ratio"]) < 3 * np.hypot(row["ratio_se"], exact["ratio_se"]) + 0.01
        assert all(width > 0 for band in row["bands"] for width in band["half_width_eV"])
    few = velocity(stores["few"], stores["static"], "self_energy", window)
    # A quarter of the pairs: twice the error, but six pairs know little of it.
    assert few["ratio_se"] > 1.2 * found["self_energy"]["ratio_se"]
    assert abs(few["ratio"] - found["self_energy"]["ratio"]) < 4 * few["ratio_se"]


@pytest.mark.parametrize(
    ("static", "options", "words"),
    [
        ("other", {}, "not an integer multiple of the primitive cell"),
        ("static", {"window": (0.1, 0.05)}, "give 0 <= LO < HI"),
        ("static", {"control_variates": True, "phonons": "x"}, "has no control variates or weights"),
    ],
)
def test_what_cannot_be_used(stores, static: str, options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        velocity(stores["few"], stores[static], "self_energy", **options)

"""Second-order perturbation theory with overlaps against averages over displacements (acceptance test 5)."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from mlepi_core.electrons import BlochHamiltonian, solve
from mlepi_core.structures import build_monolayer, build_supercell
from tests.electrons.tight_binding import tight_binding

OVERLAP, CUTOFF, SIGMA, STEP = 0.12, 1.9, 0.04, 1e-3
#: Bottom of the bands at Gamma, which is not degenerate.
STATE = 0


def matrices(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    return BlochHamiltonian.from_atoms(atoms, tight_binding(atoms, OVERLAP, CUTOFF)).matrices([0, 0, 0])


def moved(atoms: Atoms, displacement: np.ndarray) -> Atoms:
    copy = atoms.copy()
    copy.positions += displacement.reshape(-1, 3)
    return copy


def energy(atoms: Atoms) -> float:
    return float(solve(*matrices(atoms)).energies[STATE])


def derivatives(atoms: Atoms, coordinate: int) -> tuple[np.ndarray, ...]:
    """H', S', H'', S'' for one Cartesian coordinate, by central differences."""
    unit = np.zeros(3 * len(atoms))
    unit[coordinate] = STEP
    (h, s), (h_up, s_up), (h_down, s_down) = (matrices(moved(atoms, f * unit)) for f in (0, 1, -1))
    first = (h_up - h_down) / (2 * STEP), (s_up - s_down) / (2 * STEP)
    return *first, (h_up - 2 * h + h_down) / STEP**2, (s_up - 2 * s + s_down) / STEP**2


def second_derivative(atoms: Atoms, coordinate: int) -> float:
    """eps'' = C(H'' - eps S'' - 2 eps' S')C + 2 sum_m |C_m (H' - eps S') C|^2/(eps - eps_m)."""
    states = solve(*matrices(atoms), vectors=True)
    h1, s1, h2, s2 = derivatives(atoms, coordinate)
    vectors, eps = states.vectors, states.energies[STATE]
    own = vectors[:, STATE]
    slope = own @ (h1 - eps * s1) @ own
    coupling = vectors.T @ (h1 - eps * s1) @ own
    others = np.arange(len(vectors)) != STATE
    fan = 2 * np.sum(coupling[others] ** 2 / (eps - states.energies[others]))
    return float(own @ (h2 - eps * s2 - 2 * slope * s1) @ own + fan)


@pytest.fixture(scope="module")
def cell() -> Atoms:
    return build_supercell(build_monolayer(), 2)


def test_second_derivative_is_that_of_the_energy(cell):
    for coordinate in (0, 4, 13):
        unit = np.zeros(3 * len(cell))
        unit[coordinate] = 4e-3
        numeric = (energy(moved(cell, unit)) - 2 * energy(cell) + energy(moved(cell, -unit))) / 4e-3**2
        assert second_derivative(cell, coordinate) == pytest.approx(numeric, rel=1e-4, abs=1e-4)


def test_average_over_small_displacements_is_second_order(cell):
    """<eps> - eps_0 = s^2 sigma^2/2 sum eps'', the limit of small s."""
    in_plane = [3 * atom + axis for atom in range(len(cell)) for axis in (0, 1)]
    expected = SIGMA**2 / 2 * sum(second_derivative(cell, coordinate) for coordinate in in_plane)
    static, scale, values = energy(cell), 0.25, []
    for pair in range(400):
        noise = np.random.default_rng(pair).normal(size=(len(cell), 3)) * [1, 1, 0] * scale * SIGMA
        values.append((energy(moved(cell, noise)) + energy(moved(cell, -noise))) / 2 - static)
    mean, error = np.mean(values) / scale**2, np.std(values, ddof=1) / 20 / scale**2
    assert error < 0.04 * abs(expected)
    assert mean == pytest.approx(expected, abs=3.5 * error + 0.01 * abs(expected))

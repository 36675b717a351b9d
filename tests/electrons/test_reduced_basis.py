"""The reduced basis against full solutions, on DFT Hamiltonians of perturbed cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlepi_core.electrons import BlochHamiltonian, DiracCone, VelocitySpec, eigenvalues, sample_quantities
from mlepi_core.electrons import estimators as estimators_module
from mlepi_core.electrons.reduced_basis import ReducedBasis, manifold_energies
from mlepi_core.formats.store import LabelStore

STORE = Path(__file__).parents[2] / "resources" / "bilayer-graphene" / "perturbed-4x4.h5"
RADII = np.array([0.02, 0.03, 0.05, 0.07, 0.1])


@pytest.fixture(scope="module", params=["bg4x4_0009", "bg4x4_0012"])
def case(request):
    """A strongly perturbed 4 x 4 bilayer: one valley, neighbouring folded bands."""
    with LabelStore(STORE) as store:
        entry = store.read(request.param)
    return BlochHamiltonian.from_atoms(entry.atoms, entry.blocks), DiracCone.from_atoms(
        entry.atoms, entry.n_electrons
    )


def points(bloch, cone, radii) -> np.ndarray:
    offsets = cone.offsets(2)[:2, None, :] * np.asarray(radii)[:, None]
    return np.asarray(cone.point) + bloch.fractional(offsets.reshape(-1, 3))


def test_energies_are_those_of_full_solutions(case):
    bloch, cone = case
    kpoints = points(bloch, cone, RADII)
    exact = eigenvalues(bloch, kpoints, subset=cone.subset)[0]
    anchors = [cone.point, *points(bloch, cone, [0.05, 0.1])]
    found, lost, error = manifold_energies(bloch, kpoints, anchors, cone.subset)
    assert np.abs(found - exact).max() < 2e-6
    assert error < 2e-6
    assert lost == 0
    # The tested k is where the error is near its largest, and a poorer basis shows there.
    poor = ReducedBasis.of(bloch, [cone.point], cone.subset)
    errors = np.abs([poor.energies(bloch, k)[0] for k in kpoints] - exact).max(axis=1)
    tested = poor.farthest(bloch, kpoints)
    assert errors[tested] > 0.1 * errors.max() > 1e-4


def test_a_poor_basis_is_not_used(case):
    bloch, cone = case
    kpoints = points(bloch, cone, RADII[:2])
    exact = eigenvalues(bloch, kpoints, subset=cone.subset)[0]
    found, _, error = manifold_energies(bloch, kpoints, [cone.point], cone.subset)
    assert error > 1e-5
    assert np.array_equal(found, exact)


def test_a_doubtful_manifold_is_solved_in_full(case, monkeypatch):
    bloch, cone = case
    kpoints = points(bloch, cone, RADII)
    anchors = [cone.point, *points(bloch, cone, [0.05, 0.1])]
    exact = eigenvalues(bloch, kpoints, subset=cone.subset)[0]
    right = ReducedBasis.energies
    tested = ReducedBasis.of(bloch, anchors, cone.subset).farthest(bloch, kpoints)
    wrong = (tested + 1) % len(kpoints)

    def mistaken(self, bloch, k):
        values, _ = right(self, bloch, k)
        doubtful = np.allclose(k, kpoints[wrong])
        return (values + 1.0, False) if doubtful else (values, True)

    monkeypatch.setattr(ReducedBasis, "energies", mistaken)
    found, _, error = manifold_energies(bloch, kpoints, anchors, cone.subset)
    assert np.abs(found - exact).max() < 2e-6
    assert error < 2e-6


def test_manifold_and_neighbours_must_agree(case):
    """Without neighbours in the space the place says nothing: nothing is sure that is wrong."""
    bloch, cone = case
    anchors = [cone.point, *points(bloch, cone, [0.05, 0.1])]
    basis = ReducedBasis.of(bloch, anchors, cone.subset)
    kpoints = points(bloch, cone, RADII)
    exact = eigenvalues(bloch, kpoints, subset=cone.subset)[0]
    for k, energies in zip(kpoints, exact, strict=True):
        values, sure = basis.energies(bloch, k)
        assert not sure or np.abs(values - energies).max() < 2e-6


def test_quantities_of_a_snapshot_do_not_depend_on_it(case, monkeypatch):
    bloch, cone = case
    monkeypatch.setattr(estimators_module, "WORTHWHILE", 0)
    spec = VelocitySpec(estimators=("manifold",), windows=((0.03, 0.10),), k_points=6, directions=2)
    reduced = sample_quantities(bloch, cone, spec)["energies"]
    calls = []

    def full(bloch, kpoints, anchors, subset, **options):
        calls.append(len(kpoints))
        return *eigenvalues(bloch, kpoints, subset=subset, **options), 0.0

    monkeypatch.setattr(estimators_module, "manifold_energies", full)
    exact = sample_quantities(bloch, cone, spec)["energies"]
    assert calls == [6 * len(cone.offsets(2))]
    assert np.abs(reduced - exact).max() < 2e-6
    assert not np.array_equal(reduced, exact)

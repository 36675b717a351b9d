"""Optional kernels against the reference path; skipped where the package is absent."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlepi_core.artefacts import InputError
from mlepi_core.inference.calculator import PhononCalculator
from mlepi_core.nn.phonon_accelerators import accelerate
from mlepi_core.nn.phonon_graph import build_graph, collate
from tests.nn.phonon_cases import bilayer, energy_forces, net


def test_unknown_and_unusable_accelerators_are_refused():
    with pytest.raises(InputError, match="unknown"):
        accelerate(net(), "magic")
    with pytest.raises(InputError, match="CUDA"):
        accelerate(net(), "cuequivariance")


@pytest.mark.parametrize("species", [(6,), (5, 7)])
def test_naive_cuequivariance_equals_the_reference(species):
    """Energies, forces, gradients of a loss in the forces, and Hessian."""
    pytest.importorskip("cuequivariance_torch")
    plain, fast = (net(species=species, max_ell=2) for _ in range(2))
    accelerate(fast, "cuequivariance", method="naive")
    assert fast.state_dict().keys() == plain.state_dict().keys()
    atoms = bilayer(1)
    atoms.numbers = [species[0], species[-1]] * 2
    (energy, forces), (other, other_forces) = energy_forces(plain, atoms), energy_forces(fast, atoms)
    assert other == pytest.approx(energy, rel=1e-11)
    np.testing.assert_allclose(other_forces, forces, atol=1e-11 * np.abs(forces).max())
    for first, second in zip(_weight_gradients(plain, atoms), _weight_gradients(fast, atoms), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-9, atol=1e-9)
    hessians = [PhononCalculator(model).hessian(atoms) for model in (plain, fast)]
    np.testing.assert_allclose(hessians[1], hessians[0], atol=1e-10 * np.abs(hessians[0]).max())
    assert energy_forces(accelerate(fast, "none"), atoms)[0] == energy


def _weight_gradients(model, atoms):
    batch = collate([build_graph(atoms, model.species, model.cutoffs)], torch.float64)
    energy, forces = model(batch, create_graph=True)
    return torch.autograd.grad(energy.square().sum() + forces.square().sum(), list(model.parameters()))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_kernel_equals_the_reference():
    pytest.importorskip("cuequivariance_torch")
    atoms = bilayer(2)
    results = []
    for name in ("none", "cuequivariance"):
        model = accelerate(net().to("cuda"), name)
        batch = collate([build_graph(atoms, model.species, model.cutoffs)], torch.float64, "cuda")
        results.append([part.detach().cpu() for part in model(batch)])
    for reference, found in zip(*results, strict=True):
        torch.testing.assert_close(found, reference, rtol=1e-9, atol=1e-9)

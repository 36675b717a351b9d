"""Radial functions, harmonics and the product basis against references and their defining properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from e3nn import o3
from scipy.spatial.transform import Rotation

from mlepi_core.nn import phonon_messages
from mlepi_core.nn.phonon_blocks import FirstInteraction, Interaction
from mlepi_core.nn.phonon_messages import message_sums
from mlepi_core.nn.product_basis import SymmetricContraction, coupling_tensors
from mlepi_core.nn.radial import BesselBasis, RadialNetwork, SphericalHarmonics, polynomial_envelope


def test_harmonics_equal_e3nn():
    vectors = torch.nn.functional.normalize(torch.randn(20, 3, dtype=torch.float64), dim=-1)
    expected = o3.spherical_harmonics(range(5), vectors, normalize=False, normalization="component")
    torch.testing.assert_close(SphericalHarmonics(4)(vectors), expected, rtol=0, atol=1e-13)


def test_envelope_vanishes_with_slope_and_curvature():
    x = torch.tensor([5.0 - 1e-6], dtype=torch.float64, requires_grad=True)
    value = polynomial_envelope(x, 5.0)
    (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), x)
    assert abs(value.item()) < 1e-14
    assert abs(slope.item()) < 1e-11
    assert abs(curvature.item()) < 1e-4
    assert polynomial_envelope(torch.tensor([5.0, 7.0]), 5.0).tolist() == [0.0, 0.0]


def test_radial_network_is_zero_beyond_the_cutoff():
    distance = torch.tensor([1.4, 5.0, 9.0], dtype=torch.float64)
    values = RadialNetwork(8, (16,), 3)(BesselBasis(5.0)(distance))
    assert (values[0] != 0).all()
    assert (values[1:] == 0).all()


@pytest.mark.parametrize(("ell", "all_paths", "independent"), [(0, 23, 8), (1, 51, 12), (2, 65, 14)])
def test_path_counts(ell, all_paths, independent):
    assert len(coupling_tensors(3, 3, ell, reduced=False)) == all_paths
    assert len(coupling_tensors(3, 3, ell)) == independent


@pytest.mark.parametrize("ell", [0, 1])
def test_reduced_couplings_span_the_symmetrised_paths(ell):
    full, reduced = coupling_tensors(2, 3, ell, reduced=False), coupling_tensors(2, 3, ell)
    axes = [(2, 3, 4), (2, 4, 3), (3, 2, 4), (3, 4, 2), (4, 2, 3), (4, 3, 2)]
    symmetric = sum(full.permute(0, 1, *order) for order in axes) / 6
    columns = reduced.flatten(1).T
    fitted = torch.linalg.lstsq(columns, symmetric.flatten(1).T).solution
    torch.testing.assert_close(columns @ fitted, symmetric.flatten(1).T, rtol=0, atol=1e-12)


def test_reduced_product_reproduces_the_full_product():
    """For any weights of the full basis there are weights of the reduced one with the same values."""
    torch.manual_seed(0)
    full = SymmetricContraction(1, 2, 2, (0, 1), 3, reduced=False)
    small = SymmetricContraction(1, 2, 2, (0, 1), 3)
    with torch.no_grad():
        for order in (1, 2, 3):
            for ell in (0, 1):
                wide, narrow = getattr(full, f"u_{order}_{ell}"), getattr(small, f"u_{order}_{ell}")
                symmetric = _symmetrised(wide, order)
                fit = torch.linalg.lstsq(
                    _symmetrised(narrow, order).flatten(1).T, symmetric.flatten(1).T
                ).solution
                weights = full.weights[f"w_{order}_{ell}"][0]
                small.weights[f"w_{order}_{ell}"][0] = weights @ fit.T
    features = torch.randn(5, 9, 2, dtype=torch.float64)
    species = torch.zeros(5, dtype=torch.long)
    torch.testing.assert_close(small(features, species), full(features, species), rtol=1e-10, atol=1e-10)


def _symmetrised(couplings: torch.Tensor, order: int) -> torch.Tensor:
    """(eta, M, D, ..., D), symmetric in the D axes, from the buffer's (eta, D^(order-1), D, M)."""
    n_eta, _, size, n_out = couplings.shape
    tensor = couplings.permute(0, 3, 1, 2).reshape(n_eta, n_out, *(size,) * order)
    if order == 1:
        return tensor
    orders = (
        [(2, 3), (3, 2)]
        if order == 2
        else [(a, b, c) for a in (2, 3, 4) for b in (2, 3, 4) for c in (2, 3, 4)]
    )
    orders = [axes for axes in orders if len(set(axes)) == order]
    return sum(tensor.permute(0, 1, *axes) for axes in orders) / len(orders)


def test_product_equals_plain_sums():
    """The batched form against the defining sum, two elements, correlation 3."""
    torch.manual_seed(1)
    contraction = SymmetricContraction(2, 3, 1, (0, 1), 3)
    features = torch.randn(4, 4, 3, dtype=torch.float64)
    species = torch.tensor([0, 1, 1, 0])
    expected = torch.zeros(4, 4, 3, dtype=torch.float64)
    for ell, rows in ((0, slice(0, 1)), (1, slice(1, 4))):
        for order, letters in ((1, "a"), (2, "ab"), (3, "abc")):
            couplings = coupling_tensors(1, order, ell)
            weights = contraction.weights[f"w_{order}_{ell}"][species]
            factors = ",".join(f"n{x}k" for x in letters)
            expected[:, rows] += torch.einsum(
                f"nke,em{letters},{factors}->nmk", weights, couplings, *[features] * order
            )
    torch.testing.assert_close(contraction(features, species), expected, rtol=1e-12, atol=1e-12)


def test_product_is_equivariant_and_zero_at_zero():
    torch.manual_seed(2)
    contraction = SymmetricContraction(1, 2, 3, (0, 1, 2), 3)
    features = torch.randn(3, 16, 2, dtype=torch.float64)
    species = torch.zeros(3, dtype=torch.long)
    rotation = torch.from_numpy(-Rotation.random(random_state=5).as_matrix())
    d_in, d_out = (_wigner(irreps, rotation) for irreps in ("0e+1o+2e+3o", "0e+1o+2e"))
    torch.testing.assert_close(
        contraction(d_in @ features, species), d_out @ contraction(features, species), rtol=1e-9, atol=1e-9
    )
    assert (contraction(torch.zeros_like(features), species) == 0).all()


def _wigner(irreps: str, rotation: torch.Tensor) -> torch.Tensor:
    """Wigner matrix from the harmonics of random vectors (e3nn's Euler angles are accurate to 1e-7 only)."""
    lmax = o3.Irreps(irreps).lmax
    vectors = torch.nn.functional.normalize(torch.randn(200, 3, dtype=torch.float64), dim=-1)
    blocks = []
    for ell in range(lmax + 1):
        before, after = (
            o3.spherical_harmonics(ell, v, normalize=False, normalization="component")
            for v in (vectors, vectors @ rotation.T)
        )
        blocks.append(torch.linalg.lstsq(before, after).solution.T)
    return torch.block_diag(*blocks)


def test_interaction_equals_sum_over_edges():
    """The padded, couple-after-summing form against one tensor product per edge."""
    torch.manual_seed(3)
    block = Interaction(1, 2, 3, 4, (5,))
    n, m = 4, 3
    h = torch.randn(n, 4, 3, dtype=torch.float64)
    sender = torch.randint(n, (n, m))
    basis = torch.randn(n, m, 4, dtype=torch.float64)
    harmonics = torch.randn(n, 9, m, dtype=torch.float64)
    radial = block.radial(basis).reshape(n, m, len(block.paths), 3)
    up = block.up(h)
    expected = []
    for ell in range(3):
        parts = []
        for index, (l1, l2, l3) in enumerate(block.paths):
            if l3 != ell:
                continue
            symbol = o3.wigner_3j(l1, l2, l3, dtype=torch.float64) * np.sqrt(2 * l3 + 1)
            messages = torch.einsum(
                "abc,nmak,nbm,nmk->nck",
                symbol,
                up[sender][:, :, l1**2 : (l1 + 1) ** 2],
                harmonics[:, l2**2 : (l2 + 1) ** 2],
                radial[:, :, index],
            )
            parts.append(messages)
        weight = block.mix[ell]
        expected.append(torch.cat(parts, dim=-1) @ weight / np.sqrt(weight.shape[0]))
    species = torch.zeros(n, dtype=torch.long)
    actual = block(h, species, sender, basis, harmonics)
    torch.testing.assert_close(actual, torch.cat(expected, dim=1), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("n_species", [1, 2])
def test_first_interaction_equals_the_general_one(n_species):
    """Scalars of the elements taken out of the sum over neighbours, for one and two elements."""
    torch.manual_seed(4)
    first = FirstInteraction(3, 4, n_species, 5, (6,))
    general = Interaction(0, 3, 4, 5, (6,))
    general.load_state_dict(first.state_dict(), strict=False)
    n, m = 5, 3
    embedding = torch.randn(n_species, 4, dtype=torch.float64)
    species = torch.arange(n) % n_species
    inputs = (torch.randint(n, (n, m)), torch.randn(n, m, 5).double(), torch.randn(n, 16, m).double())
    expected = first.species_map(general(embedding[species][:, None], species, *inputs), species)
    torch.testing.assert_close(first(embedding, species, *inputs), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("bytes_at_once", [1, 2**20])
def test_message_sums_and_their_derivatives(monkeypatch, bytes_at_once):
    """Against plain sums, by finite differences up to second order, and batched; in one part and in many."""
    monkeypatch.setattr(phonon_messages, "_CACHE_BYTES", bytes_at_once)
    torch.manual_seed(5)
    groups, shapes = ((2, 1), (3, 3)), [(3, 4, 5, 2), (3, 4, 4, 2), (3, 4, 4)]
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]

    def sums(*operands):
        return message_sums(*operands, groups)

    def plain(radial, features, harmonics):
        parts = zip(radial.split([2, 3], dim=2), features.split([1, 3], dim=2), strict=True)
        return [torch.einsum("nds,nspk,nsck->ndpck", harmonics, r, x).flatten(1, 3) for r, x in parts]

    for found, expected in zip(sums(*inputs), plain(*inputs), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(sums, inputs)
    assert torch.autograd.gradgradcheck(sums, inputs)
    rows = [
        _second_derivatives(function, inputs, batched) for function, batched in ((sums, True), (plain, False))
    ]
    torch.testing.assert_close(rows[0], rows[1], rtol=1e-10, atol=1e-10)


def _second_derivatives(function, inputs, batched):
    """First ten rows with respect to the first input, at once or one by one."""
    value = sum(part.square().sum() for part in function(*inputs))
    (gradient,) = torch.autograd.grad(value, inputs[0], create_graph=True)

    def row(unit):
        return torch.autograd.grad(gradient, inputs[0], unit, retain_graph=True)[0]

    units = torch.eye(10, gradient.numel(), dtype=torch.float64).reshape(10, *gradient.shape)
    return torch.func.vmap(row)(units) if batched else torch.stack([row(unit) for unit in units])

"""Frames and Wigner matrices against e3nn, and their independence of the gauge."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from e3nn import o3

from mlepi_core.basis.rotations import (
    PERMUTATION,
    edge_frames,
    permuted_rotation,
    wigner_3j,
    wigner_matrices,
    wigner_matrices_numpy,
)

LMAX = 5


def random_rotations(n: int, improper: bool = False) -> torch.Tensor:
    """(n, 3, 3) float64; with `improper` every other matrix contains the inversion."""
    generator = torch.Generator().manual_seed(7)
    quaternion = torch.nn.functional.normalize(
        torch.randn(n, 4, generator=generator, dtype=torch.float64), dim=1
    )
    rotations = o3.quaternion_to_matrix(quaternion)
    if improper:
        rotations[1::2] *= -1
    return rotations


def random_vectors(n: int) -> torch.Tensor:
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.mark.usefixtures("float64_by_default")
def test_wigner_matrices_equal_those_of_e3nn() -> None:
    rotations = random_rotations(40, improper=True)
    for degree, matrices in enumerate(wigner_matrices(rotations, LMAX)):
        expected = o3.Irrep(degree, (-1) ** degree).D_from_matrix(rotations)
        torch.testing.assert_close(matrices, expected, rtol=0, atol=1e-12)


def test_wigner_matrices_are_a_representation() -> None:
    first, second = random_rotations(20), random_rotations(20).flip(0)
    for one, two, both in zip(
        wigner_matrices(first, LMAX),
        wigner_matrices(second, LMAX),
        wigner_matrices(first @ second, LMAX),
        strict=True,
    ):
        torch.testing.assert_close(one @ two, both, rtol=0, atol=1e-13)


def test_wigner_matrices_rotate_spherical_harmonics_in_the_permuted_frame() -> None:
    rotation = random_rotations(1)
    vectors = random_vectors(10)
    degrees = list(range(LMAX + 1))

    def harmonics(cartesian: torch.Tensor) -> torch.Tensor:
        return o3.spherical_harmonics(degrees, cartesian[:, list(PERMUTATION)], normalize=True)

    before, after = harmonics(vectors), harmonics(vectors @ rotation[0].T)
    for degree, matrix in enumerate(wigner_matrices(permuted_rotation(rotation), LMAX)):
        part = slice(degree**2, (degree + 1) ** 2)
        torch.testing.assert_close(before[:, part] @ matrix[0].T, after[:, part], rtol=0, atol=1e-12)


@pytest.mark.parametrize("default", [torch.float32, torch.float64])
def test_constants_do_not_depend_on_the_default_dtype(default: torch.dtype) -> None:
    previous = torch.get_default_dtype()
    try:
        torch.set_default_dtype(default)
        wigner_3j.cache_clear()
        symbol = wigner_3j(2, 2, 2)
    finally:
        torch.set_default_dtype(previous)
    assert symbol.dtype == torch.float64
    # The largest entries of w3j(2,2,2) are sqrt(2/35).
    assert abs(float(symbol.abs().max()) - (2 / 35) ** 0.5) < 1e-15


def test_frames_take_edges_to_the_polar_axis() -> None:
    special = torch.tensor([[0, 0, 3.0], [0, 0, -3.0], [2.0, 0, 0], [0, -1.0, 0], [1e-9, 0, 1.0]]).double()
    vectors = torch.cat([special, random_vectors(200)])
    frames = edge_frames(vectors)
    lengths = torch.linalg.vector_norm(vectors, dim=1)
    turned = (frames @ vectors[:, list(PERMUTATION), None])[..., 0]
    expected = torch.stack([torch.zeros_like(lengths), lengths, torch.zeros_like(lengths)], dim=1)
    torch.testing.assert_close(turned, expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(torch.linalg.det(frames), torch.ones_like(lengths))
    identity = torch.eye(3).double().expand_as(frames)
    torch.testing.assert_close(frames @ frames.transpose(1, 2), identity, rtol=0, atol=1e-14)


def axial_operator(vectors: torch.Tensor, gauge: torch.Tensor | None = None) -> torch.Tensor:
    """D^T diag D of l = 2 with a diagonal that depends on |m| only, in an optionally turned gauge."""
    frames = edge_frames(vectors)
    if gauge is not None:
        cos, sin, zero, one = gauge.cos(), gauge.sin(), torch.zeros_like(gauge), torch.ones_like(gauge)
        about_polar = torch.stack([cos, zero, sin, zero, one, zero, -sin, zero, cos], dim=1).reshape(-1, 3, 3)
        frames = about_polar @ frames
    wigner = wigner_matrices(frames, 2)[2]
    diagonal = torch.tensor([0.3, -0.7, 1.1, -0.7, 0.3], dtype=torch.float64)
    return wigner.transpose(1, 2) @ (diagonal[:, None] * wigner)


def test_axial_operators_do_not_depend_on_the_gauge_in_value_and_gradient() -> None:
    vectors = torch.cat([random_vectors(20), torch.tensor([[0, 0, 3.3], [1e-7, 0, -3.3]]).double()])
    vectors.requires_grad_()
    angles = torch.linspace(0.1, 6.0, len(vectors), dtype=torch.float64)
    plain, turned = axial_operator(vectors), axial_operator(vectors, angles)
    torch.testing.assert_close(plain, turned, rtol=0, atol=1e-13)
    weights = torch.randn(plain.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    first = torch.autograd.grad((weights * plain).sum(), vectors)[0]
    second = torch.autograd.grad((weights * turned).sum(), vectors)[0]
    torch.testing.assert_close(first, second, rtol=0, atol=1e-12)


def test_gradient_is_right_on_top_and_where_the_helper_axis_changes() -> None:
    near_threshold = torch.tensor([[0.6, 0.0, 0.8 - 1e-12], [0.6, 0.0, 0.8 + 1e-12]])
    vectors = torch.cat([torch.tensor([[0, 0, 3.3], [0, 0, -3.3]]), near_threshold]).double()
    assert torch.autograd.gradcheck(axial_operator, vectors.requires_grad_(), eps=1e-6, atol=1e-8)


def test_zero_vectors_give_finite_values_and_gradients() -> None:
    vectors = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    operator = axial_operator(vectors)
    operator.sum().backward()
    assert torch.isfinite(operator).all()
    assert torch.equal(vectors.grad, torch.zeros_like(vectors))


def test_numpy_version_takes_single_and_stacked_matrices() -> None:
    rotations = random_rotations(3)
    stacked = wigner_matrices_numpy(rotations.numpy(), 3)
    single = wigner_matrices_numpy(rotations[1].numpy(), 3)
    assert [m.shape for m in single] == [(1, 1), (3, 3), (5, 5), (7, 7)]
    for many, one in zip(stacked, single, strict=True):
        np.testing.assert_allclose(many[1], one, atol=1e-15)


@pytest.mark.parametrize("lmax", [0, 1])
def test_low_degrees(lmax: int) -> None:
    rotations = random_rotations(2)
    matrices = wigner_matrices(rotations, lmax)
    assert len(matrices) == lmax + 1
    assert torch.equal(matrices[-1], rotations if lmax else torch.ones(2, 1, 1, dtype=torch.float64))

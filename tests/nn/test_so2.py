"""The SO(2) convolution against e3nn's tensor product, in values and gradients."""

from __future__ import annotations

import pytest
import torch
from e3nn import o3

from mlepi_core.basis.rotations import edge_frames, permuted_rotation, wigner_matrices
from mlepi_core.nn.features import Channels
from mlepi_core.nn.so2 import EdgeConvolution, EdgeFrames, SO2Linear
from mlepi_core.nn.tensor_product import TensorProductConvolution

INPUTS, OUTPUTS, UNNATURAL = Channels((3, 2, 2)), Channels((4, 3, 2, 1)), (0, 2, 1)


@pytest.fixture(autouse=True)
def _float64():
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(default)


def frames_of(vectors: torch.Tensor, lmax: int) -> EdgeFrames:
    return EdgeFrames(wigner_matrices(edge_frames(vectors), lmax))


def features(edges: int) -> list[torch.Tensor]:
    return [torch.randn(edges, 2 * l + 1, c) for l, c in enumerate(INPUTS.counts)]


def copy_weights(reference: TensorProductConvolution, fast: EdgeConvolution) -> None:
    """Read the SO(2) matrices off the tensor product on one edge: a basis vector in, a column out."""
    fast.radial.load_state_dict(reference.radial.state_dict())
    frames = frames_of(torch.tensor([[0.0, 0.0, 1.0]]), reference.l_edge)
    linear = fast.linear
    assert isinstance(linear, SO2Linear)
    with torch.no_grad():
        linear.bias.zero_()
        reference.bias.zero_()
        for m in range(INPUTS.lmax + 1):
            row = 0
            for l in range(m, INPUTS.lmax + 1):
                for channel in range(INPUTS.counts[l]):
                    parts = [torch.zeros(1, 2 * k + 1, c) for k, c in enumerate(INPUTS.counts)]
                    parts[l][0, l + m, channel] = 1.0
                    natural, unnatural = reference._linear(parts, frames)
                    if m < len(linear.even):
                        linear.even[m][row] = torch.cat(
                            [natural[k][0, k + m] for k in range(m, len(natural))]
                        )
                    if 0 < m <= len(linear.odd):
                        linear.odd[m - 1][row] = torch.cat(
                            [unnatural[k][0, k - m] for k in range(m, len(unnatural))]
                        )
                    row += 1
        reference.bias.normal_()
        linear.bias.copy_(reference.bias)


def test_so2_equals_e3nn_in_values_and_gradients():
    torch.manual_seed(0)
    reference = TensorProductConvolution(INPUTS, OUTPUTS, n_radial=5, radial_hidden=(6,), unnatural=UNNATURAL)
    fast = EdgeConvolution(INPUTS, OUTPUTS, n_radial=5, radial_hidden=(6,), unnatural=UNNATURAL)
    copy_weights(reference, fast)
    vectors = torch.randn(9, 3)
    vectors[0] = torch.tensor([0.0, 0.0, 3.3])  # on top: where Euler angles are singular
    vectors[1] = torch.tensor([0.0, 0.0, -3.3])
    radial_basis, parts = torch.randn(9, 5), features(9)
    gradients, values = [], []
    for convolution in (reference, fast):
        v = vectors.clone().requires_grad_()
        x = [part.clone().requires_grad_() for part in parts]
        natural, unnatural = convolution(x, frames_of(v, reference.l_edge), radial_basis)
        flat = torch.cat([part.flatten(1) for part in natural + unnatural], dim=1)
        torch.manual_seed(3)
        (flat * torch.randn_like(flat)).sum().backward()
        values.append(flat.detach())
        gradients.append([v.grad, *(part.grad for part in x)])
    assert torch.allclose(values[0], values[1], atol=1e-12)
    assert values[0].abs().max() > 0.1
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, atol=1e-11)
        assert a.abs().max() > 1e-3


@pytest.mark.parametrize("kind", [EdgeConvolution, TensorProductConvolution])
def test_convolution_is_equivariant(kind):
    torch.manual_seed(1)
    convolution = kind(INPUTS, OUTPUTS, n_radial=5, radial_hidden=(6,), unnatural=UNNATURAL)
    vectors, radial_basis, parts = torch.randn(6, 3), torch.randn(6, 5), features(6)
    rotation = -o3.rand_matrix()
    turn = wigner_matrices(permuted_rotation(rotation[None]), 3)
    lmax = getattr(convolution, "l_edge", 3)
    before = convolution(parts, frames_of(vectors, lmax), radial_basis)
    turned = [turn[l][0] @ part for l, part in enumerate(parts)]
    after = convolution(turned, frames_of(vectors @ rotation.T, lmax), radial_basis)
    for parity, group in zip((1, -1), (0, 1), strict=True):
        for l, (x, y) in enumerate(zip(before[group], after[group], strict=True)):
            assert torch.allclose(parity * turn[l][0] @ x, y, atol=1e-12)


def test_frame_choice_does_not_matter():
    """Turning every frame about its edge changes nothing: the matrices commute with SO(2)."""
    torch.manual_seed(2)
    convolution = EdgeConvolution(INPUTS, OUTPUTS, n_radial=5, radial_hidden=(6,), unnatural=UNNATURAL)
    vectors, radial_basis, parts = torch.randn(6, 3), torch.randn(6, 5), features(6)
    frames = edge_frames(vectors)
    angle = torch.tensor(0.7)
    c, s = torch.cos(angle), torch.sin(angle)
    about = torch.stack(
        [torch.stack([c, 0 * c, s]), torch.tensor([0.0, 1.0, 0.0]), torch.stack([-s, 0 * c, c])]
    )
    results = [
        convolution(parts, EdgeFrames(wigner_matrices(f, 3)), radial_basis) for f in (frames, about @ frames)
    ]
    for group in (0, 1):
        for x, y in zip(results[0][group], results[1][group], strict=True):
            assert torch.allclose(x, y, atol=1e-12)

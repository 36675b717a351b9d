"""The SO(2) convolutions against e3nn's tensor product, in values and derivatives."""

from __future__ import annotations

import pytest
import torch
from e3nn import o3
from torch.autograd import forward_ad

from mlepi_core.basis.rotations import edge_frames, permuted_rotation, wigner_matrices
from mlepi_core.nn.electron_convolution import ExchangeConvolution, MessageConvolution
from mlepi_core.nn.features import Channels
from mlepi_core.nn.so2 import EdgeFrames, PairEdges
from mlepi_core.nn.tensor_product import TensorProductExchange, TensorProductMessages
from tests.nn.electron_cases import copy_weights

NODES, EDGES, OUTPUTS, UNNATURAL = Channels((3, 2, 2)), Channels((2, 3)), Channels((4, 3, 2, 1)), (0, 2, 1)
SETTINGS = {"n_radial": 5, "radial_hidden": (6,)}
ATOMS, LMAX = 5, 6


@pytest.fixture(autouse=True)
def _float64():
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(default)


def frames_of(vectors: torch.Tensor) -> EdgeFrames:
    return EdgeFrames(wigner_matrices(edge_frames(vectors), LMAX))


def pairs_of(vectors: torch.Tensor, frames: EdgeFrames | None = None) -> PairEdges:
    generator = torch.Generator().manual_seed(5)
    n = len(vectors)
    i, j = (torch.randint(ATOMS, (n,), generator=generator) for _ in range(2))
    radial, envelope = torch.randn(n, 5, generator=generator), torch.rand(n, generator=generator)
    return PairEdges(i, j, frames_of(vectors) if frames is None else frames, radial, envelope)


def turned_round(pairs: PairEdges, vectors: torch.Tensor) -> PairEdges:
    return PairEdges(pairs.j, pairs.i, frames_of(-vectors), pairs.radial, pairs.envelope)


def features(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(ATOMS, NODES.dim), torch.randn(n, 2, EDGES.dim)


def edge_vectors(n: int) -> torch.Tensor:
    vectors = torch.randn(n, 3)
    vectors[0] = torch.tensor([0.0, 0.0, 3.3])  # on top: where Euler angles are singular
    vectors[1] = torch.tensor([0.0, 0.0, -3.3])
    return vectors


def flat(values: torch.Tensor | list[list[torch.Tensor]]) -> torch.Tensor:
    if isinstance(values, torch.Tensor):
        return values.flatten(1)
    return torch.cat([part.flatten(1) for group in values for part in group], dim=1)


CASES = {
    "messages": (TensorProductMessages, MessageConvolution, ()),
    "exchange": (TensorProductExchange, ExchangeConvolution, UNNATURAL),
}


def same_convolutions(kind: str) -> list[torch.nn.Module]:
    torch.manual_seed(0)
    slow, fast, unnatural = CASES[kind]
    both = [make(NODES, EDGES, OUTPUTS, unnatural=unnatural, **SETTINGS) for make in (slow, fast)]
    with torch.no_grad():
        both[0].bias.normal_()
        both[1].bias.copy_(both[0].bias)
        both[1].radial.load_state_dict(both[0].radial.state_dict())
        copy_weights(both[0].linear, both[1].linear)
    return both


@pytest.mark.parametrize("kind", CASES)
def test_so2_equals_e3nn_in_values_and_gradients(kind):
    vectors, (h, e) = edge_vectors(9), features(9)
    values, gradients = [], []
    for convolution in same_convolutions(kind):
        inputs = [x.clone().requires_grad_() for x in (vectors, h, e)]
        result = flat(convolution(inputs[1], inputs[2], pairs_of(inputs[0])))
        torch.manual_seed(3)
        (result * torch.randn_like(result)).sum().backward()
        values.append(result.detach())
        gradients.append([x.grad for x in inputs])
    assert torch.allclose(values[0], values[1], atol=1e-12)
    assert values[0].abs().max() > 0.1
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, atol=1e-11)
        assert a.abs().max() > 1e-3


@pytest.mark.parametrize("kind", CASES)
def test_forward_mode_equals_central_differences(kind):
    _, convolution = same_convolutions(kind)
    vectors, (h, e) = edge_vectors(6), features(6)
    moves = [torch.randn_like(x) for x in (vectors, h, e)]

    def value(step: float) -> torch.Tensor:
        moved = [x + step * u for x, u in zip((vectors, h, e), moves, strict=True)]
        return flat(convolution(moved[1], moved[2], pairs_of(moved[0])))

    with torch.no_grad(), forward_ad.dual_level():
        dual = [forward_ad.make_dual(x, u) for x, u in zip((vectors, h, e), moves, strict=True)]
        slope = forward_ad.unpack_dual(flat(convolution(dual[1], dual[2], pairs_of(dual[0])))).tangent
    with torch.no_grad():
        expected = (value(1e-5) - value(-1e-5)) / 2e-5
    assert torch.allclose(slope, expected, rtol=0, atol=1e-8 * float(expected.abs().max()))
    assert slope.abs().max() > 0.1


@pytest.mark.parametrize("make", [MessageConvolution, TensorProductMessages])
def test_messages_are_equivariant_and_know_both_directions(make):
    torch.manual_seed(1)
    convolution = make(NODES, EDGES, OUTPUTS, **SETTINGS)
    vectors, (h, e) = torch.randn(6, 3), features(6)
    rotation = -o3.rand_matrix()
    turn = wigner_matrices(permuted_rotation(rotation[None]), 3)

    def turned(x: torch.Tensor, channels: Channels) -> torch.Tensor:
        return channels.join([turn[l] @ part for l, part in enumerate(channels.split(x))])

    before = convolution(h, e, pairs_of(vectors))
    e_turned = turned(e.flatten(0, 1), EDGES).view_as(e)
    after = convolution(turned(h, NODES), e_turned, pairs_of(vectors @ rotation.T))
    assert torch.allclose(turned(before.flatten(0, 1), OUTPUTS), after.flatten(0, 1), atol=1e-12)
    back = convolution(h, e.flip(1), turned_round(pairs_of(vectors), vectors))
    assert torch.allclose(back, before.flip(1), atol=1e-12)
    assert not torch.allclose(back, before, atol=1e-3)


@pytest.mark.parametrize("make", [ExchangeConvolution, TensorProductExchange])
def test_sectors_have_their_sign_under_exchange(make):
    torch.manual_seed(2)
    convolution = make(NODES, EDGES, OUTPUTS, unnatural=UNNATURAL, **SETTINGS)
    vectors, (h, e) = torch.randn(6, 3), features(6)
    before = convolution(h, e, pairs_of(vectors))
    after = convolution(h, e.flip(1), turned_round(pairs_of(vectors), vectors))
    sectors = torch.tensor([1.0, -1.0])[:, None]
    for parity, old, new in zip((1, -1), before, after, strict=True):
        for l, (x, y) in enumerate(zip(old, new, strict=True)):
            assert torch.allclose(parity * (-1) ** l * sectors * x, y, atol=1e-12)
            assert x.numel() == 0 or x.abs().amax(dim=(0, 1, 3)).min() > 1e-3


def test_frame_choice_does_not_matter():
    """Turning every frame about its edge changes nothing: the matrices commute with SO(2)."""
    torch.manual_seed(2)
    convolution = ExchangeConvolution(NODES, EDGES, OUTPUTS, unnatural=UNNATURAL, **SETTINGS)
    vectors, (h, e) = torch.randn(6, 3), features(6)
    frames = edge_frames(vectors)
    angle = torch.tensor(0.7)
    c, s = torch.cos(angle), torch.sin(angle)
    about = torch.stack(
        [torch.stack([c, 0 * c, s]), torch.tensor([0.0, 1.0, 0.0]), torch.stack([-s, 0 * c, c])]
    )
    results = [
        flat(convolution(h, e, pairs_of(vectors, EdgeFrames(wigner_matrices(f, LMAX)))))
        for f in (frames, about @ frames)
    ]
    assert torch.allclose(*results, atol=1e-12)


def test_harmonics_of_the_reference_can_be_cut():
    """DeepH-E3's choice of the largest harmonic gives fewer paths; the default reaches every SO(2) map."""
    torch.manual_seed(0)
    full, cut = (
        TensorProductMessages(NODES, EDGES, OUTPUTS, edge_lmax=lmax, **SETTINGS) for lmax in (None, 3)
    )
    assert full.linear.edge_lmax == NODES.lmax + OUTPUTS.lmax
    assert cut.linear.product.weight_numel < full.linear.product.weight_numel
    vectors, (h, e) = torch.randn(6, 3), features(6)
    assert cut(h, e, pairs_of(vectors)).shape == full(h, e, pairs_of(vectors)).shape

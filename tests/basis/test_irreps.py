"""Block coefficients: orthogonal, equivariant, and right under transposition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from e3nn import o3

from mlepi_core.basis.irreps import BlockIrreps
from mlepi_core.basis.rotations import wigner_matrices
from mlepi_core.orbitals import Basis

S2P2 = (0, 0, 1, 1)
S2P2D1 = (0, 0, 1, 1, 2)
S3P2D2 = (0, 0, 0, 1, 1, 2, 2)
PAIRS = [(S2P2, S2P2), (S2P2D1, S2P2D1), (S2P2, (0, 1, 2, 3)), ((1, 0, 5), (2, 1)), ((5,), (5,))]


def random_blocks(irreps: BlockIrreps, n: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(11)
    return torch.randn(n, irreps.n_i, irreps.n_j, generator=generator, dtype=torch.float64)


def random_orthogonal(n: int) -> torch.Tensor:
    """Members of O(3), every other one improper."""
    generator = torch.Generator().manual_seed(5)
    matrix = torch.linalg.qr(torch.randn(n, 3, 3, generator=generator, dtype=torch.float64))[0]
    wanted = torch.tensor([1.0, -1.0] * n, dtype=torch.float64)[:n]
    return matrix * (wanted * torch.linalg.det(matrix))[:, None, None]


def orbital_rotation(wigner: list[torch.Tensor], shells: tuple[int, ...]) -> torch.Tensor:
    return torch.stack([torch.block_diag(*[wigner[l][e] for l in shells]) for e in range(len(wigner[0]))])


@pytest.mark.parametrize(
    ("shells", "expected"),
    [
        (S2P2, "8x0e+8x1o+4x1e+4x2e"),
        (S2P2D1, "9x0e+12x1o+5x1e+4x2o+9x2e+4x3o+1x3e+1x4e"),
        (S3P2D2, "17x0e+20x1o+8x1e+8x2o+20x2e+8x3o+4x3e+4x4e"),
    ],
)
def test_irreps_of_known_bases(shells: tuple[int, ...], expected: str) -> None:
    irreps = BlockIrreps(shells, shells)
    assert irreps.irreps == o3.Irreps(expected)
    assert irreps.irreps.dim == irreps.size == sum(2 * l + 1 for l in shells) ** 2


@pytest.mark.parametrize(("shells_i", "shells_j"), PAIRS)
def test_round_trip_and_norm(shells_i: tuple[int, ...], shells_j: tuple[int, ...]) -> None:
    irreps = BlockIrreps(shells_i, shells_j)
    blocks = random_blocks(irreps)
    coefficients = irreps.to_coefficients(blocks)
    torch.testing.assert_close(irreps.to_blocks(coefficients), blocks, rtol=0, atol=1e-12)
    torch.testing.assert_close(coefficients.square().sum(1), blocks.square().sum((1, 2)), rtol=1e-13, atol=0)
    back = irreps.to_coefficients(irreps.to_blocks(coefficients))
    torch.testing.assert_close(back, coefficients, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("float64_by_default")
@pytest.mark.parametrize(("shells_i", "shells_j"), PAIRS)
def test_equivariance_under_rotations_and_inversion(
    shells_i: tuple[int, ...], shells_j: tuple[int, ...]
) -> None:
    irreps = BlockIrreps(shells_i, shells_j)
    blocks = random_blocks(irreps)
    operations = random_orthogonal(len(blocks))
    wigner = wigner_matrices(operations, max(10, *shells_i))
    left, right = orbital_rotation(wigner, shells_i), orbital_rotation(wigner, shells_j)
    turned = irreps.to_coefficients(left @ blocks @ right.transpose(1, 2))
    coefficients = irreps.to_coefficients(blocks)
    torch.testing.assert_close(irreps.wigner(wigner, coefficients), turned, rtol=0, atol=1e-12)
    # The layout is that of e3nn, whose own matrices must do the same.
    for operation, before, after in zip(operations, coefficients, turned, strict=True):
        matrix = irreps.irreps.D_from_matrix(operation)
        torch.testing.assert_close(matrix @ before, after, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("shells_i", "shells_j"), PAIRS)
def test_transposition(shells_i: tuple[int, ...], shells_j: tuple[int, ...]) -> None:
    irreps, reverse = BlockIrreps(shells_i, shells_j), BlockIrreps(shells_j, shells_i)
    blocks = random_blocks(irreps)
    coefficients = irreps.to_coefficients(blocks)
    expected = reverse.to_coefficients(blocks.transpose(1, 2))
    turned = irreps.transpose(coefficients)
    torch.testing.assert_close(turned, expected, rtol=0, atol=1e-13)
    assert torch.equal(reverse.transpose(turned), coefficients)


def test_metadata_name_every_coefficient() -> None:
    irreps = BlockIrreps(S2P2, S2P2D1)
    for c in range(irreps.size):
        unit = torch.zeros(1, irreps.size, dtype=torch.float64)
        unit[0, c] = 1.0
        block = irreps.to_blocks(unit)[0].numpy()
        rows = np.repeat(np.arange(len(S2P2)), [2 * l + 1 for l in S2P2])
        columns = np.repeat(np.arange(len(S2P2D1)), [2 * l + 1 for l in S2P2D1])
        inside = np.ix_(rows == irreps.shell_a[c], columns == irreps.shell_b[c])
        assert np.abs(block[inside]).max() > 0.1
        block[inside] = 0.0
        assert np.abs(block).max() == 0.0
    expected = [(mul_ir.ir.l, mul_ir.ir.p) for mul_ir in irreps.irreps for _ in range(mul_ir.dim)]
    assert list(zip(irreps.degree, irreps.parity, strict=True)) == expected
    assert np.array_equal(irreps.parity, (-1) ** (irreps.l1 + irreps.l2))
    assert np.array_equal(irreps.natural, irreps.parity == (-1) ** irreps.degree)
    for channel, position in enumerate(irreps.channel_slices):
        assert (irreps.channel[position] == channel).all()
        assert irreps.component[position].tolist() == list(
            range(-irreps.channel_degree[channel], irreps.channel_degree[channel] + 1)
        )


def test_scalars_of_equal_shells_are_scaled_identities() -> None:
    irreps = BlockIrreps((1,), (1,))
    coefficients = irreps.to_coefficients(torch.eye(3, dtype=torch.float64)[None])[0]
    assert abs(abs(float(coefficients[0])) - 3**0.5) < 1e-14
    assert float(coefficients[1:].abs().max()) < 1e-14


def test_matrix_of_a_lower_precision_does_not_spoil_the_original() -> None:
    irreps = BlockIrreps(S2P2D1, S2P2D1)
    single = random_blocks(irreps).float()
    assert irreps.to_coefficients(single).dtype == torch.float32
    blocks = random_blocks(irreps)
    torch.testing.assert_close(irreps.to_blocks(irreps.to_coefficients(blocks)), blocks, rtol=0, atol=1e-12)


def test_from_basis_takes_symbols_and_numbers() -> None:
    basis = Basis({"B": S2P2D1, "N": S2P2})
    irreps = BlockIrreps.from_basis(basis, 5, "N")
    assert (irreps.n_i, irreps.n_j) == (13, 8)
    assert irreps.to_coefficients(torch.zeros(0, 13, 8)).shape == (0, 104)

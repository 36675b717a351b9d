"""Coefficients of spinor blocks: norm, SU(2) and inversion, Hermitian conjugation, time reversal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from e3nn import o3

from mlepi_core.artefacts import InputError
from mlepi_core.basis.irreps import PARTS, BlockIrreps
from mlepi_core.basis.rotations import permuted_rotation, wigner_matrices
from mlepi_core.formats.openmx import read_openmx

S2P2D1 = (0, 0, 1, 1, 2)
PAIRS = [((1,), (1,)), (S2P2D1, S2P2D1), ((0, 1, 2), (1, 3)), ((0,), (0, 1))]
RAW = Path(__file__).resolve().parents[2] / "resources" / "openmx-raw"
PAULI = torch.tensor(
    [[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]], dtype=torch.complex128
)  # x, y, z


def random_blocks(irreps: BlockIrreps, n: int = 6) -> torch.Tensor:
    """Any spinor blocks if the irreps are magnetic, else blocks that time reversal leaves alone."""
    generator = torch.Generator().manual_seed(3)
    shape = (n, 4, irreps.n_i, irreps.n_j)
    blocks = torch.randn(*shape, generator=generator, dtype=torch.complex128)
    return blocks if irreps.magnetic else (blocks + reversed_in_time(blocks)) / 2


def reversed_in_time(blocks: torch.Tensor) -> torch.Tensor:
    """sigma_y H* sigma_y for real orbitals."""
    uu, ud, du, dd = blocks.conj().unbind(1)
    return torch.stack([dd, -du, -ud, uu], dim=1)


def full(blocks: torch.Tensor) -> torch.Tensor:
    """(E, 2 n_i, 2 n_j): all orbitals up, then all down."""
    uu, ud, du, dd = blocks.unbind(1)
    return torch.cat([torch.cat([uu, ud], dim=2), torch.cat([du, dd], dim=2)], dim=1)


def parts(matrix: torch.Tensor) -> torch.Tensor:
    """Inverse of `full`."""
    upper, lower = matrix.chunk(2, dim=1)
    return torch.stack([*upper.chunk(2, dim=2), *lower.chunk(2, dim=2)], dim=1)


def operations(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Members of O(3) for (x, y, z), every other one improper, and SU(2) matrices of their proper parts."""
    generator = torch.Generator().manual_seed(8)
    axis = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator, dtype=torch.float64), dim=1)
    angle = torch.rand(n, generator=generator, dtype=torch.float64) * 3
    cross = torch.zeros(n, 3, 3, dtype=torch.float64)
    cross[:, 0, 1], cross[:, 0, 2], cross[:, 1, 2] = -axis[:, 2], axis[:, 1], -axis[:, 0]
    cross = cross - cross.transpose(1, 2)
    proper = torch.linalg.matrix_exp(angle[:, None, None] * cross)
    generators = torch.einsum("nk,kab->nab", axis.to(torch.complex128), PAULI)
    spin = torch.linalg.matrix_exp(-0.5j * angle[:, None, None] * generators)
    sign = torch.tensor([1.0, -1.0] * n, dtype=torch.float64)[:n, None, None]
    return sign * proper, spin


def orbital_rotation(wigner: list[torch.Tensor], shells: tuple[int, ...]) -> torch.Tensor:
    return torch.stack([torch.block_diag(*[wigner[l][e] for l in shells]) for e in range(len(wigner[0]))])


def spinor_rotation(spin: torch.Tensor, orbital: torch.Tensor) -> torch.Tensor:
    """U x D (E, 2n, 2n), spin slowest."""
    return torch.stack([torch.kron(u, d.to(u.dtype)) for u, d in zip(spin, orbital, strict=True)])


@pytest.mark.parametrize("magnetic", [False, True])
@pytest.mark.parametrize(("shells_i", "shells_j"), PAIRS)
def test_round_trip_and_norm(shells_i, shells_j, magnetic) -> None:
    irreps = BlockIrreps(shells_i, shells_j, "soc", magnetic)
    assert irreps.size == irreps.irreps.dim == (8 if magnetic else 4) * irreps.n_i * irreps.n_j
    blocks = random_blocks(irreps)
    coefficients = irreps.to_coefficients(blocks)
    assert coefficients.dtype == torch.float64
    torch.testing.assert_close(irreps.to_blocks(coefficients), blocks, rtol=0, atol=1e-12)
    square = blocks.abs().square().sum((1, 2, 3))
    torch.testing.assert_close(coefficients.square().sum(1), square, rtol=1e-13, atol=0)
    again = irreps.to_coefficients(irreps.to_blocks(coefficients))
    torch.testing.assert_close(again, coefficients, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("float64_by_default")
@pytest.mark.parametrize("magnetic", [False, True])
@pytest.mark.parametrize(("shells_i", "shells_j"), PAIRS)
def test_covariance_under_su2_and_inversion(shells_i, shells_j, magnetic) -> None:
    """Structure turned by R, spinor blocks by U(R) x D(R) on both sides: coefficients turn by D^J."""
    irreps = BlockIrreps(shells_i, shells_j, "soc", magnetic)
    blocks = random_blocks(irreps)
    rotations, spin = operations(len(blocks))
    permuted = permuted_rotation(rotations)
    wigner = wigner_matrices(permuted, 8)
    left = spinor_rotation(spin, orbital_rotation(wigner, shells_i))
    right = spinor_rotation(spin, orbital_rotation(wigner, shells_j))
    turned = irreps.to_coefficients(parts(left @ full(blocks) @ right.mH))
    coefficients = irreps.to_coefficients(blocks)
    torch.testing.assert_close(irreps.wigner(wigner, coefficients), turned, rtol=0, atol=1e-11)
    for operation, before, after in zip(permuted, coefficients, turned, strict=True):
        torch.testing.assert_close(irreps.irreps.D_from_matrix(operation) @ before, after, rtol=0, atol=1e-11)


@pytest.mark.parametrize("magnetic", [False, True])
@pytest.mark.parametrize(("shells_i", "shells_j"), PAIRS)
def test_transpose_is_hermitian_conjugation(shells_i, shells_j, magnetic) -> None:
    irreps = BlockIrreps(shells_i, shells_j, "soc", magnetic)
    reverse = BlockIrreps(shells_j, shells_i, "soc", magnetic)
    blocks = random_blocks(irreps)
    coefficients = irreps.to_coefficients(blocks)
    turned = irreps.transpose(coefficients)
    expected = reverse.to_coefficients(parts(full(blocks).mH))
    torch.testing.assert_close(turned, expected, rtol=0, atol=1e-13)
    assert torch.equal(reverse.transpose(turned), coefficients)
    for channel, place in enumerate(irreps.channel_slices):
        partner = reverse.channel_slices[irreps.channel_partner[channel]]
        value = irreps.channel_sign[channel] * coefficients[:, place]
        torch.testing.assert_close(turned[:, partner], value, rtol=0, atol=1e-13)


def test_time_reversal_changes_the_sign_of_the_odd_parts() -> None:
    irreps = BlockIrreps(S2P2D1, (0, 1), "soc", magnetic=True)
    blocks = random_blocks(irreps)
    sign = torch.from_numpy(np.where(irreps.part < 2, 1.0, -1.0))
    before, after = (irreps.to_coefficients(b) for b in (blocks, reversed_in_time(blocks)))
    torch.testing.assert_close(after, sign * before, rtol=0, atol=1e-12)
    even = BlockIrreps(S2P2D1, (0, 1), "soc")
    projected = even.to_blocks(even.to_coefficients(blocks))
    torch.testing.assert_close(projected, (blocks + reversed_in_time(blocks)) / 2, rtol=0, atol=1e-12)


def test_scalar_part_is_the_spinless_block() -> None:
    spinor, plain = BlockIrreps(S2P2D1, (0, 1), "soc"), BlockIrreps(S2P2D1, (0, 1))
    block = torch.randn(3, spinor.n_i, spinor.n_j, dtype=torch.float64)
    zero = torch.zeros_like(block)
    coefficients = spinor.to_coefficients(torch.stack([block, zero, zero, block], dim=1).to(torch.complex128))
    scalar = torch.from_numpy(spinor.part == PARTS.index("scalar"))
    expected = 2**0.5 * plain.to_coefficients(block)
    torch.testing.assert_close(coefficients[:, scalar], expected, rtol=0, atol=1e-13)
    assert float(coefficients[:, ~scalar].abs().max()) < 1e-14


def test_atomic_spin_orbit_term_is_one_scalar_per_shell() -> None:
    """L.S of a p shell, from (L_k)_ab = -i eps_kab in x, y, z, is invariant: J = 0, even parity."""
    generator = torch.zeros(3, 3, 3, dtype=torch.complex128)
    for k, a, b in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        generator[k, a, b], generator[k, b, a] = -1j, 1j
    internal = [1, 2, 0]
    generator = generator[:, internal][:, :, internal]
    matrix = sum(torch.kron(PAULI[k] / 2, generator[k]) for k in range(3))
    levels = torch.linalg.eigvalsh(matrix)
    torch.testing.assert_close(levels, torch.tensor([-1.0, -1.0, 0.5, 0.5, 0.5, 0.5], dtype=torch.float64))
    irreps = BlockIrreps((1,), (1,), "soc")
    coefficients = irreps.to_coefficients(parts(matrix[None]))[0]
    [found] = np.flatnonzero(coefficients.abs().numpy() > 1e-12)
    channel = irreps.channel[found]
    assert PARTS[irreps.part[found]] == "vector"
    assert (irreps.degree[found], irreps.parity[found], irreps.channel_orbital_degree[channel]) == (0, 1, 1)


def test_single_precision_and_empty_batches() -> None:
    irreps = BlockIrreps((0, 1), (0,), "soc")
    single = random_blocks(irreps).to(torch.complex64)
    coefficients = irreps.to_coefficients(single)
    assert coefficients.dtype == torch.float32
    assert irreps.to_blocks(coefficients).dtype == torch.complex64
    assert irreps.to_coefficients(single[:0]).shape == (0, irreps.size)


def test_collinear_blocks_are_refused() -> None:
    with pytest.raises(InputError, match="'collinear' have no coefficients"):
        BlockIrreps((0,), (0,), "collinear")


def test_irreps_of_a_p_block() -> None:
    assert BlockIrreps((1,), (1,), "soc").irreps == o3.Irreps("2x0e+4x1e+3x2e+1x3e")
    assert BlockIrreps((1,), (1,), "soc", magnetic=True).irreps == o3.Irreps("4x0e+8x1e+6x2e+2x3e")


def test_real_spinors_obey_time_reversal_and_hermiticity() -> None:
    """MoS2: blocks of every pair survive the map without time-odd parts; on-site blocks are Hermitian."""
    entry, basis = read_openmx(RAW / "mos2_soc_prim.scfout.xz")
    matrix = entry.blocks
    worst = onsite = spin_orbit = 0.0
    for i in (42, 16):
        for j in (42, 16):
            pairs = matrix.pairs
            chosen = (matrix.numbers[pairs[:, 0]] == i) & (matrix.numbers[pairs[:, 1]] == j)
            index = np.flatnonzero(chosen)
            irreps = BlockIrreps.from_basis(basis, i, j, "soc")
            blocks = torch.from_numpy(matrix.dense_blocks("hamiltonian", index))
            coefficients = irreps.to_coefficients(blocks)
            worst = max(worst, float((irreps.to_blocks(coefficients) - blocks).abs().max()))
            spin_orbit = max(spin_orbit, float(coefficients[:, irreps.part == 1].abs().max()))
            own = (pairs[index, 0] == pairs[index, 1]) & (pairs[index, 2:] == 0).all(axis=1)
            if own.any():
                local = coefficients[torch.from_numpy(own)]
                onsite = max(onsite, float((irreps.transpose(local) - local).abs().max()))
    assert worst < 1e-9
    assert onsite < 1e-9
    assert spin_orbit > 0.05

"""Orbital blocks as orthonormal irreducible coefficients, without spin.

The block of shells a (l1, atom i) and b (l2, atom j) is a sum of irreps L = |l1-l2| .. l1+l2 of parity
(-1)^(l1+l2): c~_LM = sqrt(2L+1) sum_{m1 m2} w(l1, l2, L)_{m1 m2 M} H_{m1 m2}, with e3nn's 3j symbol w of
Frobenius norm 1. The whole map of an orbital block is one orthogonal matrix, so |H|^2 = sum |c~|^2 and a loss
in c~ equals the loss in H.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from e3nn import o3

from mlepi_core.basis.rotations import wigner_3j

if TYPE_CHECKING:
    from mlepi_core.orbitals import Basis

__all__ = ["BlockIrreps"]


class BlockIrreps:
    """Orthogonal change of basis between blocks of one species pair and sorted irreps.

    Coefficients are laid out as e3nn lays out `irreps` (sorted and simplified): channel by channel, a channel
    being one (shell a, shell b, L) with its 2L+1 components. Equal irreps follow the order of (a, b).

    Parameters
    ----------
    shells_i, shells_j : sequence of int
        Degrees l of the shells of the row and the column atom, e.g. (0, 0, 1, 1).

    Attributes
    ----------
    irreps : e3nn.o3.Irreps
        Irreps of the coefficients.
    n_i, n_j, size : int
        Rows and columns of a block, and their product.
    channel_shell_a, channel_shell_b, channel_l1, channel_l2, channel_degree, channel_parity : numpy.ndarray
        Per channel: shell indices, shell degrees, L and parity.
    channel_slices : tuple of slice
        Position of every channel among the coefficients.
    channel, shell_a, shell_b, l1, l2, degree, parity, component : numpy.ndarray
        The same per coefficient, with the number of the channel and M = -L..L.
    natural : numpy.ndarray of bool
        Coefficients of natural parity (-1)^L; the others vanish on one centre and in any two-centre block.
    """

    def __init__(self, shells_i: Sequence[int], shells_j: Sequence[int]) -> None:
        self.shells_i = tuple(int(l) for l in shells_i)
        self.shells_j = tuple(int(l) for l in shells_j)
        channels = _sorted_channels(self.shells_i, self.shells_j)
        self.irreps = o3.Irreps([(1, (degree, parity)) for _, _, degree, parity in channels]).simplify()
        table = np.array(channels, dtype=np.int64)
        self.channel_shell_a, self.channel_shell_b = table[:, 0], table[:, 1]
        self.channel_degree, self.channel_parity = table[:, 2], table[:, 3]
        self.channel_l1 = np.array(self.shells_i)[self.channel_shell_a]
        self.channel_l2 = np.array(self.shells_j)[self.channel_shell_b]

        widths = 2 * self.channel_degree + 1
        stops = np.cumsum(widths)
        self.channel_slices = tuple(slice(int(b - w), int(b)) for b, w in zip(stops, widths, strict=True))
        self.channel = np.repeat(np.arange(len(channels)), widths)
        self.shell_a, self.shell_b = self.channel_shell_a[self.channel], self.channel_shell_b[self.channel]
        self.l1, self.l2 = self.channel_l1[self.channel], self.channel_l2[self.channel]
        self.degree, self.parity = self.channel_degree[self.channel], self.channel_parity[self.channel]
        self.component = np.concatenate([np.arange(-d, d + 1) for d in self.channel_degree])
        self.natural = self.parity == (-1) ** self.degree

        self.n_i = sum(2 * l + 1 for l in self.shells_i)
        self.n_j = sum(2 * l + 1 for l in self.shells_j)
        self.size = self.n_i * self.n_j
        self._master = _orthogonal_matrix(self.shells_i, self.shells_j, channels)
        self._matrices: dict[tuple[torch.dtype, torch.device], torch.Tensor] = {}
        self._transposition = _transposition(channels, self.shells_i, self.shells_j)

    @classmethod
    def from_basis(cls, basis: Basis, species_i: int | str, species_j: int | str) -> BlockIrreps:
        """Block irreps of a species pair of a basis (chemical symbols or atomic numbers)."""
        return cls(basis.shells_of(species_i), basis.shells_of(species_j))

    def __repr__(self) -> str:
        return f"BlockIrreps({self.shells_i} x {self.shells_j}: {self.irreps})"

    def matrix(self, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> torch.Tensor:
        """Orthogonal matrix T with c~ = T vec(H), shape (size, size), rows = coefficients.

        Cast from the float64 original for every dtype, so that a network cast to float32 and back is exact.
        """
        key = (dtype, torch.device(device))
        if key not in self._matrices:
            self._matrices[key] = self._master.to(dtype=dtype, device=device)
        return self._matrices[key]

    def to_coefficients(self, blocks: torch.Tensor) -> torch.Tensor:
        """Coefficients c~ (..., size) of blocks (..., n_i, n_j), in the units of the blocks."""
        flat = blocks.reshape(*blocks.shape[:-2], self.size)
        return flat @ self.matrix(flat.dtype, flat.device).T

    def to_blocks(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Blocks (..., n_i, n_j) of coefficients (..., size): inverse of `to_coefficients`."""
        flat = coefficients @ self.matrix(coefficients.dtype, coefficients.device)
        return flat.reshape(*coefficients.shape[:-1], self.n_i, self.n_j)

    def transpose(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Coefficients of the transposed blocks, in the layout of the reversed species pair.

        c_L^(b,a)(ji, -R) = (-1)^(l1+l2+L) c_L^(a,b)(ij, R) for a real Hermitian operator.

        Parameters
        ----------
        coefficients : torch.Tensor
            Shape (..., size), of the pair (i, j).

        Returns
        -------
        torch.Tensor
            Shape (..., size), of the pair (j, i), i.e. of ``BlockIrreps(shells_j, shells_i)``.
        """
        index, sign = self._transposition
        return coefficients[..., torch.from_numpy(index).to(coefficients.device)] * torch.from_numpy(sign).to(
            coefficients
        )

    def wigner(self, matrices: Sequence[torch.Tensor], coefficients: torch.Tensor) -> torch.Tensor:
        """Rotate coefficients: D^L applied to every channel.

        Parameters
        ----------
        matrices : sequence of torch.Tensor
            D^l of `rotations.wigner_matrices`, shapes (E, 2l+1, 2l+1) or (1, 2l+1, 2l+1), l up to the highest
            L. The matrices of an improper operation carry natural parity; channels of unnatural parity take
            the opposite sign.
        coefficients : torch.Tensor
            Shape (E, size).

        Returns
        -------
        torch.Tensor
            Shape (E, size).
        """
        determinant = torch.linalg.det(matrices[1]) if len(matrices) > 1 else matrices[0][:, 0, 0]
        parts = []
        for position, degree, parity in zip(
            self.channel_slices, self.channel_degree, self.channel_parity, strict=True
        ):
            rotated = (matrices[degree] @ coefficients[:, position, None])[..., 0]
            if parity != (-1) ** degree:
                rotated = rotated * determinant[:, None]
            parts.append(rotated)
        return torch.cat(parts, dim=1)


def _sorted_channels(shells_i: tuple[int, ...], shells_j: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """(shell a, shell b, L, parity) in e3nn's irrep order, then by (a, b)."""
    channels = [
        (a, b, degree, (-1) ** (l1 + l2))
        for a, l1 in enumerate(shells_i)
        for b, l2 in enumerate(shells_j)
        for degree in range(abs(l1 - l2), l1 + l2 + 1)
    ]
    return sorted(channels, key=lambda c: (o3.Irrep(c[2], c[3]), c[0], c[1]))


def _orthogonal_matrix(
    shells_i: tuple[int, ...], shells_j: tuple[int, ...], channels: list[tuple[int, int, int, int]]
) -> torch.Tensor:
    """T of `BlockIrreps.matrix` in float64."""
    starts_i = np.concatenate([[0], np.cumsum([2 * l + 1 for l in shells_i])])
    starts_j = np.concatenate([[0], np.cumsum([2 * l + 1 for l in shells_j])])
    size_i, size_j = int(starts_i[-1]), int(starts_j[-1])
    matrix = torch.zeros((size_i * size_j, size_i, size_j), dtype=torch.float64)
    row = 0
    for a, b, degree, _ in channels:
        symbol = wigner_3j(shells_i[a], shells_j[b], degree)
        width = 2 * degree + 1
        rows = slice(int(starts_i[a]), int(starts_i[a + 1]))
        columns = slice(int(starts_j[b]), int(starts_j[b + 1]))
        matrix[row : row + width, rows, columns] = width**0.5 * symbol.permute(2, 0, 1)
        row += width
    return matrix.reshape(size_i * size_j, size_i * size_j)


def _transposition(
    channels: list[tuple[int, int, int, int]], shells_i: tuple[int, ...], shells_j: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Gather index and sign that give the reversed pair's coefficients from those of the pair."""
    start, position = {}, 0
    for a, b, degree, _ in channels:
        start[a, b, degree] = position
        position += 2 * degree + 1
    index, sign = [], []
    for b, a, degree, parity in _sorted_channels(shells_j, shells_i):
        index.append(np.arange(start[a, b, degree], start[a, b, degree] + 2 * degree + 1))
        sign.append(np.full(2 * degree + 1, float(parity * (-1) ** degree)))
    return np.concatenate(index), np.concatenate(sign)

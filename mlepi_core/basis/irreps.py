"""Orbital blocks as orthonormal irreducible coefficients, without spin or with spin-orbit coupling.

The block of shells a (l1, atom i) and b (l2, atom j) is a sum of irreps L = |l1-l2| .. l1+l2 of parity
(-1)^(l1+l2): c_LM = sqrt(2L+1) sum_{m1 m2} w(l1, l2, L)_{m1 m2 M} H_{m1 m2}, with e3nn's 3j symbol w of
Frobenius norm 1.

A spinor block is A x 1 + sum_k X_k sigma_k (`mlepi_core.formats.spin`). With time reversal A and
B_k = -i X_k are real. A scalar in spin is a block as above; sigma is an axial vector, so X couples
L x 1e -> J = L-1 .. L+1 of unchanged parity. Its components follow the internal order (y, z, x). Without time
reversal Im A and Re X add as much again. The coefficients carry sqrt(2), the root of the trace of 1 and of
sigma_k^2.

The whole map is one orthogonal matrix on the real parts, so |H|^2 = sum c^2 with the sum over all matrix
elements of all four spin parts, and a loss in c equals the loss in H.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from e3nn import o3

from mlepi_core.artefacts import InputError
from mlepi_core.basis.rotations import wigner_3j
from mlepi_core.formats.spin import pauli_parts, spinor_parts

if TYPE_CHECKING:
    from mlepi_core.orbitals import Basis

__all__ = ["PARTS", "BlockIrreps"]

#: Parts of a block: Re A, Im X = B, Im A, Re X. The last two are odd under time reversal.
PARTS = ("scalar", "vector", "odd_scalar", "odd_vector")
_SCALAR, _VECTOR, _ODD_SCALAR, _ODD_VECTOR = range(4)
# Whether Hermitian conjugation takes the part to plus or minus its transpose.
_CONJUGATION = (1, -1, -1, 1)


class _Channel(NamedTuple):
    """One irrep of a block: part, shells, degree L of the orbitals, degree J with spin, parity."""

    part: int
    a: int
    b: int
    orbital: int
    degree: int
    parity: int


class BlockIrreps:
    """Orthogonal change of basis between blocks of one species pair and sorted irreps.

    Coefficients are real and laid out as e3nn lays out `irreps` (sorted and simplified): channel by channel.
    A channel is one (shell a, shell b, L) with its 2L+1 components; with spin, one (part, shell a, shell b,
    L, J) with 2J+1. Equal irreps follow the order of (part, a, b, L).

    Parameters
    ----------
    shells_i, shells_j : sequence of int
        Degrees l of the shells of the row and the column atom, e.g. (0, 0, 1, 1).
    spin : str
        "none": real blocks (..., n_i, n_j). "soc": complex blocks (..., 4, n_i, n_j), parts uu, ud, du, dd.
    magnetic : bool
        With spin: whether coefficients of the parts that are odd under time reversal exist. Without them
        `to_coefficients` drops these parts.

    Attributes
    ----------
    irreps : e3nn.o3.Irreps
        Irreps of the coefficients.
    n_i, n_j : int
        Rows and columns of a block, orbitals counted once.
    size : int
        Number of coefficients: n_i n_j, four times that with spin, eight times with magnetism.
    channel_part, channel_shell_a, channel_shell_b, channel_l1, channel_l2, channel_orbital_degree,
    channel_degree, channel_parity : numpy.ndarray
        Per channel: index into `PARTS`, shell indices, shell degrees, L, degree of the irrep (J; L without
        spin) and parity.
    channel_partner, channel_sign : numpy.ndarray
        Hermitian conjugation: channel c goes to channel ``channel_partner[c]`` of the reversed pair, times
        ``channel_sign[c]``.
    channel_slices : tuple of slice
        Position of every channel among the coefficients.
    channel, part, shell_a, shell_b, l1, l2, degree, parity, component : numpy.ndarray
        The same per coefficient, with the number of the channel and M = -J..J.
    natural : numpy.ndarray of bool
        Coefficients of natural parity (-1)^J; without spin the others vanish on one centre and in any
        two-centre block.

    Raises
    ------
    InputError
        For another `spin`.
    """

    def __init__(
        self, shells_i: Sequence[int], shells_j: Sequence[int], spin: str = "none", magnetic: bool = False
    ) -> None:
        if spin not in ("none", "soc"):
            raise InputError("spin", f"blocks of spin {spin!r} have no coefficients", "use 'none' or 'soc'")
        self.shells_i = tuple(int(l) for l in shells_i)
        self.shells_j = tuple(int(l) for l in shells_j)
        self.spin, self.magnetic = spin, magnetic
        parts = (_SCALAR,) if spin == "none" else tuple(range(4 if magnetic else 2))
        channels = _sorted_channels(self.shells_i, self.shells_j, parts)
        self.irreps = o3.Irreps([(1, (c.degree, c.parity)) for c in channels]).simplify()
        table = np.array(channels, dtype=np.int64)
        self.channel_part, self.channel_shell_a, self.channel_shell_b = table[:, :3].T
        self.channel_orbital_degree, self.channel_degree, self.channel_parity = table[:, 3:].T
        self.channel_l1 = np.array(self.shells_i)[self.channel_shell_a]
        self.channel_l2 = np.array(self.shells_j)[self.channel_shell_b]

        widths = 2 * self.channel_degree + 1
        stops = np.cumsum(widths)
        self.channel_slices = tuple(slice(int(b - w), int(b)) for b, w in zip(stops, widths, strict=True))
        self.channel = np.repeat(np.arange(len(channels)), widths)
        self.part = self.channel_part[self.channel]
        self.shell_a, self.shell_b = self.channel_shell_a[self.channel], self.channel_shell_b[self.channel]
        self.l1, self.l2 = self.channel_l1[self.channel], self.channel_l2[self.channel]
        self.degree, self.parity = self.channel_degree[self.channel], self.channel_parity[self.channel]
        self.component = np.concatenate([np.arange(-d, d + 1) for d in self.channel_degree])
        self.natural = self.parity == (-1) ** self.degree

        self.n_i = sum(2 * l + 1 for l in self.shells_i)
        self.n_j = sum(2 * l + 1 for l in self.shells_j)
        self.size = len(self.channel)
        self._master = _orthogonal_matrix(self.shells_i, self.shells_j, channels)
        self._matrices: dict[tuple[torch.dtype, torch.device], torch.Tensor] = {}
        reversed_channels = _sorted_channels(self.shells_j, self.shells_i, parts)
        place = {channel: n for n, channel in enumerate(reversed_channels)}
        self.channel_partner = np.array([place[c._replace(a=c.b, b=c.a)] for c in channels])
        signs = [_CONJUGATION[c.part] * c.parity * (-1.0) ** c.orbital for c in channels]
        self.channel_sign = np.array(signs)
        self._transposition = self._gather_of_transpose()

    @classmethod
    def from_basis(
        cls,
        basis: Basis,
        species_i: int | str,
        species_j: int | str,
        spin: str = "none",
        magnetic: bool = False,
    ) -> BlockIrreps:
        """Block irreps of a species pair of a basis (chemical symbols or atomic numbers)."""
        return cls(basis.shells_of(species_i), basis.shells_of(species_j), spin, magnetic)

    def __repr__(self) -> str:
        return f"BlockIrreps({self.shells_i} x {self.shells_j}: {self.irreps})"

    def matrix(self, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> torch.Tensor:
        """Orthogonal matrix T with c = T vec(H), shape (size, size), rows = coefficients.

        With spin vec(H) is sqrt(2) times the real blocks Re A, B_y, B_z, B_x, with magnetism followed by
        Im A, Re X_y, Re X_z, Re X_x.

        Cast from the float64 original for every dtype, so that a network cast to float32 and back is exact.
        """
        key = (dtype, torch.device(device))
        if key not in self._matrices:
            self._matrices[key] = self._master.to(dtype=dtype, device=device)
        return self._matrices[key]

    def to_coefficients(self, blocks: torch.Tensor) -> torch.Tensor:
        """Coefficients (..., size) of blocks, in their units.

        Parameters
        ----------
        blocks : torch.Tensor
            Shape (..., n_i, n_j), real; with spin (..., 4, n_i, n_j), complex.
        """
        flat = (blocks if self.spin == "none" else self._real_parts(blocks)).reshape(
            *blocks.shape[: -2 if self.spin == "none" else -3], self.size
        )
        return flat @ self.matrix(flat.dtype, flat.device).T

    def to_blocks(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Blocks of coefficients (..., size): inverse of `to_coefficients`."""
        flat = coefficients @ self.matrix(coefficients.dtype, coefficients.device)
        real = flat.reshape(*coefficients.shape[:-1], -1, self.n_i, self.n_j)
        return real[..., 0, :, :] if self.spin == "none" else self._spinor_blocks(real)

    def _real_parts(self, blocks: torch.Tensor) -> torch.Tensor:
        """sqrt(2) times the 4 (8 with magnetism) real blocks of spinor blocks (..., 4, n_i, n_j)."""
        a, *vector = pauli_parts(*blocks.unbind(-3))
        real = [a.real, *(x.imag for x in vector)]
        if self.magnetic:
            real += [a.imag, *(x.real for x in vector)]
        return 2**0.5 * torch.stack(real, dim=-3)

    def _spinor_blocks(self, real: torch.Tensor) -> torch.Tensor:
        """Inverse of `_real_parts`."""
        real = 2**-0.5 * real
        even, odd = real[..., :4, :, :].unbind(-3), real[..., 4:, :, :]
        a, *vector = odd.unbind(-3) if self.magnetic else [torch.zeros_like(even[0])] * 4
        pauli = [torch.complex(even[0], a)]
        pauli += [torch.complex(x, b) for x, b in zip(vector, even[1:], strict=True)]
        return torch.stack(spinor_parts(*pauli), dim=-3)

    def transpose(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Coefficients of the Hermitian conjugates of the blocks, in the layout of the reversed species pair.

        c^(b,a)(ji, -R) = s c^(a,b)(ij, R) for a Hermitian operator: s = (-1)^(l1+l2+L) for Re A and Re X,
        minus that for Im A and B.

        Parameters
        ----------
        coefficients : torch.Tensor
            Shape (..., size), of the pair (i, j).

        Returns
        -------
        torch.Tensor
            Shape (..., size), of the pair (j, i), i.e. of ``BlockIrreps(shells_j, shells_i, ...)``.
        """
        index, sign = self._transposition
        return coefficients[..., torch.from_numpy(index).to(coefficients.device)] * torch.from_numpy(sign).to(
            coefficients
        )

    def _gather_of_transpose(self) -> tuple[np.ndarray, np.ndarray]:
        """Gather index and sign that give the reversed pair's coefficients from those of the pair."""
        order = np.argsort(self.channel_partner)  # channels of the pair in the order of the reversed pair
        index = [np.arange(self.channel_slices[c].start, self.channel_slices[c].stop) for c in order]
        widths = 2 * self.channel_degree[order] + 1
        return np.concatenate(index), np.repeat(self.channel_sign[order], widths)

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


def _sorted_channels(
    shells_i: tuple[int, ...], shells_j: tuple[int, ...], parts: Sequence[int]
) -> list[_Channel]:
    """Channels in e3nn's irrep order, then by part, shells and L."""
    channels = [
        _Channel(part, a, b, orbital, degree, (-1) ** (l1 + l2))
        for part in parts
        for a, l1 in enumerate(shells_i)
        for b, l2 in enumerate(shells_j)
        for orbital in range(abs(l1 - l2), l1 + l2 + 1)
        for degree in _degrees(part, orbital)
    ]
    return sorted(channels, key=lambda c: (o3.Irrep(c.degree, c.parity), c))


def _degrees(part: int, orbital: int) -> Sequence[int]:
    """Degrees J of a part whose orbitals have degree L."""
    if part in (_SCALAR, _ODD_SCALAR):
        return (orbital,)
    return range(abs(orbital - 1), orbital + 2)


def _orthogonal_matrix(
    shells_i: tuple[int, ...], shells_j: tuple[int, ...], channels: list[_Channel]
) -> torch.Tensor:
    """T of `BlockIrreps.matrix` in float64."""
    starts_i = np.concatenate([[0], np.cumsum([2 * l + 1 for l in shells_i])])
    starts_j = np.concatenate([[0], np.cumsum([2 * l + 1 for l in shells_j])])
    size_i, size_j = int(starts_i[-1]), int(starts_j[-1])
    total = sum(2 * c.degree + 1 for c in channels)
    matrix = torch.zeros((total, total // (size_i * size_j), size_i, size_j), dtype=torch.float64)
    row = 0
    for part, a, b, orbital, degree, _ in channels:
        orbitals = (2 * orbital + 1) ** 0.5 * wigner_3j(shells_i[a], shells_j[b], orbital)
        width = 2 * degree + 1
        rows = slice(int(starts_i[a]), int(starts_i[a + 1]))
        columns = slice(int(starts_j[b]), int(starts_j[b + 1]))
        first = 4 * (part // 2)  # where the real blocks of this part and its time parity begin
        if part in (_SCALAR, _ODD_SCALAR):
            matrix[row : row + width, first, rows, columns] = orbitals.permute(2, 0, 1)
        else:
            coupling = width**0.5 * wigner_3j(orbital, 1, degree)
            block = torch.einsum("abm,mkn->nkab", orbitals, coupling)
            matrix[row : row + width, first + 1 : first + 4, rows, columns] = block
        row += width
    return matrix.reshape(total, total)

"""Product basis of MACE: symmetric contraction of node features to many-body invariants and vectors.

Batatia et al. 2022, arXiv:2206.07697, eq. 10-11. The coupling tensors U are symmetrised in
their feature indices and reduced to a linearly independent set: same function space, fewer weights.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mlepi_core.basis.rotations import wigner_3j

__all__ = ["SymmetricContraction", "coupling_tensors"]

_INDEPENDENT = 1e-8


@functools.lru_cache(maxsize=32)
def coupling_tensors(max_ell: int, order: int, out_ell: int, reduced: bool = True) -> Tensor:
    """Equivariant couplings of `order` copies of (0e + 1o + ... + max_ell) to degree `out_ell`.

    Parameters
    ----------
    max_ell
        Largest degree of the features; D = (max_ell + 1)^2 components.
    order
        Number of factors, 1 to 3 in practice.
    out_ell
        Output degree L; natural parity (-1)^L.
    reduced
        True: orthonormal basis of the span of the symmetrised couplings (Gram-Schmidt in path order, which
        unlike an SVD gives the same basis on every machine). False: all paths, not symmetrised.

    Returns
    -------
    Tensor
        (n_paths, 2 L + 1, D, ..., D), float64, Frobenius norm sqrt(2 L + 1) each. Do not modify.
    """
    tensors = [_path_tensor(path, max_ell) for path in _paths(max_ell, order, out_ell)]
    if not reduced:
        return torch.stack([t * math.sqrt(2 * out_ell + 1) / t.norm() for t in tensors])
    basis: list[Tensor] = []
    for tensor in tensors:
        symmetric = _symmetrise(tensor)
        norm = symmetric.norm()
        if norm < _INDEPENDENT:
            continue
        candidate = symmetric / norm
        for _ in range(2):  # the second pass removes what round-off left
            for member in basis:
                candidate = candidate - (member * candidate).sum() * member
        if candidate.norm() > _INDEPENDENT:
            basis.append(candidate / candidate.norm())
    return torch.stack(basis) * math.sqrt(2 * out_ell + 1)


def _paths(max_ell: int, order: int, out_ell: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(feature degrees, intermediate degrees) of every coupling ((l1 l2)j2 l3)j3 ... -> out_ell."""
    found: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    for degrees in itertools.product(range(max_ell + 1), repeat=order):
        if (sum(degrees) + out_ell) % 2:
            continue
        partial: list[tuple[int, ...]] = [(degrees[0],)]
        for degree in degrees[1:]:
            partial = [(*js, j) for js in partial for j in range(abs(js[-1] - degree), js[-1] + degree + 1)]
        found += [(degrees, js) for js in partial if js[-1] == out_ell]
    return found


def _path_tensor(path: tuple[tuple[int, ...], tuple[int, ...]], max_ell: int) -> Tensor:
    degrees, intermediates = path
    size = (max_ell + 1) ** 2
    value = torch.eye(2 * degrees[0] + 1, dtype=torch.float64)  # (m1, j)
    for degree, low, high in zip(degrees[1:], intermediates[:-1], intermediates[1:], strict=True):
        value = torch.tensordot(value, wigner_3j(low, degree, high), dims=([-1], [0]))
    value = value.movedim(-1, 0)
    full = torch.zeros(value.shape[0], *(size,) * len(degrees), dtype=torch.float64)
    full[(slice(None), *(slice(degree**2, (degree + 1) ** 2) for degree in degrees))] = value
    return full


def _symmetrise(tensor: Tensor) -> Tensor:
    axes = range(1, tensor.ndim)
    orders = list(itertools.permutations(axes))
    return torch.stack([tensor.permute(0, *order) for order in orders]).mean(dim=0)


class SymmetricContraction(nn.Module):
    """B_{k,LM} = sum_nu sum_eta W_{Z,eta,k} U^{nu,LM}_eta . A_k^nu for one, two, ... `correlation` factors.

    There is no constant term, so A = 0 gives B = 0.

    Parameters
    ----------
    n_species, channels
        S and K.
    max_ell
        Largest degree of A.
    out_ells
        Output degrees L, ascending.
    correlation
        Highest order nu, 1 to 3.
    reduced
        See `coupling_tensors`.
    """

    def __init__(
        self,
        n_species: int,
        channels: int,
        max_ell: int,
        out_ells: Sequence[int],
        correlation: int = 3,
        reduced: bool = True,
    ) -> None:
        super().__init__()
        self.size = (max_ell + 1) ** 2
        self.out_ells = tuple(out_ells)
        self.correlation = correlation
        self.n_out = sum(2 * ell + 1 for ell in self.out_ells)
        #: Other evaluation of the same sums (`mlepi_core.nn.phonon_accelerators`).
        self.kernel: Callable[[SymmetricContraction, Tensor, Tensor], Tensor] | None = None
        self.weights = nn.ParameterDict()
        for order in range(1, correlation + 1):
            for ell in self.out_ells:
                couplings = coupling_tensors(max_ell, order, ell, reduced)
                # (eta, x.. , c, M): the last factor is contracted at the end, the others are a GEMM.
                flat = couplings.flatten(2).reshape(len(couplings), 2 * ell + 1, -1, self.size)
                self.register_buffer(
                    f"u_{order}_{ell}", flat.permute(0, 2, 3, 1).contiguous(), persistent=False
                )
                weight = torch.randn(n_species, channels, len(couplings), dtype=torch.float64) / len(
                    couplings
                )
                self.weights[f"w_{order}_{ell}"] = nn.Parameter(weight)

    def _coefficients(self, species: int) -> Tensor:
        """(K, 1 + D + ... + D^(correlation-1), D * n_out): what multiplies [1, A, AA] and then A."""
        rows = []
        for order in range(1, self.correlation + 1):
            columns = []
            for ell in self.out_ells:
                couplings = getattr(self, f"u_{order}_{ell}")
                weighted = self.weights[f"w_{order}_{ell}"][species] @ couplings.flatten(1)
                columns.append(weighted.reshape(-1, *couplings.shape[1:]))
            rows.append(torch.cat(columns, dim=-1).flatten(2))
        return torch.cat(rows, dim=1)

    def _contract(self, features: Tensor, species: int) -> Tensor:
        """(K, n, D) -> (K, n, n_out)."""
        products = [torch.ones_like(features[..., :1])]
        for _ in range(1, self.correlation):
            products.append((products[-1][..., :, None] * features[..., None, :]).flatten(2))
        partial = torch.bmm(torch.cat(products, dim=-1), self._coefficients(species))
        partial = partial.reshape(*features.shape, self.n_out)
        return (features[..., None, :] @ partial).squeeze(-2)

    def forward(self, features: Tensor, species: Tensor) -> Tensor:
        """Contract the features of every node.

        Parameters
        ----------
        features
            A, (N, D, K).
        species
            Index of each node's element, (N,).

        Returns
        -------
        Tensor
            (N, n_out, K), output degrees stacked.
        """
        if self.kernel is not None:
            return self.kernel(self, features, species)
        return self.reference(features, species)

    def reference(self, features: Tensor, species: Tensor) -> Tensor:
        """`forward` in plain PyTorch."""
        by_channel = features.permute(2, 0, 1)
        n_species = next(iter(self.weights.values())).shape[0]
        if n_species == 1:
            return self._contract(by_channel, 0).permute(1, 2, 0)
        out = by_channel.new_zeros(by_channel.shape[0], len(species), self.n_out)
        for index in range(n_species):
            nodes = (species == index).nonzero()[:, 0]
            out = out.index_add(1, nodes, self._contract(by_channel[:, nodes], index))
        return out.permute(1, 2, 0)

"""Edge frames and Wigner matrices in the internal orbital order.

Internal order: the components of every shell run over m = -l..l about the Cartesian z axis (p: y, z, x).
That is e3nn's own order for the permuted vector (y, z, x), whose *second* axis is e3nn's polar axis. All
3 x 3 matrices of this module act on permuted vectors, so the l = 1 matrix is the 3 x 3 matrix itself.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from e3nn import o3

__all__ = [
    "PERMUTATION",
    "edge_frames",
    "permuted_rotation",
    "wigner_3j",
    "wigner_matrices",
    "wigner_matrices_numpy",
]

#: Cartesian (x, y, z) -> e3nn input order (y, z, x).
PERMUTATION = (1, 2, 0)

# A helper axis at less than about 37 degrees from the edge is exchanged for the other one; any threshold in
# (1/sqrt(2), 1) keeps the cross product well conditioned.
_HELPER_THRESHOLD = 0.8


@functools.cache
def wigner_3j(l1: int, l2: int, l3: int) -> torch.Tensor:
    """Real Wigner 3j symbol of e3nn (Frobenius norm 1), float64 on the CPU, whatever the default dtype is.

    Parameters
    ----------
    l1, l2, l3 : int
        Degrees that obey the triangle rule.

    Returns
    -------
    torch.Tensor
        Shape (2 l1 + 1, 2 l2 + 1, 2 l3 + 1). Shared between callers: do not modify.
    """
    symbol = o3.wigner_3j(l1, l2, l3, dtype=torch.float64, device="cpu")
    # e3nn leaves round-off of 1e-17 in entries that vanish by symmetry.
    return torch.where(symbol.abs() < 1e-14, torch.zeros_like(symbol), symbol)


@functools.lru_cache(maxsize=64)
def _recursion_constants(
    degree: int, dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """C_l = w3j(l-1, 1, l) as the two factors of the recursion, the second carrying 2l + 1."""
    symbol = wigner_3j(degree - 1, 1, degree)
    n_low, _, n_high = symbol.shape
    left = symbol.reshape(n_low, 3 * n_high)  # a, (b m)
    right = (2 * degree + 1) * symbol.reshape(n_low * 3, n_high)  # (a' b'), n
    return left.to(device=device, dtype=dtype), right.to(device=device, dtype=dtype)


def permuted_rotation(rotation: torch.Tensor) -> torch.Tensor:
    """Matrix of O(3) given for Cartesian (x, y, z) vectors, rewritten for (y, z, x) vectors.

    Parameters
    ----------
    rotation : torch.Tensor
        Shape (..., 3, 3).

    Returns
    -------
    torch.Tensor
        P R P^T, shape (..., 3, 3): the l = 1 Wigner matrix of the rotation in internal order.
    """
    index = list(PERMUTATION)
    return rotation[..., index, :][..., :, index]


def edge_frames(vectors: torch.Tensor) -> torch.Tensor:
    """Rotations that take each edge to the polar axis, without angles.

    With n = v/|v| and a helper axis a (z, or x for edges near z): third row normalise(a - n (a.n)), first row
    the cross product. The gauge (the angle about v) is arbitrary; whatever commutes with rotations about the
    edge does not depend on it, in value and gradient.

    Parameters
    ----------
    vectors : torch.Tensor
        Cartesian edge vectors (x, y, z), shape (E, 3). Zero vectors have no direction: they get the frame of
        an edge along z with zero gradient, and the caller must treat them on their own.

    Returns
    -------
    torch.Tensor
        Shape (E, 3, 3), proper rotations Q on permuted vectors: Q (v_y, v_z, v_x) = (0, |v|, 0).
    """
    permuted = vectors[:, list(PERMUTATION)]
    polar = permuted.new_tensor([0.0, 1.0, 0.0]).expand_as(permuted)
    side = permuted.new_tensor([0.0, 0.0, 1.0]).expand_as(permuted)
    empty = (permuted == 0.0).all(dim=1, keepdim=True)
    direction = torch.nn.functional.normalize(torch.where(empty, polar, permuted), dim=1, eps=0.0)
    near_polar = direction[:, 1:2].abs() > _HELPER_THRESHOLD
    helper = torch.where(near_polar, side, polar)
    third = helper - direction * (helper * direction).sum(dim=1, keepdim=True)
    third = torch.nn.functional.normalize(third, dim=1, eps=0.0)
    first = torch.linalg.cross(direction, third, dim=1)
    return torch.stack([first, direction, third], dim=1)


def wigner_matrices(rotation: torch.Tensor, lmax: int) -> list[torch.Tensor]:
    """Wigner matrices D^0..D^lmax of O(3) matrices by a recursion in l.

    D^l = (2l+1) C_l^T (D^(l-1) x D^1) C_l with C_l = w3j(l-1, 1, l): exact to rounding, smooth, no Euler
    angles. Improper matrices give the natural parity (-1)^l, as orbitals need.

    Parameters
    ----------
    rotation : torch.Tensor
        Orthogonal matrices on permuted (y, z, x) vectors, shape (E, 3, 3) (`edge_frames`,
        `permuted_rotation`).
    lmax : int
        Highest degree.

    Returns
    -------
    list of torch.Tensor
        lmax + 1 tensors of shape (E, 2l+1, 2l+1), dtype and device of `rotation`.
    """
    n_edges = rotation.shape[0]
    matrices = [rotation.new_ones((n_edges, 1, 1)), rotation]
    for degree in range(2, lmax + 1):
        left, right = _recursion_constants(degree, rotation.dtype, rotation.device)
        lower = matrices[-1]
        n_low, n_high = 2 * degree - 1, 2 * degree + 1
        # (a', a) . (a, b m) -> a', b, m ; then b -> b' with D^1 ; then (a' b') -> n.
        partial = lower.transpose(1, 2).reshape(n_edges * n_low, n_low) @ left
        partial = partial.reshape(n_edges, n_low, 3, n_high).transpose(2, 3)
        partial = partial.reshape(n_edges, n_low * n_high, 3) @ rotation
        partial = partial.reshape(n_edges, n_low, n_high, 3).transpose(1, 2)
        matrices.append(
            (partial.reshape(n_edges * n_high, n_low * 3) @ right).reshape(n_edges, n_high, n_high)
        )
    return matrices[: lmax + 1]


def wigner_matrices_numpy(rotation: np.ndarray, lmax: int) -> list[np.ndarray]:
    """`wigner_matrices` for NumPy arrays in float64.

    Parameters
    ----------
    rotation : numpy.ndarray
        Shape (E, 3, 3) or (3, 3), on permuted vectors.
    lmax : int
        Highest degree.

    Returns
    -------
    list of numpy.ndarray
        lmax + 1 arrays of shape (E, 2l+1, 2l+1), or (2l+1, 2l+1) for a single matrix.
    """
    array = np.asarray(rotation, dtype=np.float64)
    with torch.no_grad():
        matrices = wigner_matrices(torch.from_numpy(array.reshape(-1, 3, 3)), lmax)
    return [m.numpy().reshape(*array.shape[:-2], *m.shape[1:]) for m in matrices]

"""Radial functions and spherical harmonics of an edge.

Everything here has derivatives of any order at d > 0 and vanishes with slope and curvature at the cutoff.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mlepi_core.basis.rotations import wigner_3j

__all__ = ["BesselBasis", "RadialNetwork", "SphericalHarmonics", "normalised_silu", "polynomial_envelope"]

#: 1/sqrt(E[SiLU(z)^2]) for z ~ N(0, 1): keeps the second moment of an activation at one.
SILU_NORM = 1.6765324703310907


def normalised_silu(x: Tensor) -> Tensor:
    """SiLU scaled to unit second moment for standard normal input; 0 at 0."""
    return SILU_NORM * nn.functional.silu(x)


def polynomial_envelope(distance: Tensor, cutoff: float, p: int = 5) -> Tensor:
    """Smooth cutoff u(d/r_c): one at d = 0, zero with two derivatives at d >= r_c.

    u(x) = 1 - (p+1)(p+2)/2 x^p + p(p+2) x^(p+1) - p(p+1)/2 x^(p+2)
    (Gasteiger, Gross and Günnemann 2020, arXiv:2003.03123, eq. 8).

    Parameters
    ----------
    distance
        Any shape, Å.
    cutoff
        r_c, Å.
    p
        Order of contact at zero distance.
    """
    x = distance / cutoff
    a, b, c = (p + 1) * (p + 2) / 2, p * (p + 2), p * (p + 1) / 2
    u = 1 - x**p * (a - x * (b - c * x))
    return torch.where(x < 1, u, torch.zeros_like(u))


class BesselBasis(nn.Module):
    """f_n(d) = sqrt(2/r_c) sin(n pi d / r_c)/d u(d/r_c), n = 1..n_radial (arXiv:2003.03123, eq. 7)."""

    frequencies: Tensor

    def __init__(self, cutoff: float, n_radial: int = 8, p: int = 5) -> None:
        super().__init__()
        self.cutoff, self.p = float(cutoff), p
        frequencies = math.pi / cutoff * torch.arange(1, n_radial + 1, dtype=torch.float64)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, distance: Tensor) -> Tensor:
        """Distances of any shape (Å, > 0) -> shape + (n_radial,)."""
        d = distance[..., None]
        bessel = math.sqrt(2 / self.cutoff) * torch.sin(self.frequencies * d) / d
        return bessel * polynomial_envelope(d, self.cutoff, self.p)


class RadialNetwork(nn.Module):
    """Bias-free perceptron on the radial basis: every output goes to zero with its input.

    Weights are N(0, 1) and a layer reads x -> act(x W / sqrt(fan_in)), as in e3nn's `FullyConnectedNet`.
    With `hidden = ()` it is one linear map of the basis.
    """

    def __init__(self, n_in: int, hidden: Sequence[int], n_out: int) -> None:
        super().__init__()
        widths = (n_in, *hidden, n_out)
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(a, b, dtype=torch.float64)) for a, b in itertools.pairwise(widths)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(..., n_in) -> (..., n_out)."""
        return self.hidden(x) @ self.last()

    def hidden(self, x: Tensor) -> Tensor:
        """What the last linear map reads: (..., n_in) -> (..., width of the last hidden layer)."""
        for weight in self.weights[:-1]:
            x = normalised_silu(x @ (weight / math.sqrt(weight.shape[0])))
        return x

    def last(self) -> Tensor:
        """The last linear map, (width, n_out)."""
        return self.weights[-1] / math.sqrt(self.weights[-1].shape[0])


class SphericalHarmonics(nn.Module):
    """Real spherical harmonics l = 0..max_ell in e3nn's order, normalisation 'component'.

    Built by the recursion Y_l ~ C (Y_(l-1) x Y_1), which is two small matrix products per degree and, unlike
    angle formulas, smooth everywhere; equal to `e3nn.o3.spherical_harmonics` (tested).
    """

    def __init__(self, max_ell: int) -> None:
        super().__init__()
        self.max_ell = max_ell
        y = [
            torch.ones(1, dtype=torch.float64),
            math.sqrt(3) * torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64),
        ]
        for degree in range(2, max_ell + 1):
            coupling = wigner_3j(degree - 1, 1, degree).reshape(-1, 2 * degree + 1)
            # Fixed by the value sqrt(2l + 1) at the polar axis (e3nn's y), where only m = 0 is nonzero.
            at_pole = torch.outer(y[degree - 1], y[1]).reshape(-1) @ coupling
            factor = math.sqrt(2 * degree + 1) / at_pole[degree]
            y.append(at_pole * factor)
            self.register_buffer(f"coupling_{degree}", coupling * factor, persistent=False)

    def forward(self, unit: Tensor) -> Tensor:
        """Unit vectors (..., 3) -> (..., (max_ell + 1)^2)."""
        y1 = math.sqrt(3) * unit
        parts = [torch.ones_like(unit[..., :1])]
        if self.max_ell > 0:
            parts.append(y1)
        for degree in range(2, self.max_ell + 1):
            product = (parts[-1][..., :, None] * y1[..., None, :]).flatten(-2)
            parts.append(product @ getattr(self, f"coupling_{degree}"))
        return torch.cat(parts, dim=-1)

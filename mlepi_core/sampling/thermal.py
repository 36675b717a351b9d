"""Quantum harmonic displacements of a supercell.

The sample with number j of a seed is the same whatever the number of samples, their order, the blocks they
are computed in and the temperature, of which only the widths σ_μ depend on it (common random numbers).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mlepi_core.artefacts import InputError
from mlepi_core.phonons.modes import SupercellModes
from mlepi_core.phonons.units import KELVIN_PER_THZ, SIGMA2_TIMES_THZ
from mlepi_core.randomness import stream
from mlepi_core.sampling.policy import ModePolicy
from mlepi_core.sampling.schemes import canonical_modes, special_signs, unit_numbers

#: Purpose of the random stream; part of every random number.
PURPOSE = "thermal"


def mode_variance(frequencies: np.ndarray, temperature: float) -> np.ndarray:
    """σ² = ħ/(2ω) coth(ħω/2kT) in amu Å², for frequencies in THz and T ≥ 0 in K."""
    if not (np.isfinite(temperature) and temperature >= 0):
        raise InputError("temperature", f"is {temperature} K", "give a temperature ≥ 0 K")
    frequencies = np.asarray(frequencies, dtype=float)
    zero_point = SIGMA2_TIMES_THZ / (2 * frequencies)
    if temperature == 0:
        return zero_point
    return zero_point / np.tanh(KELVIN_PER_THZ * frequencies / (2 * temperature))


def mode_numbers(modes: SupercellModes, seed: int, pair: int) -> np.ndarray:
    """The standard normal ξ_μ (3N − 3) of every mode for one pair.

    They are the projections of one standard normal vector of the 3N mass-weighted coordinates on the
    orthonormal polarisations, hence independent and one per mode. The displacement Σ e_μ σ_μ ξ_μ then depends
    neither on the sign of an eigenvector nor on the basis that the eigensolver picks in a degenerate
    subspace: samples agree between machines to rounding, and nearby force constants give nearby samples.
    """
    vector = stream(seed, PURPOSE, pair).standard_normal(len(modes.eigenvectors))
    # einsum instead of BLAS: the order of summation does not depend on threads
    return np.einsum("im,i->m", modes.eigenvectors, vector)


@dataclass(frozen=True)
class ThermalSampler:
    """Displacements u_i = M_i^(−1/2) Σ_μ e_iμ σ_μ ξ_μ at one temperature.

    Attributes
    ----------
    modes, policy
        Polarisations, and the frequencies to use.
    temperature
        K, ≥ 0; 0 is the zero-point motion.
    scheme
        One of `mlepi_core.sampling.schemes.SCHEMES`.
    """

    modes: SupercellModes
    policy: ModePolicy
    temperature: float
    scheme: str = "antithetic"

    @property
    def variance(self) -> np.ndarray:
        """σ_μ² (3N − 3) in amu Å², zero for modes that are not sampled."""
        variance = np.zeros(len(self.policy.frequencies))
        sampled = self.policy.sampled
        variance[sampled] = mode_variance(self.policy.frequencies[sampled], self.temperature)
        return variance

    @cached_property
    def canonical(self) -> SupercellModes:
        """The modes in the basis in which schemes that act mode by mode see them."""
        return canonical_modes(self.modes)

    def displacement(self, seed: int, pair: int) -> np.ndarray:
        """Displacement (N, 3) in Å of the first member of a pair; the second one is its negative."""
        modes, numbers = self.numbers(seed, pair)
        weighted = np.einsum("im,m->i", modes.eigenvectors, np.sqrt(self.variance) * numbers).reshape(-1, 3)
        return weighted / np.sqrt(modes.reference.get_masses())[:, None]

    def numbers(self, seed: int, pair: int) -> tuple[SupercellModes, np.ndarray]:
        """Modes, in the basis that the scheme uses, and their ξ_μ (3N − 3) of a pair's first member."""
        if self.scheme in ("plain", "antithetic"):
            return self.modes, mode_numbers(self.modes, seed, pair)
        if self.scheme == "special":
            if pair:
                raise InputError("pairs", f"number {pair}: scheme special has one pair", "ask for one pair")
            return self.canonical, special_signs(self.canonical, self.variance, seed)[0]
        return self.canonical, unit_numbers(self.scheme, len(self.variance), seed, pair)

    def covariance(self) -> np.ndarray:
        """Exact covariance ⟨u_i u_j⟩ (3N, 3N) in Å²: M^(−1/2) Σ e σ² eᵀ M^(−1/2)."""
        scaled = self.modes.eigenvectors * np.sqrt(self.variance)
        scaled /= np.sqrt(np.repeat(self.modes.reference.get_masses(), 3))[:, None]
        return scaled @ scaled.T

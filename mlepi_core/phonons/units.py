"""Constants of lattice dynamics in eV, Å, amu and THz (CODATA through scipy)."""

from __future__ import annotations

import math

from scipy import constants as _c

#: cm⁻¹ per THz.
CM1_PER_THZ = 1e12 / (100 * _c.c)
#: Ordinary frequency in THz of an eigenvalue of 1 eV/(Å² amu).
THZ_PER_SQRT_EIGENVALUE = math.sqrt(_c.e / 1e-20 / _c.atomic_mass) / (2 * math.pi * 1e12)
#: ħ/(2π·1 THz·amu) in Å²: σ² = this / f · (n + ½).
SIGMA2_TIMES_THZ = _c.hbar / (_c.atomic_mass * 2 * math.pi * 1e12) * 1e20
#: h·1 THz / k_B in K.
KELVIN_PER_THZ = _c.h * 1e12 / _c.k
#: h·1 THz in meV.
MEV_PER_THZ = _c.h * 1e12 / _c.e * 1e3

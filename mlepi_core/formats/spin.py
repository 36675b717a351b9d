"""Spin of Hamiltonians: kinds, and the algebra of spinor blocks.

A spinor block is [[uu, ud], [du, dd]] and equals A x 1 + sum_k X_k sigma_k with the Pauli matrices, k = x, y,
z. For real orbitals time reversal turns A into A* and X_k into -X_k*: without magnetism A is real and
X_k = i B_k with B_k real.
"""

from __future__ import annotations

from typing import Any

import numpy as np

SPINS = ("none", "collinear", "soc")
LEAD: dict[str, tuple[int, ...]] = {"none": (), "collinear": (2,), "soc": (4,)}
"""Leading shape of the entries of H: nothing; up, down; uu, ud, du, dd."""
DTYPE = {"none": np.float64, "collinear": np.float64, "soc": np.complex128}
ELECTRONS_PER_STATE = {"none": 2.0, "collinear": 1.0, "soc": 1.0}
TIME_ODD_TOLERANCE = 1e-5
"""Rms in eV up to which the time-odd part of H counts as noise; nonmagnetic OpenMX results have 1e-10."""
_PARTNER = [0, 2, 1, 3]


def conjugate(entries: np.ndarray) -> np.ndarray:
    """Spin part of Hermitian conjugation (4, ...): uu*, du*, ud*, dd*; orbitals are transposed elsewhere."""
    return entries[_PARTNER].conj()


def pauli_parts(uu: Any, ud: Any, du: Any, dd: Any) -> tuple[Any, Any, Any, Any]:
    """A, X_y, X_z, X_x of spinor parts, in the internal order of vectors; arrays or tensors."""
    return (uu + dd) / 2, (ud - du) * 0.5j, (uu - dd) / 2, (ud + du) / 2


def spinor_parts(a: Any, x_y: Any, x_z: Any, x_x: Any) -> tuple[Any, Any, Any, Any]:
    """uu, ud, du, dd: inverse of `pauli_parts`."""
    return a + x_z, x_x - 1j * x_y, x_x + 1j * x_y, a - x_z


def diagonal(entries: np.ndarray, spin: str) -> list[np.ndarray]:
    """Views of the parts that a scalar potential enters: all, up and down, or uu and dd."""
    return {"none": [entries], "collinear": list(entries), "soc": [entries[0], entries[-1]]}[spin]


def scalar_part(entries: np.ndarray, spin: str) -> np.ndarray:
    """Real part of A (M,): mean of the diagonal parts."""
    parts = diagonal(entries, spin)
    return np.real(sum(parts) / len(parts))


def time_odd(entries: np.ndarray, spin: str) -> np.ndarray:
    """Part of H, in its own shape, that changes sign under time reversal.

    Collinear: plus and minus half the difference of the spins. Spinors: the imaginary part of A and the real
    parts of X_k.
    """
    if spin == "none":
        return np.zeros_like(entries)
    if spin == "collinear":
        half = (entries[0] - entries[1]) / 2
        return np.stack([half, -half])
    a, *vector = pauli_parts(*entries)
    return np.stack(spinor_parts(1j * a.imag, *(x.real for x in vector)))

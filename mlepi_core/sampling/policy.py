"""What to do with imaginary and soft modes before they are sampled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlepi_core.artefacts import InputError
from mlepi_core.phonons.modes import SupercellModes
from mlepi_core.phonons.rigid_layers import rigid_layer_weights
from mlepi_core.phonons.units import CM1_PER_THZ

POLICIES = ("refuse", "drop", "absolute", "floor")
_LISTED = 12


@dataclass(frozen=True)
class ModePolicy:
    """Frequencies to sample with and which modes were changed for it.

    Attributes
    ----------
    name
        One of `POLICIES`.
    floor_cm1
        Lowest frequency of the policy "floor", cm⁻¹; otherwise None.
    frequencies
        (3N − 3) THz, positive where `sampled`.
    sampled
        (3N − 3) mask; the other modes have zero amplitude.
    touched
        One entry per changed mode: its number, its frequency and the one used (cm⁻¹, None if dropped),
        and whether it is "shear", "breathing" or "other".
    """

    name: str
    floor_cm1: float | None
    frequencies: np.ndarray
    sampled: np.ndarray
    touched: list[dict[str, Any]] = field(default_factory=list)

    @property
    def n_touched(self) -> int:
        """Number of changed modes."""
        return len(self.touched)


def apply_policy(modes: SupercellModes, policy: str = "refuse", floor_cm1: float | None = None) -> ModePolicy:
    """Turn frequencies, some of them possibly imaginary, into frequencies to sample with.

    ``refuse``
        Any imaginary mode is an error that lists them.
    ``drop``
        Imaginary modes get no amplitude.
    ``absolute``
        Imaginary modes are sampled with |ω|. An uncontrolled approximation, offered for comparison
        with programs that do this silently.
    ``floor``
        Every mode below `floor_cm1`, imaginary or real, is sampled at `floor_cm1`.

    A mode whose restoring force vanishes (`SupercellModes.unstable`) counts as imaginary, as its
    amplitude has no bound.

    Raises
    ------
    InputError
        Policy "refuse" with imaginary modes, "absolute" with a vanishing frequency, an unknown policy, or a
        floor that is missing or not wanted.
    """
    if policy not in POLICIES:
        raise InputError("imaginary", f"is {policy!r}", f"give one of {', '.join(POLICIES)}")
    if (policy == "floor") != (floor_cm1 is not None) or (floor_cm1 is not None and not floor_cm1 > 0):
        raise InputError(
            "floor_cm1", f"is {floor_cm1} with imaginary = {policy}", "give a positive floor with floor only"
        )
    frequencies, sampled = modes.frequencies.copy(), np.ones(len(modes.frequencies), dtype=bool)
    unstable = modes.unstable
    if policy == "refuse" and unstable.any():
        raise InputError(
            "imaginary modes",
            f"{unstable.sum()} of {len(unstable)} modes of the sampling supercell have no restoring force: "
            f"{_listing(modes.frequencies_cm1[unstable])} cm⁻¹",
            "relax the structure, improve the forces or choose --imaginary drop, absolute or floor",
        )
    changed = unstable
    if policy == "drop":
        sampled = ~unstable
    elif policy == "absolute":
        frequencies = np.abs(frequencies)
        if (frequencies[unstable] <= 1e-5 * frequencies.max()).any():
            raise InputError(
                "imaginary", "absolute cannot sample a mode of zero frequency", "choose drop or floor"
            )
    elif policy == "floor":
        floor = floor_cm1 / CM1_PER_THZ
        changed = frequencies < floor
        frequencies = np.maximum(frequencies, floor)
    return ModePolicy(policy, floor_cm1, frequencies, sampled, _touched(modes, changed, frequencies, sampled))


def _touched(
    modes: SupercellModes, changed: np.ndarray, frequencies: np.ndarray, sampled: np.ndarray
) -> list[dict[str, Any]]:
    indices = np.flatnonzero(changed)
    if len(indices) == 0:
        return []
    rigid = rigid_layer_weights(modes) if "layer" in modes.reference.arrays else {}
    kinds = {int(i): next((kind for kind, w in rigid.items() if w[i] > 0.5), "other") for i in indices}
    return [
        {
            "mode": int(i),
            "frequency_cm1": round(float(modes.frequencies_cm1[i]), 4),
            "used_cm1": round(float(frequencies[i]) * CM1_PER_THZ, 4) if sampled[i] else None,
            "kind": kinds[int(i)],
        }
        for i in indices
    ]


def _listing(frequencies_cm1: np.ndarray) -> str:
    """Imaginary frequencies the way they are written: 21.3i; shortened."""
    words = [f"{-f:.2f}i" if f < 0 else f"{f:.2f}" for f in np.sort(frequencies_cm1)]
    return ", ".join(words[:_LISTED]) + (f", … ({len(words) - _LISTED} more)" if len(words) > _LISTED else "")

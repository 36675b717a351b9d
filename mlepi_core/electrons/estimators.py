"""Estimators of the Fermi velocity of graphene layers (docs/concepts.md).

Every estimator is a function of a *mean over snapshots* of a few numbers per snapshot: `feature` gives
these numbers, `linear_form` and `velocity_of_slope` make a velocity of them. They come from
`sample_quantities`, which solves each k once for all estimators and keeps the energies of the Dirac
manifold only, so that a sample leaves a few kB and can be reduced in many ways.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.constants

from mlepi_core.artefacts import InputError
from mlepi_core.electrons.bloch import GAUGES, BlochHamiltonian
from mlepi_core.electrons.dirac import DiracCone
from mlepi_core.electrons.reduced_basis import WORTHWHILE, manifold_energies
from mlepi_core.electrons.solver import OVERLAP_THRESHOLD, Eigenpairs, eigenvalues, solve
from mlepi_core.electrons.velocity_operator import squared_velocity, velocity_matrices

ESTIMATORS = ("naive", "manifold", "bilayer", "operator")
WINDOWLESS = ("operator",)
METRES_PER_SECOND = scipy.constants.e * 1e-10 / scipy.constants.hbar
"""Velocity in m/s of hbar v = 1 eV Å (1.51927e5)."""

Window = tuple[float, float]


@dataclass(frozen=True)
class VelocitySpec:
    """What is evaluated at the cone.

    Attributes
    ----------
    estimators
        Any of `ESTIMATORS`.
    windows
        Windows of |k - K| in 1/Å for `manifold` and `bilayer`; the first is the default.
    naive_windows
        The same for `naive`.
    directions
        Lines of k through K.
    k_points
        Points of |k - K| in each window and direction, ends included.
    gauge
        Gauge of the velocity operator.
    threshold
        Smallest eigenvalue of S that is kept.
    """

    estimators: tuple[str, ...] = ESTIMATORS
    windows: tuple[Window, ...] = ((0.03, 0.10),)
    naive_windows: tuple[Window, ...] = ((0.0, 0.05),)
    directions: int = 3
    k_points: int = 6
    gauge: str = "atomic"
    threshold: float = OVERLAP_THRESHOLD

    def __post_init__(self) -> None:
        unknown = [name for name in self.estimators if name not in ESTIMATORS]
        if unknown or not self.estimators:
            problem = f"unknown estimator {unknown[0]!r}" if unknown else "no estimator"
            raise InputError("velocity.estimators", problem, f"use any of {', '.join(ESTIMATORS)}")
        for low, high in (*self.windows, *self.naive_windows):
            if not 0 <= low < high:
                raise InputError("velocity window", f"[{low:g}, {high:g}] 1/Å", "give 0 <= LO < HI")
        if self.directions < 1 or self.k_points < 2:
            raise InputError("velocity", "needs at least one direction and two k points per window")
        if self.gauge not in GAUGES:
            raise InputError(
                "velocity.gauge", f"{self.gauge!r} is unknown", f"use one of {', '.join(GAUGES)}"
            )

    @classmethod
    def from_section(cls, section: Any) -> VelocitySpec:
        """From the validated section `velocity` of the configuration."""
        return cls(
            estimators=tuple(section.estimators),
            windows=tuple(tuple(w) for w in section.windows),
            naive_windows=tuple(tuple(w) for w in section.naive_windows),
            directions=section.directions,
            k_points=section.k_points,
            gauge=section.gauge,
        )

    @classmethod
    def single(cls, estimator: str, window: Window | None = None, **settings: Any) -> VelocitySpec:
        """One estimator and one window; None takes the default window."""
        windows = {} if window is None else {"windows": (window,), "naive_windows": (window,)}
        return cls(estimators=(estimator,), **windows, **settings)

    def windows_of(self, estimator: str) -> tuple[Window | None, ...]:
        """Windows of one estimator; (None,) if it has none."""
        if estimator in WINDOWLESS:
            return (None,)
        return self.naive_windows if estimator == "naive" else self.windows

    def radii_of(self, window: Window) -> np.ndarray:
        """|k - K| of a window (k_points,), 1/Å; rounded so that shared points are solved once."""
        return np.round(np.linspace(*window, self.k_points), 9)

    @property
    def radii(self) -> np.ndarray:
        """All |k - K| that the estimators need (K,), ascending, 1/Å."""
        needed = [w for name in self.estimators for w in self.windows_of(name) if w is not None]
        return np.unique(np.concatenate([self.radii_of(w) for w in needed])) if needed else np.empty(0)


def sample_quantities(
    bloch: BlochHamiltonian, cone: DiracCone, spec: VelocitySpec, device: str = "cpu"
) -> dict[str, np.ndarray]:
    """Everything that the estimators need of one snapshot.

    Parameters
    ----------
    bloch
        H and S of the snapshot.
    cone
        Dirac cone of its cell.
    spec
        Estimators, windows, directions.
    device
        "cpu", "cuda" or "auto".

    Returns
    -------
    dict
        ``energies`` (D, K, m): manifold at K + radius x direction, eV, ascending; ``cone_energies`` (m,)
        at K itself; ``velocity_squared`` (): (tr Vx^2 + tr Vy^2)/(2 m) in (eV Å)^2, NaN if `operator`
        is not wanted; ``n_projected`` (): largest number of states lost to a nearly singular S.
    """
    radii = spec.radii
    if len(radii):
        cone.check_radius(float(radii[-1]))
    centre, squared = _at_cone(bloch, cone, spec)
    dropped = centre.n_projected
    directions = cone.offsets(spec.directions)
    energies = np.empty((len(directions), len(radii), cone.n_states))
    energies[:, radii == 0] = centre.energies
    away = radii > 0
    if away.any():
        solved, lost = _around_cone(bloch, cone, spec, radii[away], device)
        energies[:, away] = solved.reshape(len(directions), -1, cone.n_states)
        dropped = max(dropped, lost)
    return {
        "energies": energies,
        "cone_energies": centre.energies,
        "velocity_squared": np.array(squared),
        "n_projected": np.array(dropped),
    }


def _around_cone(
    bloch: BlochHamiltonian, cone: DiracCone, spec: VelocitySpec, radii: np.ndarray, device: str
) -> tuple[np.ndarray, int]:
    """Manifold (D x K, m) at some radii of all directions; in large cells by a reduced basis."""
    directions = cone.offsets(spec.directions)

    def points(at: np.ndarray) -> np.ndarray:
        offsets = (directions[:, None, :] * at[:, None]).reshape(-1, 3)
        return np.asarray(cone.point) + bloch.fractional(offsets)

    options = {"subset": cone.subset, "threshold": spec.threshold}
    kpoints, anchors = points(radii), points(radii[-1] * np.array([0.5, 1.0]))
    worthwhile = bloch.n_states >= WORTHWHILE and len(kpoints) >= 2 * len(anchors)
    if not (worthwhile and device.startswith("cpu")):
        return eigenvalues(bloch, kpoints, device=device, **options)
    return manifold_energies(bloch, kpoints, [cone.point, *anchors], **options)[:2]


def _at_cone(bloch: BlochHamiltonian, cone: DiracCone, spec: VelocitySpec) -> tuple[Eigenpairs, float]:
    """Manifold at the folded K, and its mean squared velocity; real matrices where K is Gamma."""
    wanted = "operator" in spec.estimators
    h, s = bloch.matrices(cone.point)
    states = solve(
        h, s, vectors=wanted, subset=cone.subset, threshold=spec.threshold, where="S at the folded K"
    )
    if not wanted:
        return states, np.nan
    matrices = velocity_matrices(bloch, cone.point, states.energies, states.vectors, spec.gauge)
    return states, squared_velocity(matrices, cone.axes)


def feature(estimator: str, quantities: Mapping[str, np.ndarray], radii: slice | np.ndarray) -> np.ndarray:
    """The numbers of one snapshot whose mean over snapshots gives the velocity.

    Parameters
    ----------
    estimator
        One of `ESTIMATORS`.
    quantities
        As `sample_quantities` returns.
    radii
        Which of the radii belong to the window; unused by `operator`.

    Returns
    -------
    ndarray
        `naive` (k,): half the distance between the centres of the upper and the lower half of the
        manifold, eV. `manifold` (k,): W(k), the variance of the manifold's energies, eV^2. `bilayer`
        (k,): E_low E_high, eV^2. `operator` (1,): mean squared velocity, (eV Å)^2.
        Directions are averaged.
    """
    if estimator == "operator":
        return np.atleast_1d(quantities["velocity_squared"])
    energies = np.asarray(quantities["energies"])[:, radii]
    if estimator == "manifold":
        return energies.var(axis=-1).mean(axis=0)
    half = energies.shape[-1] // 2
    # Electron-hole average: the j-th state above the middle against the j-th below it.
    gaps = (energies[..., half:] - energies[..., half - 1 :: -1]) / 2
    if estimator == "naive":
        return gaps.mean(axis=(0, -1))
    if half % 2:
        raise InputError("velocity.estimators", "bilayer needs two layers", "use manifold for a monolayer")
    low, high = gaps[..., : half // 2].mean(axis=-1), gaps[..., half // 2 :].mean(axis=-1)
    return (low * high).mean(axis=0)


def linear_form(estimator: str, radii: np.ndarray) -> np.ndarray:
    """Weights (k,) whose scalar product with a feature is its least-squares slope.

    `naive`: slope of a straight line in k, hbar v in eV Å. `manifold`, `bilayer`: slope in k^2 of
    W0 + (hbar v)^2 k^2 in (eV Å)^2, where W0 takes up gaps, cone shifts and gamma_1 (an ideal bilayer
    with gamma_1 alone has E_low E_high = (hbar v k)^2). `operator`: 1.

    Parameters
    ----------
    radii
        (k,) |k - K| of the window in 1/Å.
    """
    if estimator == "operator":
        return np.ones(1)
    x = radii if estimator == "naive" else radii**2
    centred = x - x.mean()
    return centred / (centred @ centred)


def velocity_of_slope(estimator: str, slope: np.ndarray) -> np.ndarray:
    """Velocity in m/s of any array of slopes of `linear_form`; NaN where a square is negative."""
    if estimator == "naive":
        return METRES_PER_SECOND * slope
    return METRES_PER_SECOND * np.sqrt(np.where(slope > 0, slope, np.nan))


def velocity_of_mean(estimator: str, mean: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Velocity in m/s of mean features (…, k) on radii (k,); NaN where a squared velocity is negative."""
    return velocity_of_slope(estimator, np.asarray(mean) @ linear_form(estimator, radii))

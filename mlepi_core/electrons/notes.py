"""What a reader of a velocity must know: the note beside each estimator and the finite-size warning."""

from __future__ import annotations

# n times the |k| (1/Å) at which hbar v k equals half the rms Kekule gap at T = 0.
_KEKULE_RADIUS = 0.081

_NAIVE = """Straight-line slope of the distance between the centres of the upper and the lower half of the
Dirac manifold. Finite-size artefact: every snapshot of a small cell has a Kekule gap (A1' phonon of K
folded onto Gamma) and a shifted cone (E2g), both proportional to 1/n and hardly dependent on temperature
below 300 K. A slope that starts at the folded K is therefore reduced even where the velocity does not
change (to 0.61 at n = 3 and 0.80 at n = 6 for 0-0.05 1/Å in such a model). Compare with `manifold`, other
windows, larger n."""

_NAIVE_BILAYER = """The bands of an AB bilayer are parabolic at K: the slope depends on the window even
without phonons."""

_MANIFOLD = """W(k), the variance of the energies of the whole Dirac manifold, fitted to W0 + (hbar v)^2
k^2; cone shifts and gaps of snapshots enter W0 only."""

_BILAYER = """E_low E_high fitted to P0 + (hbar v)^2 k^2, exact for an AB bilayer with gamma_1 alone. Gaps
and cone shifts of snapshots of a small cell bias the fit: by about -2.5 % at n = 3 and -1 % at n = 6 for
0.03-0.10 1/Å in a model whose velocity does not change."""

_OPERATOR = """sqrt(<tr Vx^2 + tr Vy^2>/(2 dim)) of the velocity operator in the Dirac manifold at the
folded K: no fit, no window. Includes mixing with other states, only part of the energy dependence."""


class FiniteSizeWarning(UserWarning):
    """The window of the naive slope lies where finite-size gaps bend the bands."""


def note_of(estimator: str, layers: int) -> str:
    """One paragraph on an estimator, in a single line."""
    texts = {"naive": _NAIVE, "manifold": _MANIFOLD, "bilayer": _BILAYER, "operator": _OPERATOR}
    text = texts[estimator] + (f" {_NAIVE_BILAYER}" if estimator == "naive" and layers > 1 else "")
    return " ".join(text.split())


def naive_limit(n: int) -> float:
    """Radius (1/Å) below which the naive slope of an n x n cell is not to be trusted.

    Twice the radius at which hbar v k is half the rms Kekule gap.
    """
    return 2 * _KEKULE_RADIUS / n


def finite_size_warning(n: int, lowest: float) -> str | None:
    """Warning on a naive window of an n x n cell that starts at `lowest` (1/Å); None if it is fine."""
    limit = naive_limit(n)
    if lowest >= limit:
        return None
    return (
        f"naive window starts at {lowest:g} 1/Å, below {limit:.3g} 1/Å, where Kekule gap and cone shift of a "
        f"{n}x{n} cell bend the bands: its reduction is partly or wholly a finite-size artefact"
    )

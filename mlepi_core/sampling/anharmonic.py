"""Force constants at a temperature that are consistent with the motion they cause.

The best Gaussian distribution of the nuclei at fixed cell and mean positions has the force constants
Φ(T) = ⟨∂²V⟩, averaged over itself: the self-consistent harmonic approximation (Hooton 1955,
doi:10.1080/14786440408520575; Errea, Calandra and Mauri 2014, doi:10.1103/PhysRevB.89.064302). The mean
follows from forces at sampled displacements by least squares, the fixed point by iteration, as in the
stochastic form of TDEP (Shulumba, Hellman and Minnich 2017, doi:10.1103/PhysRevB.95.014302).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlepi_core.artefacts import InputError
from mlepi_core.phonons.force_constants import as_force_function, make_phonopy
from mlepi_core.phonons.modes import SupercellModes
from mlepi_core.phonons.run import ImaginaryModesWarning, imaginary_modes, rigid_layer_table
from mlepi_core.phonons.space import ForceConstantSpace, force_constant_space, symmetrised
from mlepi_core.phonons.storage import Phonons
from mlepi_core.phonons.sum_rules import sum_rule_violation
from mlepi_core.phonons.units import CM1_PER_THZ, KELVIN_PER_THZ, MEV_PER_THZ
from mlepi_core.progress import Progress, silent
from mlepi_core.sampling.policy import ModePolicy, apply_policy
from mlepi_core.sampling.refit import Fit, fit_force_constants
from mlepi_core.sampling.reweighting import LEAST_SHARE, effective_samples, log_density
from mlepi_core.sampling.thermal import ThermalSampler

#: What may be done with imaginary modes on the way; `drop` has no density to reweight with.
POLICIES = ("absolute", "floor", "refuse")
#: How an iteration ends, other than by their number.
SELF_CONSISTENT, CHANGED = "self-consistent", "changed modes"
#: A frequency has converged also if it changes by less than this part of its standard error.
PART_OF_ERROR = 0.1
CONVERGENCE_COLUMNS = (
    "iteration",
    "new_samples",
    "n_samples",
    "effective_samples",
    "force_constants_change",
    "max_frequency_change_cm1",
    "rms_frequency_change_cm1",
    "max_frequency_se_cm1",
    "lowest_frequency_cm1",
    "n_touched_modes",
    "force_residual_meV_per_A",
    "max_displacement_A",
    "trial_free_energy_meV",
)
FREQUENCY_COLUMNS = (
    "qx",
    "qy",
    "qz",
    "branch",
    "start_cm1",
    "frequency_cm1",
    "frequency_se_cm1",
    "change_cm1",
)


class NotConvergedWarning(UserWarning):
    """Force constants that are not self-consistent."""


@dataclass(frozen=True)
class AnharmonicSettings:
    """How the fixed point is sought.

    Attributes
    ----------
    pairs, seed
        Antithetic pairs of a set of samples; all sets have the same random numbers.
    iterations
        Most iterations.
    tolerance_cm1
        Largest change of a commensurate frequency by a fit at which the iteration ends, cm⁻¹.
    mixing
        Part of the way to the fit that the next iteration goes, 0 < mixing ≤ 1.
    imaginary, floor_cm1
        Policy for imaginary modes on the way, one of `POLICIES`.
    least_share
        Samples are reused with weights while their effective number is at least this share of them; at 1
        every iteration computes forces.
    sum_rules
        ``translational`` or ``rotational``; None: those of the phonons that are given.
    batch
        Structures that are given to the force model at once.
    """

    pairs: int = 32
    seed: int = 1
    iterations: int = 40
    tolerance_cm1: float = 0.2
    mixing: float = 0.5
    imaginary: str = "absolute"
    floor_cm1: float | None = None
    least_share: float = LEAST_SHARE
    sum_rules: str | None = None
    batch: int = 32

    def check(self) -> None:
        """Raise `InputError` for a setting out of range."""
        for name in ("pairs", "iterations", "batch"):
            if getattr(self, name) < 1:
                raise InputError(name, f"is {getattr(self, name)}", "give at least 1")
        if not (np.isfinite(self.tolerance_cm1) and self.tolerance_cm1 > 0):
            raise InputError("tolerance", f"is {self.tolerance_cm1} cm⁻¹", "give a positive number")
        for name in ("mixing", "least_share"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(name, f"is {getattr(self, name)}", "give a number above 0, at most 1")
        if self.imaginary not in POLICIES:
            raise InputError("imaginary", f"is {self.imaginary!r}", f"give one of {', '.join(POLICIES)}")


@dataclass(frozen=True)
class AnharmonicResult:
    """Self-consistent phonons, and how they were reached.

    Attributes
    ----------
    phonons
        With a section ``anharmonic`` in the report.
    convergence
        Rows `CONVERGENCE_COLUMNS`, one per iteration.
    frequencies
        Rows `FREQUENCY_COLUMNS`, one per mode of the supercell.
    """

    phonons: Phonons
    convergence: list[dict[str, Any]]
    frequencies: list[dict[str, Any]]

    @property
    def converged(self) -> bool:
        """Whether the force constants are self-consistent within the tolerance, without imaginary modes."""
        return bool(self.phonons.report["anharmonic"]["converged"])


@dataclass(frozen=True)
class _Samples:
    """Displacements and forces (M, N, 3), pairs (M,), and the density they were drawn with."""

    displacements: np.ndarray
    forces: np.ndarray
    net_force: float
    pair: np.ndarray
    log_density: np.ndarray


@dataclass
class _Loop:
    """What the iteration knows."""

    space: ForceConstantSpace
    coefficients: np.ndarray
    temperature: float
    settings: AnharmonicSettings
    force_function: Callable[[list[Any]], Any]
    samples: _Samples | None = None
    weights: np.ndarray = field(default_factory=lambda: np.empty(0))
    fit: Fit | None = None
    n_forces: int = 0
    end: str | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)

    def step(self) -> None:
        """Sample or reweight, fit, compare, and mix."""
        modes = self.space.modes(self.coefficients)
        policy = apply_policy(modes, self.settings.imaginary, self.settings.floor_cm1)
        sampler = ThermalSampler(modes, policy, self.temperature)
        new = not self._reusable(modes, sampler.variance)
        if new:
            self.samples = self._drawn(sampler)
            self.weights = np.ones(len(self.samples.pair))
        samples = self.samples
        assert samples is not None
        fit = fit_force_constants(
            self.space, samples.displacements, samples.forces, self.weights, samples.pair
        )
        before, after = self.space.frequencies(self.coefficients), self.space.frequencies(fit.coefficients)
        change = (after - before) * CM1_PER_THZ
        error = self.frequency_errors(fit)
        stable = policy.n_touched == 0 and bool((after > 0).all())
        if (np.abs(change) <= self._limits(error, stable)).all():
            self.end = SELF_CONSISTENT if stable else CHANGED
        step = fit.coefficients - self.coefficients
        self.rows.append(
            {
                "iteration": len(self.rows) + 1,
                "new_samples": len(samples.pair) if new else 0,
                "n_samples": len(samples.pair),
                "effective_samples": round(effective_samples(self.weights), 3),
                "force_constants_change": float(np.linalg.norm(step) / np.linalg.norm(fit.coefficients)),
                "max_frequency_change_cm1": float(np.abs(change).max()),
                "rms_frequency_change_cm1": float(np.sqrt(np.mean(change**2))),
                "max_frequency_se_cm1": float(error.max()) if np.isfinite(error).all() else None,
                "lowest_frequency_cm1": float(after.min() * CM1_PER_THZ),
                "n_touched_modes": policy.n_touched,
                "force_residual_meV_per_A": 1e3 * fit.residual,
                "max_displacement_A": float(np.linalg.norm(samples.displacements, axis=2).max()),
                "trial_free_energy_meV": trial_free_energy(policy, self.temperature) / self.space.n_cells,
            }
        )
        self.fit = fit
        self.coefficients = self.coefficients + (self.settings.mixing if self.end is None else 1.0) * step

    def _limits(self, error: np.ndarray, stable: bool) -> np.ndarray:
        """Changes of frequencies at which the iteration ends; of unstable ones the tolerance alone counts."""
        known = np.where(np.isfinite(error) & stable, error, 0.0)
        return np.maximum(self.settings.tolerance_cm1, PART_OF_ERROR * known)

    def frequency_errors(self, fit: Fit) -> np.ndarray:
        """Standard errors of the frequencies of a fit, cm⁻¹; infinite from a single pair."""
        if len(fit.without) < 2:
            return np.full(len(self.space.mode_labels()), np.inf)
        values = np.array([self.space.frequencies(c) for c in fit.without])
        return fit.standard_error(values) * CM1_PER_THZ

    def _reusable(self, modes: SupercellModes, variance: np.ndarray) -> bool:
        """Give the samples the weights of the present distribution; False if they are worth too little."""
        if self.samples is None:
            return False
        logarithm = log_density(modes, variance, self.samples.displacements) - self.samples.log_density
        weights = np.exp(logarithm - logarithm.max())
        self.weights = weights / weights.mean()
        share = effective_samples(self.weights) / len(self.weights)
        return self.settings.least_share < 1 and share >= self.settings.least_share

    def _drawn(self, sampler: ThermalSampler) -> _Samples:
        settings, reference = self.settings, self.space.supercell
        pairs = np.arange(settings.pairs)
        first = np.array([sampler.displacement(settings.seed, int(number)) for number in pairs])
        displacements = np.stack([first, -first], axis=1).reshape(-1, *first.shape[1:])
        forces = np.concatenate(
            [
                self._forces(displacements[start : start + settings.batch])
                for start in range(0, len(displacements), settings.batch)
            ]
        )
        self.n_forces += len(forces)
        net = forces.sum(axis=1)
        density = log_density(sampler.modes, sampler.variance, displacements)
        # A displaced crystal does not accelerate: the mean force of a cell is noise of the model.
        centred = forces - net[:, None] / len(reference)
        return _Samples(
            displacements,
            centred,
            float(np.linalg.norm(net, axis=1).max()),
            np.repeat(pairs, 2),
            density,
        )

    def _forces(self, displacements: np.ndarray) -> np.ndarray:
        structures = []
        for displacement in displacements:
            structures.append(self.space.supercell.copy())
            structures[-1].positions += displacement
        forces = np.array(self.force_function(structures), dtype=float)
        if forces.shape != displacements.shape or not np.isfinite(forces).all():
            largest = float(np.linalg.norm(displacements, axis=2).max())
            raise InputError(
                "calculator",
                f"gave forces of shape {forces.shape} or not finite at displacements up to {largest:.3g} Å",
                "check the model, or sample soft modes with --imaginary floor",
            )
        return forces


def self_consistent_phonons(
    start: Phonons,
    calculator: Any,
    temperature: float,
    settings: AnharmonicSettings | None = None,
    *,
    progress: Progress = silent,
) -> AnharmonicResult:
    """Iterate samples, forces and fit of force constants until they agree.

    Parameters
    ----------
    start
        Harmonic phonons of the same force model, or anharmonic ones to go on from. Cell and mean positions
        are kept.
    calculator
        ASE calculator with forces (eV/Å), or with a method ``forces(list of structures)``.
    temperature
        K, ≥ 0.
    settings
        See `AnharmonicSettings`.

    Returns
    -------
    AnharmonicResult
        Imaginary modes of the result raise an `ImaginaryModesWarning`, a result that is not self-consistent a
        `NotConvergedWarning`; both are in the report.

    Raises
    ------
    InputError
        A setting is out of range, forces are not finite, or there are too few pairs for a fit.
    """
    settings = settings or AnharmonicSettings()
    settings.check()
    if not (np.isfinite(temperature) and temperature >= 0):
        raise InputError("temperature", f"is {temperature} K", "give a temperature ≥ 0 K")
    rules = settings.sum_rules or _rules_of(start)
    space, first = force_constant_space(start.phonon, start.reference, rules)
    batch = as_force_function(getattr(calculator, "forces", calculator))
    loop = _Loop(space, first, float(temperature), settings, batch)
    while loop.end is None and len(loop.rows) < settings.iterations:
        loop.step()
        total = settings.iterations if loop.end is None else len(loop.rows)
        progress(len(loop.rows), total, f"change {loop.rows[-1]['max_frequency_change_cm1']:.3g} cm⁻¹")
    return _result(start, loop, first, rules)


def trial_free_energy(policy: ModePolicy, temperature: float) -> float:
    """Free energy Σ ħω/2 + kT ln(1 − exp(−ħω/kT)) of the sampled modes of a supercell, meV."""
    frequencies = policy.frequencies[policy.sampled]
    energy = 0.5 * MEV_PER_THZ * frequencies.sum()
    if temperature > 0:
        thermal = MEV_PER_THZ / KELVIN_PER_THZ * temperature
        energy += thermal * np.log(-np.expm1(-KELVIN_PER_THZ * frequencies / temperature)).sum()
    return float(energy)


def _rules_of(start: Phonons) -> str:
    """Sum rules of given phonons; a fit always obeys the translational ones."""
    return "rotational" if start.report.get("sum_rules_imposed") == "rotational" else "translational"


def _result(start: Phonons, loop: _Loop, first: np.ndarray, rules: str) -> AnharmonicResult:
    phonon = make_phonopy(start.reference, loop.space.repeats)
    phonon.force_constants = loop.space.full(loop.coefficients)
    report = dict(start.report)
    phonons = Phonons(phonon, start.reference, report)
    report |= {
        "method": "anharmonic",
        "supercell": list(loop.space.repeats),
        "displacement_A": None,
        "sum_rules_imposed": rules,
        "sum_rules_after": sum_rule_violation(phonon),
        "imaginary_modes": imaginary_modes(phonons),
        "rigid_layer_modes": rigid_layer_table(phonons),
    }
    report.pop("sum_rules_before", None)
    listed = report["imaginary_modes"]
    report["anharmonic"] = _report(phonons, loop, start.digest)
    _warn(report["anharmonic"], listed)
    return AnharmonicResult(phonons, loop.rows, _frequency_rows(loop, first))


def _report(phonons: Phonons, loop: _Loop, start_digest: str) -> dict[str, Any]:
    settings, samples, last = loop.settings, loop.samples, loop.rows[-1]
    assert samples is not None
    return {
        "temperature_K": loop.temperature,
        "converged": loop.end == SELF_CONSISTENT,
        "end": loop.end or "iterations",
        "iterations": len(loop.rows),
        "pairs": settings.pairs,
        "seed": settings.seed,
        "force_evaluations": loop.n_forces,
        "effective_samples": last["effective_samples"],
        "tolerance_cm1": settings.tolerance_cm1,
        "max_frequency_change_cm1": last["max_frequency_change_cm1"],
        "max_frequency_se_cm1": last["max_frequency_se_cm1"],
        "mixing": settings.mixing,
        "least_share": settings.least_share,
        "imaginary": settings.imaginary,
        "floor_cm1": settings.floor_cm1,
        "n_touched_modes": last["n_touched_modes"],
        "force_residual_meV_per_A": last["force_residual_meV_per_A"],
        "max_displacement_A": last["max_displacement_A"],
        "trial_free_energy_meV": last["trial_free_energy_meV"],
        **_mean_force(phonons, samples, loop.weights),
        "max_net_force_meV_per_A": 1e3 * samples.net_force,
        "start_digest": start_digest,
    }


def _mean_force(phonons: Phonons, samples: _Samples, weights: np.ndarray) -> dict[str, Any]:
    """Mean force on the primitive atoms (n, 3) and its standard error over pairs, meV/Å.

    It is what pulls at the mean positions, which stay where they are: thermal expansion that is left out.
    """
    n_atoms = len(phonons.reference)
    by_atom = 1e3 * samples.forces.reshape(len(weights), n_atoms, -1, 3).mean(axis=2)
    pairs = symmetrised(phonons.phonon, by_atom.reshape(-1, 2, n_atoms, 3).mean(axis=1))
    weight = weights.reshape(-1, 2).mean(axis=1)
    mean = np.average(pairs, axis=0, weights=weight)
    error = np.sqrt(np.einsum("s,sia->ia", weight**2, (pairs - mean) ** 2)) / weight.sum()
    return {
        "mean_force_meV_per_A": mean,
        "mean_force_se_meV_per_A": error if len(weight) > 1 else None,
        "max_mean_force_meV_per_A": float(np.linalg.norm(mean, axis=1).max()),
    }


def _frequency_rows(loop: _Loop, first: np.ndarray) -> list[dict[str, Any]]:
    assert loop.fit is not None
    start, found = loop.space.frequencies(first), loop.space.frequencies(loop.coefficients)
    errors = loop.frequency_errors(loop.fit)
    return [
        {
            **dict(zip(("qx", "qy", "qz"), (round(float(x), 8) for x in q), strict=True)),
            "branch": branch,
            "start_cm1": round(float(before) * CM1_PER_THZ, 4),
            "frequency_cm1": round(float(after) * CM1_PER_THZ, 4),
            "frequency_se_cm1": None if not np.isfinite(error) else round(float(error), 4),
            "change_cm1": round(float(after - before) * CM1_PER_THZ, 4),
        }
        for (q, branch), before, after, error in zip(
            loop.space.mode_labels(), start, found, errors, strict=True
        )
    ]


def _warn(section: dict[str, Any], listed: list[dict[str, Any]]) -> None:
    if listed:
        lowest = min(mode["frequency_cm1"] for mode in listed)
        warnings.warn(
            f"{len(listed)} imaginary modes at commensurate q points, the lowest {lowest:.1f} cm⁻¹, remain "
            f"at {section['temperature_K']:g} K; `mlepi sample` refuses them unless told otherwise",
            ImaginaryModesWarning,
            stacklevel=4,
        )
    if section["end"] == CHANGED:
        warnings.warn(
            "not self-consistent: the iteration came to rest with imaginary modes or modes sampled with "
            f"other frequencies than theirs ({section['n_touched_modes']}); larger amplitudes (--imaginary "
            "floor with a low --floor-cm1) may find stable ones, or the structure is unstable here",
            NotConvergedWarning,
            stacklevel=4,
        )
    elif not section["converged"]:
        warnings.warn(
            f"not self-consistent after {section['iterations']} iterations: a frequency changes by "
            f"{section['max_frequency_change_cm1']:.3g} cm⁻¹ (tolerance {section['tolerance_cm1']:g}); "
            "more --iterations, other --mixing or more --pairs may help",
            NotConvergedWarning,
            stacklevel=4,
        )

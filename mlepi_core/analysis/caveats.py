"""What a reader must know before using the numbers of a run, written from its settings and facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlepi_core.analysis.numbers import counted, fixed, joined, significant
from mlepi_core.analysis.origins import steps_of
from mlepi_core.analysis.results import Results
from mlepi_core.config.settings import Settings

_POLICIES = {
    "refuse": "No imaginary mode was allowed, and none was found: all modes were sampled as they are.",
    "drop": "Imaginary modes were left out of the samples",
    "absolute": "Imaginary modes were sampled with the absolute value of their frequency, uncontrolled",
    "floor": "Modes below {floor:g} cm⁻¹, imaginary or not, were sampled at {floor:g} cm⁻¹",
}
_ERROR_BARS = """± is the standard error over {samples}. All temperatures share their
random numbers, so differences between temperatures are known better than each value. Errors of the
networks, of the sampling cell and of the DFT functional are not in it: compare the test errors below.
Estimators differ by definition; compare ratios of one estimator, not values of two."""
_SAMPLES = {
    "antithetic": "independent antithetic pairs (u, −u)",
    "plain": "independent samples",
    "signs": "independent pairs of thermal lines (biased from fourth order in the displacements on)",
    "gauss_hermite": "independent pairs of Gauss–Hermite points (biased from sixth order on)",
    "sobol": "the eight independent scramblings of a Sobol sequence",
}
_CELL_SIZE = """The {n}×{n} cell holds the phonons of its own {n}×{n} q mesh only. In the static limit the
reduction grows logarithmically with the size of the cell. Quote a ratio together with its cell, and compare
larger n before calling it converged."""
_APPROXIMATIONS = """Displacements follow the quantum harmonic distribution of the relaxed lattice without
thermal expansion. Electrons see frozen nuclei: states closer to the Fermi level than a phonon energy (0.2 eV
in graphene) are beyond this static approximation. Velocities are those of the DFT functional and basis of the
labels; quasiparticle corrections are not in them."""
_LIMITS = """Networks: {training}, {members}. Force constants from a {fc[0]}×{fc[1]} cell. Sampling: {pairs}
at {temperatures} in a {n}×{n} cell. Longer training lowers the test errors, more pairs the error bars,
a larger cell the finite-size effect; config/paper.yaml has larger settings."""


def caveats(results: Results, settings: Settings) -> list[tuple[str, str]]:
    """Title and text of each caveat, the most important ones first."""
    return [
        *_target(results),
        ("Imaginary and soft modes", soft_modes(results, settings)),
        ("The naive slope shows a finite-size artefact", _naive(results)),
        ("Error bars are statistical", _text(_ERROR_BARS, samples=_SAMPLES[settings.sampling.scheme])),
        ("Size of the sampling cell", _text(_CELL_SIZE, n=settings.sampling.supercell[0])),
        ("Harmonic, adiabatic, semi-local", _text(_APPROXIMATIONS)),
        ("What limits this run", _limits(results, settings)),
    ]


def _target(results: Results) -> list[tuple[str, str]]:
    """Where the precision that was asked for was not reached."""
    table = results.tables.get("precision")
    missed = None if table is None else table[table["met"] != "True"]
    if missed is None or missed.empty:
        return []
    places = joined(f"{row.observable} at {row.temperature_K:g} K" for row in missed.itertuples(index=False))
    pairs = counted(int(missed["n_pairs"].max()), "pair")
    text = (
        f"{places}: the confidence interval is longer than sampling.target_error asks for at {pairs}, "
        "the largest number allowed (sampling.max_pairs)."
    )
    return [("The target precision was not reached", text)]


def soft_modes(results: Results, settings: Settings) -> str:
    """Policy for imaginary modes, how many modes it touched, and which ones are imaginary at all."""
    policy = results.velocity_details.get("imaginary_policy") or settings.sampling.imaginary
    text = _POLICIES.get(policy, f"Policy: {policy}").format(floor=settings.sampling.floor_cm1 or 0)
    touched = results.velocity_details.get("n_touched_modes")
    if policy != "refuse":
        count = "an unknown number of modes" if touched is None else counted(int(touched), "mode")
        n = settings.sampling.supercell
        text += f" (policy “{policy}”); this touched {count} of the {n[0]}×{n[1]} sampling cell. "
        text += "Their amplitudes are set by the policy, not by forces."
    rigid = results.relaxation.get("rigid_layer_modes") or []
    if rigid:
        modes = joined(f"{mode['kind']} {_frequency(mode['frequency_cm1'])}" for mode in rigid)
        text += f" Rigid-layer modes of this run at Γ: {modes} cm⁻¹ (i: imaginary)."
    imaginary = results.relaxation.get("imaginary_modes") or []
    if imaginary:
        text += f" Force constants: {counted(len(imaginary), 'imaginary mode')} at commensurate q points."
    return text


def _naive(results: Results) -> str:
    note = _note(results.velocity_details, "naive")
    if not note:
        return "The naive slope was not evaluated."
    return f"{note} It is shown because it is what a straight-line fit gives, and is no result of this run."


def _note(details: Mapping[str, Any], estimator: str) -> str:
    rows = details.get("results") or []
    return next((row["note"] for row in rows if row.get("estimator") == estimator and row.get("note")), "")


def _limits(results: Results, settings: Settings) -> str:
    sampling = settings.sampling
    return _text(
        _LIMITS,
        training=joined(
            f"{steps_of(settings, results.origins, kind)} ({kind})" for kind in settings.training.networks
        ),
        members=f"committees of {settings.committee} models each"
        if settings.committee > 1
        else "one model each, no committee",
        fc=settings.phonons.supercell,
        pairs=_pairs(settings),
        temperatures=counted(len(sampling.temperatures), "temperature"),
        n=sampling.supercell[0],
    )


def _pairs(settings: Settings) -> str:
    sampling = settings.sampling
    words = counted(sampling.pairs, "sample" if sampling.members == 1 else "pair")
    return words if sampling.max_pairs is None else f"{words} to start with, {sampling.max_pairs} at most,"


def _text(template: str, **values: object) -> str:
    """Filled in, in one line."""
    return " ".join(template.format(**values).split())


def _frequency(value: float) -> str:
    return f"{significant(-value)}i" if value < 0 else fixed(value, 1)

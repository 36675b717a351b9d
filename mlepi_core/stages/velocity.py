"""Verb `velocity`: Fermi velocity of thermal snapshots against the static cell."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from mlepi_core.electrons import VelocitySamples, VelocitySpec
    from mlepi_core.formats.store import LabelEntry
    from mlepi_core.progress import Progress
    from mlepi_core.sampling import ThermalSampler

StorePaths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def velocity(
    store: StorePaths,
    static_store: str | os.PathLike[str],
    estimator: str,
    window: tuple[float, float] | None = None,
    out_json: str | os.PathLike[str] | None = None,
    *,
    static_name: str | None = None,
    directions: int = 3,
    k_points: int = 6,
    gauge: str = "atomic",
    phonons: str | os.PathLike[str] | None = None,
    control_variates: bool = False,
    temperature: float | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Velocity of one estimator from Hamiltonians of snapshots.

    Parameters
    ----------
    store
        One or several label stores with H and S of snapshots of one temperature (entries with the
        attributes temperature, pair, sign), or a store with a single undisplaced cell.
    static_store
        Label store with the undisplaced cell: the same n x n cell or a smaller one, which is repeated.
    estimator
        naive, manifold, bilayer or operator; spectral or self_energy, from the averaged Green function
        (`mlepi_core.stages.quasiparticles`: the last four parameters do not apply).
    window
        |k - K| in 1/Å; None takes the estimator's default. `operator` has none.
    out_json
        File for the result.
    static_name
        Entry of `static_store`; None takes the only one.
    directions, k_points, gauge
        See `mlepi_core.electrons.VelocitySpec`.
    phonons
        Phonon folder that the samples were drawn from, for the next two.
    control_variates
        Take out the scatter that follows the modes as second-order theory has it, see
        `mlepi_core.sampling.control_variates`.
    temperature
        K: reweight the samples to this temperature, see `mlepi_core.sampling.reweighting`.
    device
        "cpu", "cuda" or "auto".

    Returns
    -------
    dict
        The columns of velocity.csv, the imaginary-mode policy and the number of modes it touched where
        known, and what `mlepi_core.electrons.reduce_velocity` adds. Reweighted also
        ``sampled_temperature_K`` and ``effective_pairs``.

    Raises
    ------
    InputError
        If the samples are not those of the phonons, or too few of them are effective at another temperature.
    """
    from mlepi_core.artefacts import InputError, located, write_json
    from mlepi_core.electrons import VelocitySpec, reduce_velocity
    from mlepi_core.electrons.quasiparticles import ESTIMATORS as QUASIPARTICLES

    if estimator == "operator" and window is not None:
        raise InputError("window", "the estimator operator has none", "leave it out")
    if estimator in QUASIPARTICLES:
        if control_variates or temperature is not None:
            raise InputError(
                "estimator", f"{estimator} has no control variates or weights", "use manifold or operator"
            )
        return _quasiparticles(store, static_store, static_name, estimator, window, out_json, progress)
    spec = VelocitySpec.single(estimator, window, directions=directions, k_points=k_points, gauge=gauge)
    samples = evaluate_stores(store, spec, device=device, progress=progress)
    static = static_samples(static_store, samples.cone_n, spec, static_name, device)
    with located(f"{', '.join(_paths(store))} with {os.fspath(static_store)}", "velocity"):
        extras, facts = _refinements(samples, phonons, control_variates, temperature)
        result = reduce_velocity(samples, static, estimator, **extras) | sampling_facts(samples) | facts
    if out_json is not None:
        write_json(out_json, result)
    return result


def _quasiparticles(
    store: StorePaths,
    static_store: str | os.PathLike[str],
    static_name: str | None,
    estimator: str,
    window: tuple[float, float] | None,
    out_json: str | os.PathLike[str] | None,
    progress: Progress | None,
) -> dict[str, Any]:
    from mlepi_core.artefacts import located, write_json
    from mlepi_core.stages.quasiparticles import quasiparticle_velocity

    static = read_one(static_store, static_name, "static_name from Python, or give a store of one")
    with located(f"{', '.join(_paths(store))} with {os.fspath(static_store)}", "velocity"):
        result = quasiparticle_velocity(store, static, estimator, window, progress=progress)
    if out_json is not None:
        write_json(out_json, result)
    return result


def _refinements(
    samples: VelocitySamples,
    phonons: str | os.PathLike[str] | None,
    control_variates: bool,
    temperature: float | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Control variates or weights for `reduce_velocity`, and what they add to its result."""
    import numpy as np

    from mlepi_core.artefacts import InputError
    from mlepi_core.sampling.reweighting import NORMAL_SCHEMES, check_effective, relative_weights

    if not control_variates and temperature is None:
        return {}, {}
    if phonons is None:
        raise InputError("phonons", "is not given", "name the phonon folder that the samples were drawn from")
    if control_variates and temperature is not None:
        raise InputError("control_variates", "do not go with another temperature", "leave one of them out")
    if control_variates:
        return {"controls": mode_variates(samples, phonons)}, {}
    sampler, numbers = _numbers_of(samples, phonons)
    sampled = sampler.policy.sampled
    if sampler.scheme not in NORMAL_SCHEMES:
        raise InputError(
            "temperature", f"samples of scheme {sampler.scheme} have no density", "draw normal samples"
        )
    target = replace(sampler, temperature=temperature).variance[sampled]
    weights = relative_weights(numbers[:, sampled], sampler.variance[sampled], target)
    pairs = weights[np.unique(samples.pair, return_index=True)[1]]
    effective = check_effective(pairs, sampler.temperature, temperature)
    facts = {
        "temperature_K": float(temperature),
        "sampled_temperature_K": sampler.temperature,
        "effective_pairs": effective,
    }
    return {"weights": weights}, facts


def mode_variates(samples: VelocitySamples, phonons: str | os.PathLike[str]) -> np.ndarray:
    """Control variates (S, G) of snapshots drawn from a phonon folder.

    See `mlepi_core.sampling.control_variates.mode_controls`.

    Raises
    ------
    InputError
        If the samples are not those of the phonons.
    """
    import numpy as np

    from mlepi_core.sampling.control_variates import mode_controls

    sampler, numbers = _numbers_of(samples, phonons)
    sampled = sampler.policy.sampled
    eigenvalues = np.square(sampler.policy.frequencies[sampled])
    order = np.argsort(eigenvalues, kind="stable")
    return mode_controls(numbers[:, sampled][:, order], eigenvalues[order])


def _numbers_of(
    samples: VelocitySamples, phonons: str | os.PathLike[str]
) -> tuple[ThermalSampler, np.ndarray]:
    """The sampler of snapshots, and the numbers ξ (S, n) of their modes, drawn again from their seed."""
    import numpy as np

    from mlepi_core.artefacts import InputError
    from mlepi_core.phonons import read_phonons, supercell_modes
    from mlepi_core.sampling import ThermalSampler, apply_policy
    from mlepi_core.structures import structure_hash

    facts = samples.attrs
    known = ("seed", "reference_hash", "phonons_hash", "imaginary_policy")
    missing = [name for name in known if name not in facts]
    if missing or samples.temperature is None:
        what = missing[0] if missing else "temperature"
        raise InputError("samples", f"do not say their {what}", "predict the samples of `mlepi sample` anew")
    source = read_phonons(phonons)
    modes = supercell_modes(source.phonon, source.reference, (samples.cone_n, samples.cone_n, 1))
    if (source.digest, structure_hash(modes.reference)) != (facts["phonons_hash"], facts["reference_hash"]):
        raise InputError(phonons, "holds other phonons than the samples were drawn from", "name their folder")
    floor = facts.get("floor_cm1")
    policy = apply_policy(modes, facts["imaginary_policy"], None if floor is None else float(floor))
    sampler = ThermalSampler(modes, policy, samples.temperature, str(facts.get("scheme", "antithetic")))
    drawn = {int(pair): sampler.numbers(samples.seed, int(pair))[1] for pair in np.unique(samples.pair)}
    return sampler, np.array([drawn[int(pair)] for pair in samples.pair])


def evaluate_stores(
    stores: StorePaths, spec: VelocitySpec, *, device: str = "cpu", progress: Progress | None = None
) -> VelocitySamples:
    """Estimator quantities of all entries of one or several label stores, merged.

    Raises
    ------
    InputError
        If entries without a pair number are more than one, or those of different temperatures meet.
    """
    from mlepi_core.artefacts import InputError, located
    from mlepi_core.electrons import evaluate_label, merge
    from mlepi_core.formats.store import LabelStore
    from mlepi_core.progress import Rate

    parts, rate = [], Rate("samples")
    for path in _paths(stores):
        with LabelStore(path) as source:
            source.refuse_derivatives()
            names = source.select()
            unpaired = [name for name in names if "pair" not in source.attributes(name)]
            if not names or (unpaired and len(names) > 1):
                problem = (
                    f"entry {unpaired[0]} is no thermal sample" if unpaired else "holds no converged entry"
                )
                raise InputError(
                    path, problem, "give samples with attributes pair and sign, or a single entry"
                )
            for done, name in enumerate(names):
                entry = source.read(name)
                entry.attrs = source.attrs | entry.attrs
                with located(f"{path}: {name}"):
                    parts.append(evaluate_label(entry, spec, device))
                if progress is not None:
                    progress(done + 1, len(names), rate.text(len(parts)))
    with located(", ".join(_paths(stores)), "velocity"):
        return merge(parts)


def _paths(stores: StorePaths) -> list[str]:
    return [os.fspath(path) for path in ([stores] if isinstance(stores, (str, os.PathLike)) else stores)]


def static_samples(
    static_store: str | os.PathLike[str],
    n: int | None,
    spec: VelocitySpec,
    name: str | None = None,
    device: str = "cpu",
) -> VelocitySamples:
    """Estimator quantities of the undisplaced cell, repeated to n x n where it is smaller."""
    from mlepi_core.artefacts import located
    from mlepi_core.electrons import evaluate_static

    entry = read_one(static_store, name, "static_name from Python, or give a store of one")
    with located(f"{os.fspath(static_store)}: {entry.name}"):
        return evaluate_static(entry, n, spec, device)


def velocity_rows(
    samples: VelocitySamples, static: VelocitySamples, spec: VelocitySpec
) -> list[dict[str, Any]]:
    """Results of all estimators and windows of `spec` for one temperature.

    `bilayer` is left out for cells other than bilayers. Where the bands do not rise with |k| the row has no
    values and says why: one estimator must not cost the others.

    Raises
    ------
    NoDiracCone
        If no estimator gives a value.
    """
    from mlepi_core.electrons import NoDiracCone, reduce_velocity, undefined_velocity

    rows, failures = [], []
    for estimator in spec.estimators:
        if estimator == "bilayer" and samples.layers != 2:
            continue
        for window in spec.windows_of(estimator):
            try:
                row = reduce_velocity(samples, static, estimator, window)
            except NoDiracCone as error:
                failures.append(error)
                row = undefined_velocity(samples, estimator, window, str(error))
            rows.append(row | sampling_facts(samples))
    if failures and len(failures) == len(rows):
        raise failures[0]
    return rows


def sampling_facts(samples: VelocitySamples) -> dict[str, Any]:
    """What velocity.json says of the soft modes: policy and number of modes touched, None if unknown."""
    touched = samples.attrs.get("n_touched_modes")
    return {
        "imaginary_policy": samples.attrs.get("imaginary_policy"),
        "n_touched_modes": None if touched is None else int(touched),
    }


def read_one(path: str | os.PathLike[str], name: str | None, option: str) -> LabelEntry:
    """Entry `name` of a label store with H and S; None takes the only entry.

    Raises
    ------
    InputError
        If there are several and none is named (`option` says how), or H or S is missing.
    """
    from mlepi_core.artefacts import InputError
    from mlepi_core.formats.store import LabelStore

    with LabelStore(path) as store:
        store.refuse_derivatives()
        if name is None and len(store) != 1:
            held = ", ".join(store.names) or "none"
            raise InputError(path, f"holds {len(store)} entries", f"name one with {option}: {held}")
        entry = store.read(store.names[0] if name is None else name)
    if entry.blocks is None or entry.blocks.hamiltonian is None or entry.blocks.overlap is None:
        raise InputError(
            path, f"entry {entry.name} has no H or S", "give a store of predictions or DFT results"
        )
    return entry

"""Verb `two-level`: Fermi velocity at the level of DFT from predicted snapshots and a few computed ones."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms

    from mlepi_core.electrons import VelocitySamples, VelocitySpec
    from mlepi_core.stages.velocity import StorePaths

# Å; positions of a snapshot in the two stores may differ by what a DFT program rounds.
_SAME_PLACE = 1e-3


def two_level_velocity(
    store: StorePaths,
    reference: StorePaths,
    static_store: str | os.PathLike[str],
    estimator: str,
    window: tuple[float, float] | None = None,
    out_json: str | os.PathLike[str] | None = None,
    *,
    static_name: str | None = None,
    cost_ratio: float | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Velocity of predicted snapshots, corrected by the mean difference to DFT over some of them.

    Parameters
    ----------
    store
        Predicted H and S of snapshots of one temperature.
    reference
        H and S of some of these snapshots from DFT: entries with the same positions, of any name.
    static_store
        Undisplaced cell from DFT, for the ratio.
    estimator, window
        As of `mlepi_core.stages.velocity.velocity`.
    out_json
        File for the result.
    static_name
        Entry of `static_store`; None takes the only one.
    cost_ratio
        Cost of a DFT snapshot over that of a predicted one, for the best allocation.

    Returns
    -------
    dict
        ``estimator``, ``supercell_n``, ``temperature_K``, ``window_lo_per_A``, ``window_hi_per_A``; at the
        level of DFT ``v_m_per_s``, ``v_se_m_per_s``, ``v_static_m_per_s``, ``ratio``, ``ratio_se``; of the
        model ``v_model_m_per_s`` and what is added to it, ``correction_m_per_s``, ``correction_se_m_per_s``;
        ``n_pairs``, ``n_reference_pairs``; with `cost_ratio` also ``best_pairs_per_reference``.

    Raises
    ------
    InputError
        If a DFT snapshot is not among the predicted ones.
    """
    from mlepi_core.artefacts import write_json
    from mlepi_core.electrons import VelocitySpec
    from mlepi_core.sampling.two_level import two_level
    from mlepi_core.stages.velocity import evaluate_stores, static_samples

    spec = VelocitySpec.single(estimator, window)
    model = evaluate_stores(store, spec, device=device)
    exact = _reference_samples(reference, store, spec, device)
    static = static_samples(static_store, model.cone_n, spec, static_name, device)
    for other in (exact, static):
        model.check_same_setting(other)
    values, difference, places = _levels(model, exact, estimator)
    result = _as_velocity(two_level(values, difference, places), static, estimator, cost_ratio)
    low, high = spec.windows_of(estimator)[0] or (None, None)
    result = {
        "estimator": estimator,
        "supercell_n": model.cone_n,
        "temperature_K": model.temperature,
        "window_lo_per_A": low,
        "window_hi_per_A": high,
    } | result
    if out_json is not None:
        write_json(out_json, result)
    return result


def _levels(
    model: VelocitySamples, exact: VelocitySamples, estimator: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slopes of the model by independent group, differences by group of the reference, and their places."""
    import numpy as np

    from mlepi_core.electrons.reduction import means_over_pairs, snapshot_slopes

    slopes, exact_slopes = (snapshot_slopes(group, estimator) for group in (model, exact))
    rows = {key: row for row, key in enumerate(zip(model.pair.tolist(), model.sign.tolist(), strict=True))}
    chosen = [rows[key] for key in zip(exact.pair.tolist(), exact.sign.tolist(), strict=True)]
    groups = model.independent
    difference = means_over_pairs((exact_slopes - slopes[chosen])[:, None], groups[chosen])[:, 0]
    places = np.searchsorted(np.unique(groups), np.unique(groups[chosen]))
    return means_over_pairs(slopes[:, None], groups)[:, 0], difference, places


def _as_velocity(
    levels: Any, static: VelocitySamples, estimator: str, cost_ratio: float | None
) -> dict[str, Any]:
    import numpy as np

    from mlepi_core.artefacts import InputError
    from mlepi_core.electrons.estimators import velocity_of_slope
    from mlepi_core.electrons.reduction import snapshot_slopes

    def velocity(slope: float) -> float:
        return float(velocity_of_slope(estimator, np.array(slope)))

    bare, value, plain = velocity(snapshot_slopes(static, estimator).mean()), levels.value, levels.model_value
    found = velocity(value)
    if not np.isfinite([found, bare]).all():
        raise InputError("velocity", f"{estimator}: the bands do not rise with |k|", "check H and S")
    # Of the slope's own size, so that the derivative holds for velocities and for their squares.
    step = 1e-4 * abs(value)
    derivative = (velocity(value + step) - velocity(value - step)) / (2 * step)
    result = {
        "v_m_per_s": found,
        "v_se_m_per_s": abs(derivative) * levels.error,
        "v_static_m_per_s": bare,
        "ratio": found / bare,
        "ratio_se": abs(derivative) * levels.error / bare,
        "v_model_m_per_s": velocity(plain),
        "correction_m_per_s": found - velocity(plain),
        "correction_se_m_per_s": abs(derivative) * levels.correction_error,
        "n_pairs": levels.n_model,
        "n_reference_pairs": levels.n_reference,
    }
    if cost_ratio is not None:
        result["best_pairs_per_reference"] = levels.best_ratio(cost_ratio)
    return result


def _reference_samples(
    reference: StorePaths, store: StorePaths, spec: VelocitySpec, device: str
) -> VelocitySamples:
    """Estimator quantities of DFT snapshots, with pair and sign of the same structure in `store`."""
    import numpy as np

    from mlepi_core.artefacts import InputError, located
    from mlepi_core.electrons import evaluate_label, merge
    from mlepi_core.stages.snapshots import snapshots

    predicted = [(entry.atoms, entry.attrs) for _, entry in snapshots(store, blocks=False)]
    parts = []
    for path, entry in snapshots(reference):
        distances = [_distance(atoms, entry.atoms) for atoms, _ in predicted]
        nearest = int(np.argmin(distances))
        if distances[nearest] > _SAME_PLACE:
            raise InputError(
                path,
                f"entry {entry.name} is none of the predicted structures (the nearest is "
                f"{distances[nearest]:.2g} Å away)",
                "compute snapshots of the sample file that was predicted",
            )
        entry.attrs = entry.attrs | predicted[nearest][1]
        with located(f"{os.fspath(path)}: {entry.name}"):
            parts.append(evaluate_label(entry, spec, device))
    return merge(parts)


def _distance(one: Atoms, other: Atoms) -> float:
    """Largest difference of a coordinate, Å; infinite for other numbers of atoms."""
    if len(one) != len(other):
        return float("inf")
    return float(abs(one.positions - other.positions).max())

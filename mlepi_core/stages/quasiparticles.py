"""Velocity from the averaged Green function of snapshots: part of the verb `velocity`, and a rule."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms

    from mlepi_core.electrons.quasiparticles import ConeStates
    from mlepi_core.formats.store import LabelEntry
    from mlepi_core.progress import Progress

StorePaths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def quasiparticle_velocity(
    stores: StorePaths,
    static: LabelEntry,
    estimator: str,
    window: tuple[float, float] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """`quasiparticle_velocities` of one estimator."""
    return quasiparticle_velocities(stores, static, [estimator], window, **options)[0]


def quasiparticle_velocities(
    stores: StorePaths,
    static: LabelEntry,
    estimators: Sequence[str],
    window: tuple[float, float] | None = None,
    *,
    directions: int = 3,
    k_points: int = 3,
    eta: float | None = None,
    undefined: bool = False,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Velocity by the estimators `spectral` and `self_energy`, see `mlepi_core.electrons.quasiparticles`.

    Snapshots are read one by one; a pair leaves a few MB.

    Parameters
    ----------
    stores
        Label stores with H and S of snapshots of one temperature, or of one undisplaced cell.
    static
        Undisplaced cell of any size, which defines the primitive cell and the bare states.
    window
        |k - K| in 1/Å; None takes the default.
    eta
        Imaginary part of the energy in eV; None takes the default.
    undefined
        Whether an estimator without a value gives a row without values that says why, instead of an error.

    Returns
    -------
    list
        For each estimator the columns of velocity.csv; ``eta_eV``; ``bands``: for every |k - K| the bare and
        the averaged energies and the half widths of the bands in eV, averaged over directions. Errors are
        those of a jackknife that leaves out one independent group of snapshots after the other.

    Raises
    ------
    InputError
        If the snapshots do not belong to the static cell.
    NoDiracCone
        If a band has no energy within the grid, and not `undefined`.
    """
    import numpy as np

    from mlepi_core.electrons import BlochHamiltonian
    from mlepi_core.electrons.quasiparticles import ETA, WINDOW, cone_states, primitive_cell

    primitive, eta = primitive_cell(static.atoms), ETA if eta is None else eta
    bloch = BlochHamiltonian.from_atoms(static.atoms, static.blocks)
    options = {"directions": directions, "k_points": k_points, "eta": eta, "n_electrons": static.n_electrons}
    states = cone_states(bloch, static.atoms, primitive, WINDOW if window is None else window, **options)
    greens, facts = _projected(stores, primitive, states, progress)
    means = np.array([np.mean(part, axis=0) for part in greens.values()])
    common = {
        "supercell_n": round((facts[0]["n_atoms"] / len(primitive)) ** 0.5),
        "temperature_K": facts[0].get("temperature"),
        "n_pairs": len({fact["pair"] for fact in facts}),
        "n_evaluations": len(facts),
        "seed": facts[0].get("seed"),
        "layers": len(set(primitive.arrays["layer"].tolist())),
        "directions": directions,
        "eta_eV": eta,
        "imaginary_policy": facts[0].get("imaginary_policy"),
        "n_touched_modes": facts[0].get("n_touched_modes"),
    }
    return [_reduced(means, states, estimator, undefined) | common for estimator in estimators]


def _projected(
    stores: StorePaths, primitive: Atoms, states: ConeStates, progress: Progress | None
) -> tuple[dict[Any, list[np.ndarray]], list[dict[str, Any]]]:
    """Green functions of the snapshots by independent group, and the attributes of each snapshot."""
    from mlepi_core.artefacts import InputError, located
    from mlepi_core.electrons import BlochHamiltonian
    from mlepi_core.electrons.quasiparticles import projected_green
    from mlepi_core.stages.snapshots import n_snapshots, snapshots
    from mlepi_core.stages.unfold import independent_group

    groups: dict[Any, list[np.ndarray]] = {}
    facts: list[dict[str, Any]] = []
    total = n_snapshots(stores)
    for done, (path, entry) in enumerate(snapshots(stores), start=1):
        with located(f"{os.fspath(path)}: {entry.name}"):
            if entry.blocks is None:
                raise InputError(entry.name, "has no H and S", "give a store of predictions or DFT results")
            matrices = BlochHamiltonian.from_atoms(entry.atoms, entry.blocks)
            green = projected_green(matrices, entry.atoms, primitive, states, entry.n_electrons)
        groups.setdefault(independent_group(entry), []).append(green)
        facts.append({"pair": entry.name} | entry.attrs | {"n_atoms": len(entry.atoms)})
        if progress is not None:
            progress(done, total, entry.name)
    return groups, facts


def _reduced(means: np.ndarray, states: ConeStates, estimator: str, undefined: bool) -> dict[str, Any]:
    """Velocity of one estimator from the mean Green functions (M, …) of independent groups."""
    import numpy as np

    from mlepi_core.electrons import NoDiracCone
    from mlepi_core.electrons.quasiparticles import band_energies, half_widths

    mean = means.mean(axis=0)
    energies = band_energies(mean, states, estimator)
    value = float(states.velocity(energies))
    bare = float(states.velocity(states.energies))
    error = _jackknife(means, states, estimator)
    row = {
        "estimator": estimator,
        "window_lo_per_A": float(states.radii[0]),
        "window_hi_per_A": float(states.radii[-1]),
        "v_static_m_per_s": bare,
    }
    if not np.isfinite([value, bare, error or 0.0]).all():
        problem = f"{estimator}: a band has no energy within reach in the window of all samples"
        if not undefined:
            raise NoDiracCone("velocity", problem, "check H and S, take more pairs, or another window")
        unknown = dict.fromkeys(("v_m_per_s", "v_se_m_per_s", "v_static_m_per_s", "ratio", "ratio_se"))
        return row | unknown | {"warnings": [problem]}
    return row | {
        "v_m_per_s": value,
        "v_se_m_per_s": error,
        "ratio": value / bare,
        "ratio_se": None if error is None else error / bare,
        "bands": _bands(states, energies, half_widths(mean, states, energies)),
    }


def average_green(
    stores: StorePaths,
    static_store: str | os.PathLike[str],
    out: str | os.PathLike[str],
    section: Any,
    **options: Any,
) -> None:
    """Velocities of one temperature from the averaged Green function of kept Hamiltonians, as JSON.

    Parameters
    ----------
    stores
        Predicted Hamiltonians of one temperature.
    static_store
        That of the undisplaced cell.
    out
        File: the list that `quasiparticle_velocities` returns.
    section
        Section `quasiparticles` of the configuration.
    """
    from mlepi_core.artefacts import located, write_json
    from mlepi_core.stages.velocity import read_one

    static = read_one(static_store, None, "one entry")
    options |= {"directions": section.directions, "k_points": section.k_points, "eta": section.eta}
    options["undefined"] = True
    with located(os.fspath(static_store), "quasiparticles"):
        rows = quasiparticle_velocities(stores, static, section.estimators, section.window, **options)
    write_json(out, rows)


def _jackknife(means: np.ndarray, states: ConeStates, estimator: str) -> float | None:
    """Standard error of the velocity over the groups (M, …); None for a single one."""
    import numpy as np

    from mlepi_core.electrons.quasiparticles import band_energies

    count = len(means)
    if count < 2:
        return None
    total = means.sum(axis=0)
    others = np.array(
        [states.velocity(band_energies((total - one) / (count - 1), states, estimator)) for one in means]
    )
    return float(np.sqrt((count - 1) / count * np.sum((others - others.mean()) ** 2)))


def _bands(states: ConeStates, energies: np.ndarray, widths: np.ndarray) -> list[dict[str, Any]]:
    def by_radius(values: np.ndarray) -> np.ndarray:
        return values.reshape(-1, len(states.radii), values.shape[-1]).mean(axis=0)

    arrays = [by_radius(values) for values in (states.energies, energies, widths)]
    return [
        {
            "k_per_A": float(radius),
            "bare_eV": bare.tolist(),
            "energy_eV": energy.tolist(),
            "half_width_eV": width.tolist(),
        }
        for radius, bare, energy, width in zip(states.radii, *arrays, strict=True)
    ]

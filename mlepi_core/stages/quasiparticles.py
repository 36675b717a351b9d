"""Velocity from the averaged Green function of snapshots, part of the verb `velocity`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from mlepi_core.electrons.quasiparticles import ConeStates
    from mlepi_core.formats.store import LabelEntry
    from mlepi_core.progress import Progress

StorePaths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def quasiparticle_velocity(
    stores: StorePaths,
    static: LabelEntry,
    estimator: str,
    window: tuple[float, float] | None = None,
    *,
    directions: int = 3,
    k_points: int = 3,
    eta: float | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Velocity by the estimator `spectral` or `self_energy`, see `mlepi_core.electrons.quasiparticles`.

    Snapshots are read one by one; a pair leaves a few hundred kB.

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

    Returns
    -------
    dict
        The columns of velocity.csv; ``eta_eV``; ``bands``: for every |k - K| the bare and the averaged
        energies and the half widths of the bands in eV, averaged over directions. Errors are those of a
        jackknife that leaves out one independent group of snapshots after the other.

    Raises
    ------
    InputError
        If the snapshots do not belong to the static cell.
    NoDiracCone
        If a band has no energy within the grid.
    """
    import numpy as np

    from mlepi_core.artefacts import InputError, located
    from mlepi_core.electrons import BlochHamiltonian, NoDiracCone
    from mlepi_core.electrons.quasiparticles import (
        ETA,
        WINDOW,
        band_energies,
        cone_states,
        half_widths,
        primitive_cell,
        projected_green,
    )
    from mlepi_core.stages.snapshots import n_snapshots, snapshots
    from mlepi_core.stages.unfold import independent_group

    primitive, eta = primitive_cell(static.atoms), ETA if eta is None else eta
    bloch = BlochHamiltonian.from_atoms(static.atoms, static.blocks)
    options = {"directions": directions, "k_points": k_points, "eta": eta, "n_electrons": static.n_electrons}
    states = cone_states(bloch, static.atoms, primitive, WINDOW if window is None else window, **options)
    groups: dict[Any, list[np.ndarray]] = {}
    facts: list[dict[str, Any]] = []
    n_atoms, total = len(primitive), n_snapshots(stores)
    for done, (path, entry) in enumerate(snapshots(stores), start=1):
        with located(f"{os.fspath(path)}: {entry.name}"):
            if entry.blocks is None:
                raise InputError(entry.name, "has no H and S", "give a store of predictions or DFT results")
            matrices = BlochHamiltonian.from_atoms(entry.atoms, entry.blocks)
            green = projected_green(matrices, entry.atoms, primitive, states, entry.n_electrons)
        groups.setdefault(independent_group(entry), []).append(green)
        facts.append({"pair": entry.name} | entry.attrs)
        n_atoms = len(entry.atoms)
        if progress is not None:
            progress(done, total, entry.name)
    means = np.array([np.mean(part, axis=0) for part in groups.values()])
    mean = means.mean(axis=0)
    energies = band_energies(mean, states, estimator)
    value = float(states.velocity(energies))
    bare = float(states.velocity(states.energies))
    error = _jackknife(means, states, estimator)
    if not np.isfinite([value, bare, error or 0.0]).all():
        problem = f"{estimator}: a band has no energy within reach in the window of all samples"
        raise NoDiracCone("velocity", problem, "check H and S, take more pairs, or another window")
    return {
        "estimator": estimator,
        "supercell_n": round((n_atoms / len(primitive)) ** 0.5),
        "temperature_K": facts[0].get("temperature"),
        "window_lo_per_A": float(states.radii[0]),
        "window_hi_per_A": float(states.radii[-1]),
        "v_m_per_s": value,
        "v_se_m_per_s": error,
        "v_static_m_per_s": bare,
        "ratio": value / bare,
        "ratio_se": None if error is None else error / bare,
        "n_pairs": len({fact["pair"] for fact in facts}),
        "n_evaluations": len(facts),
        "seed": facts[0].get("seed"),
        "layers": len(set(primitive.arrays["layer"].tolist())),
        "directions": directions,
        "eta_eV": eta,
        "imaginary_policy": facts[0].get("imaginary_policy"),
        "n_touched_modes": facts[0].get("n_touched_modes"),
        "bands": _bands(states, energies, half_widths(mean, states, energies)),
    }


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

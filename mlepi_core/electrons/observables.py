"""Observables of a snapshot as plug-ins: functions of its structure, H and S, registered by name.

An observable takes a `Snapshot` and keyword settings and returns named `Quantity` objects; whoever averages
them needs to know no more. Another one is a Python file of the user's:

    from mlepi_core.electrons.observables import Quantity, observable

    @observable("bandwidth")
    def bandwidth(snapshot, *, k=(0.0, 0.0, 0.0)):
        energies = snapshot.energies([k])[0]
        return {"bandwidth": Quantity(energies[-1] - energies[0], "eV")}

Quantities are averaged over samples as they are, so functions of a mean (a peak of a mean spectrum) are
not observables of this kind.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import scipy.constants
from ase import Atoms

from mlepi_core.artefacts import InputError
from mlepi_core.electrons.bloch import BlochHamiltonian
from mlepi_core.electrons.dirac import DiracCone
from mlepi_core.electrons.occupation import BOLTZMANN, fermi_level, gamma_mesh, mesh_for_cell, n_occupied
from mlepi_core.electrons.solver import eigenvalues, solve
from mlepi_core.electrons.spectral import spectral_function
from mlepi_core.electrons.unfolding import BlochSums, unfold
from mlepi_core.electrons.velocity_operator import velocity_matrices
from mlepi_core.structures.lattice import plane_normal

#: hbar^2/m_e in eV Å^2.
HBAR2_PER_ELECTRON_MASS = scipy.constants.hbar**2 / scipy.constants.m_e / scipy.constants.e * 1e20

__all__ = ["OBSERVABLES", "Observable", "Quantity", "Snapshot", "load_plugin", "measure", "observable"]


@dataclass(frozen=True)
class Quantity:
    """A number or array of one snapshot with its unit; `axes` name and give what its dimensions run over."""

    values: np.ndarray | float
    unit: str
    axes: Mapping[str, np.ndarray] | None = None


@dataclass(frozen=True)
class Snapshot:
    """What an observable sees of a sample.

    Attributes
    ----------
    atoms
        Displaced structure.
    bloch
        Its H and S.
    n_electrons
        Electrons of the cell; None counts valence charges.
    primitive
        Undisplaced primitive cell, for what is unfolded.
    """

    atoms: Atoms
    bloch: BlochHamiltonian
    n_electrons: float | None = None
    primitive: Atoms | None = None

    def energies(self, kpoints: Sequence[Sequence[float]]) -> np.ndarray:
        """All energies (K, n), eV, at fractional k of the snapshot's own cell."""
        return eigenvalues(self.bloch, kpoints)[0]

    @cached_property
    def occupied(self) -> int:
        """Doubly occupied states of the undoped cell."""
        return n_occupied(self.bloch.numbers, self.n_electrons)

    @cached_property
    def bloch_sums(self) -> BlochSums:
        """Bloch sums of the primitive cell in this snapshot's orbitals.

        Raises
        ------
        InputError
            Without a primitive cell.
        """
        if self.primitive is None:
            raise InputError("primitive", "is not given", "name the undisplaced primitive structure")
        return BlochSums.of(self.bloch, self.atoms, self.primitive)


Observable = Callable[..., dict[str, Quantity]]
OBSERVABLES: dict[str, Observable] = {}


def observable(name: str) -> Callable[[Observable], Observable]:
    """Register a function under a name, replacing an earlier one of this name."""

    def register(function: Observable) -> Observable:
        OBSERVABLES[name] = function
        return function

    return register


def measure(name: str, snapshot: Snapshot, settings: Mapping[str, Any] | None = None) -> dict[str, Quantity]:
    """Quantities of one snapshot.

    Raises
    ------
    InputError
        For an unknown observable or setting.
    """
    if name not in OBSERVABLES:
        raise InputError("observable", f"{name!r} is unknown", f"known are {', '.join(sorted(OBSERVABLES))}")
    function, settings = OBSERVABLES[name], dict(settings or {})
    known = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        listing = ", ".join(known) or "none"
        raise InputError(f"observable {name}", f"has no setting {unknown[0]!r}", f"its settings: {listing}")
    return function(snapshot, **settings)


def load_plugin(path: str | os.PathLike[str]) -> list[str]:
    """Execute a Python file that registers observables; the names that it adds or replaces.

    Raises
    ------
    InputError
        If the file is missing, fails, or registers nothing.
    """
    before = dict(OBSERVABLES)
    if not Path(path).is_file():
        raise InputError(path, "no such file", "give a Python file that registers observables")
    spec = importlib.util.spec_from_file_location(f"mlepi_plugin_{Path(path).stem}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(path, f"cannot be executed ({type(error).__name__}: {error})", "mend it") from error
    added = sorted(name for name, function in OBSERVABLES.items() if before.get(name) is not function)
    if not added:
        raise InputError(path, "registers no observable", "decorate a function with @observable(name)")
    return added


@observable("gap")
def gap(snapshot: Snapshot, *, k: Sequence[float] | None = None, bands: int = 1) -> dict[str, Quantity]:
    """Gap of the snapshot at Gamma of its cell, and gap at a primitive k by unfolding.

    Parameters
    ----------
    k
        Primitive k, fractional, for the second; None: the first alone.
    bands
        Bands that are degenerate there without displacements, of each side of the gap.

    Notes
    -----
    The gap of a snapshot is biased: levels that were degenerate repel each other. The unfolded one is the
    distance of the mean energies of the `bands` nearest units of Löwdin weight above and below.
    """
    energies = snapshot.energies([[0.0, 0.0, 0.0]])[0]
    n = snapshot.occupied
    found = {"snapshot_gap": Quantity(float(energies[n] - energies[n - 1]), "eV")}
    if k is None:
        return found
    below, above = _unfolded_bands(snapshot, [k], bands)[0].reshape(2, bands)
    return found | {"unfolded_gap": Quantity(float(above.mean() - below.mean()), "eV")}


@observable("bands")
def bands_along_a_path(
    snapshot: Snapshot,
    *,
    kpoints: Sequence[Sequence[float]],
    bands: int = 2,
    mesh: Sequence[int] | None = None,
) -> dict[str, Quantity]:
    """Unfolded band energies at primitive k, relative to the snapshot's Fermi level.

    Parameters
    ----------
    kpoints
        Primitive k, fractional: a path.
    bands
        Bands of each side of the gap, numbered -bands ... -1 (highest valence band), 1 ... bands.

    Notes
    -----
    Band j is the mean energy of the j-th unit of Löwdin weight, going away from the gap: the band itself in
    an undisplaced supercell.
    """
    mesh_points, weights = gamma_mesh(mesh_for_cell(snapshot.bloch.cell) if mesh is None else mesh)
    zero = _fermi(snapshot, snapshot.energies(mesh_points), weights)
    numbers = np.concatenate([np.arange(-bands, 0), np.arange(1, bands + 1)])
    axes = {"k": np.array(kpoints, dtype=float), "band": numbers}
    values = _unfolded_bands(snapshot, kpoints, bands) - zero
    return {"bands": Quantity(values, "eV", axes)}


@observable("effective_mass")
def effective_mass(
    snapshot: Snapshot, *, k: Sequence[float], band: int = 1, degenerate: int = 1, step: float = 0.01
) -> dict[str, Quantity]:
    """Inverse effective mass tensor in the plane, d^2E/dk^2 / hbar^2 in units of 1/m_e, of an unfolded band.

    Parameters
    ----------
    k
        Primitive k, fractional, where the band has its extremum.
    band
        1, 2, … from the gap upwards, -1, -2, … downwards; with `degenerate` the first of those averaged.
    degenerate
        Bands that are degenerate at k: their mean energy is taken.
    step
        Distance of the six points around k for the second differences, 1/Å.

    Notes
    -----
    The inverse mass is linear in the energies, so that a mean over samples is that of the mean bands; the
    mass itself is the inverse of the mean.
    """
    last = abs(band) + degenerate - 1
    if band == 0 or degenerate < 1 or not step > 0:
        raise InputError("effective_mass", "band is 0, or degenerate or step too small", "count bands from 1")
    if snapshot.primitive is None:
        raise InputError("primitive", "is not given", "name the undisplaced primitive structure")
    angles = np.pi / 3 * np.arange(6)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1) @ _plane_axes(snapshot.primitive)
    around = step * directions @ np.asarray(snapshot.primitive.cell).T / (2 * np.pi)
    points = np.asarray(k, dtype=float) + np.concatenate([np.zeros((1, 3)), around])
    energies = _unfolded_bands(snapshot, points, last)
    first = last + abs(band) - 1 if band > 0 else 0
    mean = energies[:, first : first + degenerate].mean(axis=1)
    curvature = (mean[1:4] + mean[4:7] - 2 * mean[0]) / step**2
    # The symmetric tensor A follows from e A e along three directions e.
    c, s = np.cos(angles[:3]), np.sin(angles[:3])
    xx, xy, yy = np.linalg.solve(np.stack([c**2, 2 * c * s, s**2], axis=1), curvature)
    tensor = np.array([[xx, xy], [xy, yy]]) / HBAR2_PER_ELECTRON_MASS
    return {"inverse_mass": Quantity(tensor, "1/m_e", {"row": np.arange(2), "column": np.arange(2)})}


def _unfolded_bands(snapshot: Snapshot, kpoints: Any, bands: int) -> np.ndarray:
    """Mean energies (K, 2 bands) of the units of weight below and above the gap, ascending."""
    n, rows = snapshot.occupied, []
    for states in unfold(snapshot.bloch, snapshot.bloch_sums, kpoints):
        above = _units(states.energies[n:], states.weights[n:], bands)
        below = _units(states.energies[:n][::-1], states.weights[:n][::-1], bands)
        rows.append([*below[::-1], *above])
    return np.array(rows)


def _units(energies: np.ndarray, weights: np.ndarray, bands: int) -> np.ndarray:
    """Mean energies (bands,) of the first units of weight, going away from the gap."""
    reached = np.cumsum(weights)
    # Displacements move a little weight across the gap.
    if not len(reached) or reached[-1] < bands - 0.5:
        raise InputError("bands", f"{bands} are more than there are on one side of the gap", "take fewer")
    start = reached - weights
    means = []
    for number in range(bands):
        share = np.clip(reached, number, number + 1) - np.clip(start, number, number + 1)
        means.append(share @ energies / share.sum())
    return np.array(means)


@observable("dos")
def density_of_states(
    snapshot: Snapshot,
    *,
    window: tuple[float, float] = (-5.0, 5.0),
    points: int = 201,
    width: float = 0.05,
    mesh: Sequence[int] | None = None,
) -> dict[str, Quantity]:
    """States per eV and atom, both spins, relative to the snapshot's Fermi level; Gaussians of `width` eV.

    Parameters
    ----------
    mesh
        k mesh of the snapshot's cell; None: the density of 12 x 12 points in primitive graphene.
    """
    bloch = snapshot.bloch
    kpoints, weights = gamma_mesh(mesh_for_cell(bloch.cell) if mesh is None else mesh)
    energies = snapshot.energies(kpoints)
    zero = _fermi(snapshot, energies, weights)
    grid = np.linspace(*window, points)
    x = (grid[:, None, None] + zero - energies) / width
    peaks = np.exp(-(x**2) / 2) / (width * np.sqrt(2 * np.pi))
    values = bloch.electrons_per_state * np.nansum(peaks, axis=-1) @ weights / len(snapshot.atoms)
    return {"dos": Quantity(values, "1/eV/atom", {"energy_eV": grid})}


@observable("spectral")
def spectral(
    snapshot: Snapshot,
    *,
    kpoints: Sequence[Sequence[float]],
    window: tuple[float, float] = (-3.0, 3.0),
    points: int = 301,
    width: float = 0.03,
    mesh: Sequence[int] | None = None,
) -> dict[str, Quantity]:
    """A(k, E) at primitive k relative to the snapshot's Fermi level, Lorentzians, Löwdin weights."""
    mesh_points, weights = gamma_mesh(mesh_for_cell(snapshot.bloch.cell) if mesh is None else mesh)
    zero = _fermi(snapshot, snapshot.energies(mesh_points), weights)
    grid = np.linspace(*window, points)
    states = unfold(snapshot.bloch, snapshot.bloch_sums, kpoints)
    values = np.array([spectral_function(one, grid + zero, width) for one in states])
    axes = {"k": np.array(kpoints, dtype=float), "energy_eV": grid}
    return {"spectral": Quantity(values, "1/eV", axes)}


@observable("gamma1")
def gamma1(snapshot: Snapshot) -> dict[str, Quantity]:
    """Interlayer coupling of an AB bilayer: distance of its outer from its inner pairs of states at K."""
    cone = DiracCone.from_atoms(snapshot.atoms, snapshot.n_electrons)
    if cone.layers != 2:
        raise InputError("gamma1", f"the structure has {cone.layers} layers", "it is defined for a bilayer")
    energies = solve(*snapshot.bloch.matrices(cone.point), subset=cone.subset).energies
    half = len(energies) // 2
    gaps = (energies[half:] - energies[half - 1 :: -1]) / 2
    value = gaps[half // 2 :].mean() - gaps[: half // 2].mean()
    return {"gamma1": Quantity(float(value), "eV")}


@observable("conductivity")
def conductivity(
    snapshot: Snapshot,
    *,
    window: tuple[float, float] = (0.2, 5.0),
    points: int = 97,
    width: float = 0.1,
    mesh: Sequence[int] | None = None,
    temperature: float = 300.0,
) -> dict[str, Quantity]:
    """Sheet conductivity Re sigma(omega), mean of both directions of the plane, in e^2/4 hbar.

    Kubo-Greenwood: sigma = (4 pi g/(hbar omega A)) sum_k w_k sum_mn (f_m - f_n) |V_mn|^2
    delta(E_n - E_m - hbar omega) in this unit, g electrons per state, A area of the cell, V = hbar v from
    dH/dk and dS/dk in the atomic gauge (Gaussians of `width` eV). Dipoles within an atom are
    not included.
    """
    bloch, axes = snapshot.bloch, _plane_axes(snapshot.atoms)
    kpoints, weights = gamma_mesh(mesh_for_cell(bloch.cell) if mesh is None else mesh)
    solved = [solve(*bloch.matrices(k), vectors=True) for k in kpoints]
    zero = _fermi(snapshot, np.array([states.energies for states in solved]), weights)
    grid = np.linspace(*window, points)
    total = np.zeros(points)
    for k, weight, states in zip(kpoints, weights, solved, strict=True):
        kept = np.isfinite(states.energies)
        energies, vectors = states.energies[kept], states.vectors[:, kept]
        matrices = np.einsum("ax,xij->aij", axes, velocity_matrices(bloch, k, energies, vectors))
        strength = np.sum(np.abs(matrices) ** 2, axis=0) / 2
        filled = 1 / (1 + np.exp(np.clip((energies - zero) / (BOLTZMANN * temperature), -700, 700)))
        transition = energies - energies[:, None]
        used = (transition > 0) & (transition < grid[-1] + 6 * width)
        amplitude = ((filled[:, None] - filled) * strength)[used]
        x = (grid[:, None] - transition[used]) / width
        total += weight * (np.exp(-(x**2) / 2) @ amplitude) / (width * np.sqrt(2 * np.pi))
    area = float(np.linalg.norm(np.cross(*np.asarray(bloch.cell)[:2])))
    values = 4 * np.pi * bloch.electrons_per_state * total / (grid * area)
    return {"conductivity": Quantity(values, "e^2/4hbar", {"photon_energy_eV": grid})}


def _plane_axes(atoms: Atoms) -> np.ndarray:
    """Two orthonormal vectors (2, 3) of the plane of a1 and a2."""
    first = atoms.cell.array[0] / np.linalg.norm(atoms.cell.array[0])
    return np.stack([first, np.cross(plane_normal(atoms.cell), first)])


def _fermi(snapshot: Snapshot, energies: np.ndarray, weights: np.ndarray) -> float:
    electrons = 2.0 * snapshot.occupied if snapshot.n_electrons is None else snapshot.n_electrons
    return fermi_level(energies, weights, electrons, electrons_per_state=snapshot.bloch.electrons_per_state)

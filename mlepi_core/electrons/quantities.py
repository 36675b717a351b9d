"""What the velocity estimators keep of many snapshots, and its small HDF5 file.

The file (schema ``mlepi-velocity-samples``) takes the place of the Hamiltonians where these are not
kept: a few kB per snapshot, from which every estimator and window is reduced.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase import Atoms

from mlepi_core import __version__
from mlepi_core.artefacts import InputError, atomic_path
from mlepi_core.electrons.bloch import BlochHamiltonian
from mlepi_core.electrons.dirac import DiracCone
from mlepi_core.electrons.estimators import VelocitySpec, sample_quantities
from mlepi_core.electrons.supercell import repeat_blocks
from mlepi_core.formats.blocks import BlockMatrix
from mlepi_core.formats.store import LabelEntry
from mlepi_core.sampling.schemes import independent_groups
from mlepi_core.structures.lattice import build_supercell
from mlepi_core.structures.layers import ensure_layers

SCHEMA = "mlepi-velocity-samples"
VERSION = 1
_ARRAYS = ("energies", "cone_energies", "velocity_squared")
_KEPT_ATTRIBUTES = (
    "seed",
    "reference_hash",
    "phonons_hash",
    "scheme",
    "imaginary_policy",
    "floor_cm1",
    "n_touched_modes",
)


@dataclass
class VelocitySamples:
    """Numbers of S snapshots of one temperature.

    Attributes
    ----------
    spec
        What was evaluated.
    cone_n, layers
        Primitive cells along a lattice vector, and graphene layers.
    lattice_constant
        |a1|/n in Å.
    energies
        (S, D, K, m) eV: manifold along D directions at K radii.
    cone_energies
        (S, m) eV at the folded K.
    velocity_squared
        (S,) (eV Å)^2; NaN if `operator` was not wanted.
    pair, sign
        (S,) number and sign of the antithetic pair; one snapshot without a pair is pair 0.
    temperature
        K; None for a static cell.
    n_projected
        Largest number of eigenvalues of S dropped in any snapshot.
    attrs
        Provenance: `_KEPT_ATTRIBUTES`.
    """

    spec: VelocitySpec
    cone_n: int
    layers: int
    lattice_constant: float
    energies: np.ndarray
    cone_energies: np.ndarray
    velocity_squared: np.ndarray
    pair: np.ndarray
    sign: np.ndarray
    temperature: float | None = None
    n_projected: int = 0
    attrs: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.energies)

    @property
    def seed(self) -> int | None:
        """Seed of the thermal samples."""
        return int(self.attrs["seed"]) if "seed" in self.attrs else None

    @property
    def independent(self) -> np.ndarray:
        """Number (S,) of the statistically independent group that every snapshot belongs to.

        That is its pair, but for schemes whose pairs depend on each other; see
        `mlepi_core.sampling.schemes.independent_groups`.
        """
        return independent_groups(str(self.attrs.get("scheme", "antithetic")), self.pair)

    def each(self) -> Iterator[dict[str, np.ndarray]]:
        """The quantities of one snapshot after the other."""
        for row in range(len(self)):
            yield {name: getattr(self, name)[row] for name in _ARRAYS}

    def columns(self, radii: np.ndarray) -> np.ndarray:
        """Where the wanted radii (1/Å) stand among those evaluated."""
        known = self.spec.radii
        found = [np.flatnonzero(np.abs(known - radius) < 1e-8) for radius in radii]
        missing = [float(r) for r, hits in zip(radii, found, strict=True) if not len(hits)]
        if missing:
            raise InputError(
                "velocity window",
                f"|k| = {missing[0]:g} 1/Å was not evaluated",
                "evaluated: " + (", ".join(f"{r:g}" for r in known) or "none"),
            )
        return np.array([hits[0] for hits in found], dtype=int)

    def check_same_setting(self, other: VelocitySamples) -> None:
        """Refuse to combine samples of other cells or k lists."""
        for name, mine, theirs in (
            ("supercell n", self.cone_n, other.cone_n),
            ("number of layers", self.layers, other.layers),
            ("k list", self.spec, other.spec),
            ("reference structure", self.attrs.get("reference_hash"), other.attrs.get("reference_hash")),
        ):
            if mine != theirs and mine is not None and theirs is not None:
                raise InputError(
                    "velocity", f"{name} differs: {mine} and {theirs}", "use artefacts of one run"
                )
        if abs(self.lattice_constant / other.lattice_constant - 1) > 1e-3:
            raise InputError(
                "velocity",
                f"lattice constants differ: {self.lattice_constant:.4f} and {other.lattice_constant:.4f} Å",
                "use artefacts of one run",
            )


def evaluate_entry(
    atoms: Atoms,
    bloch: BlochHamiltonian,
    spec: VelocitySpec,
    *,
    n_electrons: float | None = None,
    attrs: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> VelocitySamples:
    """Quantities of one snapshot.

    Parameters
    ----------
    atoms
        Its structure; positions are those of the snapshot.
    bloch
        Its H and S.
    n_electrons
        Electrons of the cell; None counts valence charges.
    attrs
        Attributes of the entry: temperature (K), pair, sign, seed, reference_hash, …
    """
    cone = DiracCone.from_atoms(atoms, n_electrons)
    numbers = sample_quantities(bloch, cone, spec, device)
    attrs = dict(attrs or {})
    temperature = attrs.get("temperature")
    return VelocitySamples(
        spec=spec,
        cone_n=cone.n,
        layers=cone.layers,
        lattice_constant=float(np.linalg.norm(atoms.cell[0])) / cone.n,
        pair=np.array([int(attrs.get("pair", 0))]),
        sign=np.array([int(attrs.get("sign", 1))]),
        temperature=None if temperature is None else float(temperature),
        n_projected=int(numbers["n_projected"]),
        attrs={key: attrs[key] for key in _KEPT_ATTRIBUTES if key in attrs},
        **{name: numbers[name][None] for name in _ARRAYS},
    )


def evaluate_label(entry: LabelEntry, spec: VelocitySpec, device: str = "cpu") -> VelocitySamples:
    """`evaluate_entry` of an entry of a label store.

    Raises
    ------
    InputError
        If the entry has no H and S.
    """
    blocks = _blocks_of(entry)
    bloch = BlochHamiltonian.from_atoms(entry.atoms, blocks)
    return evaluate_entry(
        entry.atoms, bloch, spec, n_electrons=entry.n_electrons, attrs=entry.attrs, device=device
    )


def evaluate_static(
    entry: LabelEntry, n: int | None, spec: VelocitySpec, device: str = "cpu"
) -> VelocitySamples:
    """Quantities of the undisplaced cell, repeated to n x n primitive cells if it is smaller.

    The same folded k and manifold as for the snapshots, so that ratios compare like with like.

    Parameters
    ----------
    n
        Primitive cells along a lattice vector of the snapshots; None takes the cell as it is.

    Raises
    ------
    InputError
        If n is not a multiple of the cell's own n.
    """
    own = DiracCone.from_atoms(entry.atoms, entry.n_electrons).n
    if n is None or n == own:
        return evaluate_label(entry, spec, device)
    if n % own:
        raise InputError(
            entry.name,
            f"is a {own}x{own} cell, the samples are {n}x{n}",
            f"give a static cell that divides {n}x{n}",
        )
    blocks, repeats = _blocks_of(entry), n // own
    whole = replace(
        entry,
        atoms=build_supercell(ensure_layers(entry.atoms), (repeats, repeats)),
        blocks=repeat_blocks(blocks, (repeats, repeats)),
        n_electrons=None if entry.n_electrons is None else entry.n_electrons * repeats**2,
        attrs={key: value for key, value in entry.attrs.items() if key != "reference_hash"},
    )
    return evaluate_label(whole, spec, device)


def _blocks_of(entry: LabelEntry) -> BlockMatrix:
    if entry.blocks is None:
        raise InputError(
            entry.name, "has no Hamiltonian", "give a store of predictions or of DFT results with H and S"
        )
    if entry.blocks.spin != "none":
        raise InputError(
            entry.name,
            f"has a Hamiltonian of spin {entry.blocks.spin!r}",
            "the Fermi velocity counts bands without spin: give a spinless calculation",
        )
    return entry.blocks


def merge(parts: Sequence[VelocitySamples]) -> VelocitySamples:
    """All snapshots of one temperature in one object, ordered by pair and sign (+ first).

    Raises
    ------
    InputError
        If there are none, the parts differ in cell, k list or temperature, or a snapshot stands twice.
    """
    if not parts:
        raise InputError("velocity", "no samples", "check the paths")
    first = parts[0]
    for part in parts[1:]:
        first.check_same_setting(part)
        if part.temperature != first.temperature:
            raise InputError(
                "velocity",
                f"samples of {first.temperature:g} K and {part.temperature:g} K",
                "give one temperature",
            )
    arrays = {name: np.concatenate([getattr(p, name) for p in parts]) for name in (*_ARRAYS, "pair", "sign")}
    order = np.lexsort((-arrays["sign"], arrays["pair"]))
    arrays = {name: values[order] for name, values in arrays.items()}
    twice = (np.diff(arrays["pair"]) == 0) & (np.diff(arrays["sign"]) == 0)
    if twice.any():
        raise InputError(
            "velocity",
            f"pair {arrays['pair'][np.flatnonzero(twice)[0]]} is given twice",
            "give every block once",
        )
    return replace(first, **arrays, n_projected=max(p.n_projected for p in parts))


def save_samples(path: str | os.PathLike[str], samples: VelocitySamples) -> None:
    """Write the quantities of some snapshots; the file appears when it is complete."""
    spec = samples.spec
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(
            {"schema": SCHEMA, "version": VERSION, "code_version": __version__, **samples.attrs}
        )
        file.attrs.update({"supercell_n": samples.cone_n, "layers": samples.layers})
        file.attrs.update({"lattice_constant": samples.lattice_constant, "gauge": spec.gauge})
        file.attrs.update({"n_projected": samples.n_projected, "estimators": ",".join(spec.estimators)})
        file.attrs.update(
            {"directions": spec.directions, "k_points": spec.k_points, "threshold": spec.threshold}
        )
        if samples.temperature is not None:
            file.attrs["temperature"] = samples.temperature
        file["windows"], file["naive_windows"] = np.array(spec.windows), np.array(spec.naive_windows)
        file["radii"] = spec.radii
        for name in (*_ARRAYS, "pair", "sign"):
            file.create_dataset(name, data=getattr(samples, name), fletcher32=True, chunks=True)


def load_samples(paths: Iterable[str | os.PathLike[str]]) -> VelocitySamples:
    """Read and merge files of `save_samples`.

    Raises
    ------
    InputError
        If a file is missing, damaged or of another kind, or they do not belong together.
    """
    return merge([_load(path) for path in paths])


def _load(path: str | os.PathLike[str]) -> VelocitySamples:
    if not Path(path).is_file():
        raise InputError(path, "no such file", "check the path")
    try:
        with h5py.File(path, "r") as file:
            attrs = dict(file.attrs)
            if attrs.get("schema") != SCHEMA:
                raise InputError(
                    path, f"schema is {attrs.get('schema')!r}, not {SCHEMA!r}", "give velocity samples"
                )
            arrays = {name: file[name][:] for name in (*_ARRAYS, "pair", "sign")}
            windows = {
                name: tuple(map(tuple, file[name][:].tolist())) for name in ("windows", "naive_windows")
            }
    except (OSError, KeyError) as error:
        raise InputError(path, f"cannot be read ({error})", "delete it and make it again") from None
    spec = VelocitySpec(
        estimators=tuple(attrs["estimators"].split(",")),
        directions=int(attrs["directions"]),
        k_points=int(attrs["k_points"]),
        gauge=str(attrs["gauge"]),
        threshold=float(attrs["threshold"]),
        **windows,
    )
    return VelocitySamples(
        spec=spec,
        cone_n=int(attrs["supercell_n"]),
        layers=int(attrs["layers"]),
        lattice_constant=float(attrs["lattice_constant"]),
        temperature=float(attrs["temperature"]) if "temperature" in attrs else None,
        n_projected=int(attrs["n_projected"]),
        attrs={key: attrs[key] for key in _KEPT_ATTRIBUTES if key in attrs},
        **arrays,
    )

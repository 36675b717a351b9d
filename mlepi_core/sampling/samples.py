"""Sets of thermal samples and their file (schema `mlepi-samples`)."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase import Atoms

from mlepi_core import __version__
from mlepi_core.artefacts import InputError, atomic_path
from mlepi_core.phonons.force_constants import check_supercell
from mlepi_core.sampling.schemes import members
from mlepi_core.sampling.thermal import ThermalSampler
from mlepi_core.structures import structure_hash

SCHEMA = "mlepi-samples"
VERSION = 1
_ATTRIBUTES = (
    "temperature",
    "seed",
    "supercell",
    "structure_hash",
    "phonons_hash",
    "imaginary_policy",
    "n_touched_modes",
)
#: Per-atom integer arrays that travel with the samples if the reference has them.
_ATOM_ARRAYS = ("layer", "winding", "kappa", "cell_index")


@dataclass(frozen=True)
class SampleSet:
    """Displaced structures in the order pair 0 +, pair 0 −, pair 1 +, …; of scheme ``plain`` there is no −.

    Attributes
    ----------
    positions
        (n, N, 3) Å.
    pair, sign
        (n,) number of the pair, and +1 or −1.
    reference
        Equilibrium supercell with `layer`, and the map to the primitive cell `kappa`, `cell_index`.
    temperature
        K.
    seed, supercell
        As given to the sampler.
    phonons_hash
        Digest of the force constants.
    imaginary_policy
        Policy for soft modes; `touched` lists the modes it changed.
    scheme
        How the numbers of the modes were drawn, `mlepi_core.sampling.schemes`.
    attrs
        Whatever else the file's root says.
    """

    positions: np.ndarray
    pair: np.ndarray
    sign: np.ndarray
    reference: Atoms
    temperature: float
    seed: int
    supercell: tuple[int, int, int]
    phonons_hash: str
    imaginary_policy: str = "refuse"
    floor_cm1: float | None = None
    scheme: str = "antithetic"
    touched: list[dict[str, Any]] = field(default_factory=list)
    attrs: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def structure_hash(self) -> str:
        """Hash of the equilibrium supercell."""
        return structure_hash(self.reference)

    def name(self, index: int) -> str:
        """Name of the store entry of sample `index`."""
        return entry_name(self.temperature, int(self.pair[index]), int(self.sign[index]))

    def atoms(self, index: int) -> Atoms:
        """Sample `index` as a structure with the layers of the reference."""
        atoms = self.reference.copy()
        atoms.positions = self.positions[index]
        return atoms


def entry_name(temperature: float, pair: int, sign: int) -> str:
    """``T<T>_p<pair>_<+|->`` with T in %g form."""
    return f"T{temperature:g}_p{pair}_{'+' if sign > 0 else '-'}"


def draw_samples(
    sampler: ThermalSampler,
    pairs: int,
    seed: int,
    *,
    first_pair: int = 0,
    supercell: Sequence[int],
    phonons_hash: str,
) -> SampleSet:
    """The pairs `first_pair` … `first_pair + pairs − 1`, both signs of each (of scheme ``plain`` one).

    The union of blocks equals the whole bit by bit, because every pair has its own random stream.
    """
    if pairs < 1 or first_pair < 0:
        raise InputError(
            "pairs", f"is {pairs} from pair {first_pair} on", "give at least one pair, counted from 0"
        )
    reference = sampler.modes.reference
    numbers = np.arange(first_pair, first_pair + pairs)
    displacements = np.array([sampler.displacement(seed, int(number)) for number in numbers])
    signs = np.array([1, -1][: members(sampler.scheme)])
    moved = (displacements[:, None] * signs[None, :, None, None]).reshape(-1, len(reference), 3)
    return SampleSet(
        positions=reference.positions + moved,
        pair=np.repeat(numbers, len(signs)),
        sign=np.tile(signs, pairs),
        reference=reference,
        temperature=float(sampler.temperature),
        seed=int(seed),
        supercell=check_supercell(supercell),
        phonons_hash=phonons_hash,
        imaginary_policy=sampler.policy.name,
        floor_cm1=sampler.policy.floor_cm1,
        scheme=sampler.scheme,
        touched=sampler.policy.touched,
    )


def write_samples(path: str | os.PathLike[str], samples: SampleSet) -> None:
    """Write `samples` atomically, compressed and with checksums."""
    reference = samples.reference
    packed = {"compression": "gzip", "shuffle": True, "fletcher32": True}
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(
            {
                **samples.attrs,
                "schema": SCHEMA,
                "version": VERSION,
                "code_version": __version__,
                "temperature": samples.temperature,
                "seed": samples.seed,
                "supercell": samples.supercell,
                "structure_hash": samples.structure_hash,
                "phonons_hash": samples.phonons_hash,
                "imaginary_policy": samples.imaginary_policy,
                "scheme": samples.scheme,
                "n_touched_modes": len(samples.touched),
                "touched_modes": json.dumps(samples.touched),
            }
        )
        if samples.floor_cm1 is not None:
            file.attrs["floor_cm1"] = samples.floor_cm1
        chunk = (1, *samples.positions.shape[1:])
        file.create_dataset("positions", data=samples.positions, dtype="f8", chunks=chunk, **packed)
        file.create_dataset("pair", data=samples.pair, dtype="i8", fletcher32=True, chunks=samples.pair.shape)
        file.create_dataset("sign", data=samples.sign, dtype="i1", fletcher32=True, chunks=samples.sign.shape)
        file.create_dataset("reference_positions", data=reference.positions, dtype="f8")
        file.create_dataset("cell", data=reference.cell.array, dtype="f8")
        file.create_dataset("numbers", data=reference.numbers, dtype="i4")
        file.create_dataset("masses", data=reference.get_masses(), dtype="f8")
        file.create_dataset("pbc", data=reference.pbc, dtype="i1")
        for name in _ATOM_ARRAYS:
            if name in reference.arrays:
                file.create_dataset(name, data=reference.arrays[name], dtype="i4")


def read_samples(path: str | os.PathLike[str]) -> SampleSet:
    """Read a sample file.

    Raises
    ------
    InputError
        The file is missing, truncated, damaged, of another schema, or its structure is not the one its hash
        names.
    """
    if not Path(path).is_file():
        raise InputError(path, "no such sample file", "make it with `mlepi sample`")
    try:
        with h5py.File(path, "r") as file:
            samples, expected = _read(path, file)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            path, f"not a complete sample file ({error})", "delete it and make it again"
        ) from None
    if samples.structure_hash != expected:
        raise InputError(
            path, f"its structure has the hash {samples.structure_hash}, not {expected}", "make it again"
        )
    return samples


def _read(path: str | os.PathLike[str], file: h5py.File) -> tuple[SampleSet, str]:
    schema = file.attrs.get("schema")
    if schema != SCHEMA:
        raise InputError(path, f"schema is {schema!r}, not {SCHEMA!r}", "give a sample file")
    if int(file.attrs["version"]) > VERSION:
        raise InputError(path, "was written by a newer version", "update mlepi")
    reference = Atoms(
        numbers=file["numbers"][:],
        positions=file["reference_positions"][:],
        cell=file["cell"][:],
        pbc=file["pbc"][:].astype(bool),
    )
    if "masses" in file:
        reference.set_masses(file["masses"][:])
    for name in _ATOM_ARRAYS:
        if name in file:
            reference.arrays[name] = file[name][:].astype(int)
    floor = file.attrs.get("floor_cm1")
    known = {*_ATTRIBUTES, "schema", "version", "floor_cm1", "scheme", "touched_modes", "code_version"}
    samples = SampleSet(
        positions=file["positions"][:],
        pair=file["pair"][:].astype(int),
        sign=file["sign"][:].astype(int),
        reference=reference,
        temperature=float(file.attrs["temperature"]),
        seed=int(file.attrs["seed"]),
        supercell=check_supercell(file.attrs["supercell"]),
        phonons_hash=str(file.attrs["phonons_hash"]),
        imaginary_policy=str(file.attrs["imaginary_policy"]),
        floor_cm1=None if floor is None else float(floor),
        scheme=str(file.attrs.get("scheme", "antithetic")),
        touched=json.loads(file.attrs.get("touched_modes", "[]")),
        attrs={name: value for name, value in file.attrs.items() if name not in known},
    )
    n, n_atoms = len(samples.pair), len(reference)
    if samples.positions.shape != (n, n_atoms, 3) or samples.sign.shape != (n,):
        raise InputError(path, "its data sets have contradictory shapes", "make it again")
    return samples, str(file.attrs["structure_hash"])

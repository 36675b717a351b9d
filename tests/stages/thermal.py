"""Phonons of the bundled DFT force constants, and snapshots with tight-binding Hamiltonians."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ase import Atoms

from mlepi_core.formats.store import LabelEntry, StoreWriter
from mlepi_core.orbitals import Basis
from mlepi_core.phonons import Phonons, load_phonopy, write_phonons
from mlepi_core.structures import build_ab
from tests.electrons.tight_binding import tight_binding

DFT = Path(__file__).parents[2] / "resources" / "bilayer-graphene" / "phonopy_params.yaml.xz"


def write_dft_phonons(folder: Path, scale: float = 1.0) -> Atoms:
    """Phonon folder of an AB bilayer with force constants times `scale`; the reference cell."""
    phonon, reference = load_phonopy(DFT), build_ab()
    phonon.force_constants = scale * phonon.force_constants
    reference.set_masses(phonon.primitive.masses)
    write_phonons(folder, Phonons(phonon, reference, {"relaxed": False}))
    return reference


def write_snapshots(path: Path, tasks: Iterable[tuple[str, Atoms, dict[str, Any]]]) -> Path:
    """Label store of two uncoupled layers: name, structure and attributes of each."""
    with StoreWriter(path, Basis({"C": (0,)}), {}) as writer:
        for name, atoms, attrs in tasks:
            blocks = tight_binding(atoms, 0.1)
            writer.add(LabelEntry(name, atoms, n_electrons=float(len(atoms)), blocks=blocks, attrs=attrs))
    return path

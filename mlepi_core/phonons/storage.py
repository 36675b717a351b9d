"""The phonon folder: phonopy_params.yaml with force constants, reference.extxyz, relaxation.json."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms
from phonopy import Phonopy

from mlepi_core import __version__
from mlepi_core.artefacts import InputError, atomic_path, sha256_file, write_json
from mlepi_core.phonons.force_constants import keep_one_cell
from mlepi_core.phonons.reference import load_phonopy
from mlepi_core.structures import read_structure, structure_hash, write_structure

FORCE_CONSTANTS_FILE = "phonopy_params.yaml"
REFERENCE_FILE = "reference.extxyz"
REPORT_FILE = "relaxation.json"
SCHEMA = "mlepi-phonons"
VERSION = 1


@dataclass(frozen=True)
class Phonons:
    """Force constants with the primitive reference cell they belong to.

    Attributes
    ----------
    phonon
        Phonopy object; its primitive cell is `reference`, atom by atom.
    reference
        Relaxed primitive cell with the array `layer`.
    report
        Relaxation, sum rules, imaginary modes (keys carry units).
    digest
        First 16 digits of the SHA-256 of the force-constants file; empty before it is written.
    """

    phonon: Phonopy
    reference: Atoms
    report: dict[str, Any]
    digest: str = ""


def write_phonons(folder: str | os.PathLike[str], phonons: Phonons) -> Phonons:
    """Write the three files, each atomically; returns `phonons` with its digest."""
    folder = Path(folder)
    keep_one_cell(phonons.phonon)
    settings = {"force_constants": True, "force_sets": False, "displacements": False}
    with atomic_path(folder / FORCE_CONSTANTS_FILE) as temporary:
        phonons.phonon.save(temporary, settings=settings)
    write_structure(folder / REFERENCE_FILE, _plain(phonons.reference))
    report = {
        "schema": SCHEMA,
        "version": VERSION,
        "code_version": __version__,
        "structure_hash": structure_hash(phonons.reference),
        **phonons.report,
    }
    write_json(folder / REPORT_FILE, report)
    digest = sha256_file(folder / FORCE_CONSTANTS_FILE)[:16]
    return Phonons(phonons.phonon, phonons.reference, report, digest)


def read_phonons(folder: str | os.PathLike[str]) -> Phonons:
    """Read a phonon folder.

    Raises
    ------
    InputError
        A file is missing or not what it should be.
    """
    folder = Path(folder)
    for name in (FORCE_CONSTANTS_FILE, REFERENCE_FILE, REPORT_FILE):
        if not (folder / name).is_file():
            raise InputError(folder, f"has no {name}", "give a folder made by `mlepi phonons`")
    phonon = load_phonopy(folder / FORCE_CONSTANTS_FILE)
    reference = read_structure(folder / REFERENCE_FILE)
    try:
        report = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(folder / REPORT_FILE, f"is not JSON ({error})", "make the phonons again") from None
    if report.get("schema") != SCHEMA or int(report.get("version", 0)) > VERSION:
        raise InputError(folder / REPORT_FILE, "is not of this version's phonons", "make the phonons again")
    if report.get("structure_hash") != structure_hash(reference):
        raise InputError(
            folder, f"{REPORT_FILE} belongs to another {REFERENCE_FILE}", "make the phonons again"
        )
    if len(phonon.primitive) != len(reference):
        raise InputError(
            folder, "reference and force constants have different atoms", "make the phonons again"
        )
    # the force constants and the masses they were made with belong together
    reference.set_masses(phonon.primitive.masses)
    return Phonons(phonon, reference, report, sha256_file(folder / FORCE_CONSTANTS_FILE)[:16])


def _plain(atoms: Atoms) -> Atoms:
    """The structure alone: no calculator, no labels of an earlier stage."""
    plain = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    for name in ("layer", "winding"):
        if name in atoms.arrays:
            plain.arrays[name] = atoms.arrays[name].copy()
    return plain

"""Stage `phonons`: relaxed reference and force constants of a structure under a phonon model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlepi_core.phonons.storage import Phonons


def phonons(
    model: str | os.PathLike[str],
    structure: str | os.PathLike[str],
    supercell: Sequence[int],
    out_dir: str | os.PathLike[str],
    *,
    relax: bool = True,
    displacement: float = 0.02,
    force_tolerance: float = 1e-4,
    method: str = "finite_differences",
    sum_rules: str = "translational",
    device: str = "auto",
) -> Phonons:
    """Write phonopy_params.yaml (with force constants), reference.extxyz and relaxation.json to `out_dir`.

    Imaginary modes are a warning and a list in relaxation.json, never an error here.

    Parameters
    ----------
    model
        Phonon model file.
    structure
        Primitive cell in any format that ASE reads; layers are assigned if absent.
    supercell
        Repetitions in which the force constants are computed.
    out_dir
        Folder, made if missing.
    relax
        Relax at fixed cell first until forces are below `force_tolerance` (eV/Å).
    displacement
        Finite displacements, Å.
    method
        ``"finite_differences"`` or ``"hessian"``.
    sum_rules
        ``"none"``, ``"translational"`` or ``"rotational"``.
    device
        ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    InputError
        A file cannot be used or a parameter is out of range.
    """
    from mlepi_core.artefacts import located, sha256_file
    from mlepi_core.inference.calculator import load_calculator
    from mlepi_core.phonons import run_phonons, write_phonons
    from mlepi_core.structures import read_structure

    atoms = read_structure(structure)
    calculator = load_calculator(model, device)
    with located(structure, "structure", "positions", "pbc", "cell"):
        result = run_phonons(
            atoms,
            calculator,
            supercell,
            relax=relax,
            displacement=displacement,
            force_tolerance=force_tolerance,
            method=method,
            sum_rules=sum_rules,
        )
    result.report["model_sha256"] = sha256_file(model)
    return write_phonons(out_dir, result)


def tabulate(
    phonons_dir: str | os.PathLike[str],
    bands_csv: str | os.PathLike[str],
    errors_csv: str | os.PathLike[str],
    *,
    reference: str | os.PathLike[str] | None = None,
    slip_reference: str | os.PathLike[str] | None = None,
    points: int = 41,
) -> None:
    """Write the phonon bands and their differences from DFT.

    Parameters
    ----------
    phonons_dir
        Folder of the stage `phonons`.
    bands_csv, errors_csv
        Tables with the columns `BANDS_TABLE_COLUMNS` and `ERRORS_TABLE_COLUMNS` of
        `mlepi_core.phonons.tables`.
    reference
        phonopy yaml file of the DFT force constants.
    slip_reference
        CSV of rigid slips (bilayers).
    points
        q points on each leg of Γ–M–K–Γ, both ends included.
    """
    from mlepi_core.artefacts import write_csv
    from mlepi_core.phonons import load_phonopy
    from mlepi_core.phonons.tables import BANDS_TABLE_COLUMNS, ERRORS_TABLE_COLUMNS, phonon_tables

    dft = None if reference is None else load_phonopy(reference)
    bands, errors = phonon_tables(phonons_dir, dft, slip_reference, points)
    write_csv(bands_csv, bands, BANDS_TABLE_COLUMNS)
    write_csv(errors_csv, errors, ERRORS_TABLE_COLUMNS)

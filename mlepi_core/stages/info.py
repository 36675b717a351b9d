"""Verb `info`: what a file or folder holds, as one JSON-ready dict and as text."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlepi_core.artefacts import InputError

if TYPE_CHECKING:
    from mlepi_core.formats.store import LabelEntry

_LONG_LIST = 12  # numbers of a list that the text form still shows


def info(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Describe a store, model, phonon folder, sample file, overlap tables or raw file.

    Energies (eV), forces (eV/Å) and Fermi levels (eV) are given as read. Every dict has the keys
    ``path`` and ``kind`` (see `mlepi_core.formats.detect`).

    Raises
    ------
    InputError
        If the path is missing, damaged or of unknown kind.
    """
    from mlepi_core.formats.detect import detect

    kind = detect(path)
    describe = _DESCRIBERS.get(kind)
    if describe is None:
        raise InputError(path, f"no information on a file of kind {kind!r}", "give one of its files")
    return _plain({"path": str(path), "kind": kind, **describe(Path(path))})


def format_info(content: Mapping[str, Any], indent: int = 0) -> str:
    """Text form of `info`: one line per key; long lists are counted instead of shown."""
    lines = []
    pad = "  " * indent
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            lines += [f"{pad}{key}:", format_info(value, indent + 1)]
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            lines.append(f"{pad}{key}:")
            lines += [f"{pad}  - {_row(item)}" for item in value]
        elif isinstance(value, list) and np.size(np.array(value, dtype=object)) > _LONG_LIST:
            lines.append(f"{pad}{key}: {len(value)} rows")
        else:
            lines.append(f"{pad}{key}: {_scalar(value)}")
    return "\n".join(lines)


def _row(item: Mapping[str, Any]) -> str:
    shown = {
        key: value for key, value in item.items() if not isinstance(value, (list, dict)) or len(value) <= 3
    }
    return ", ".join(f"{key} {_scalar(value)}" for key, value in shown.items() if value is not None)


def _scalar(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, list):
        return "[" + ", ".join(_scalar(part) for part in value) + "]"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_scalar(part)}" for key, part in value.items())
    return "unknown" if value is None else str(value)


def _entry(entry: LabelEntry) -> dict[str, Any]:
    atoms = entry.atoms
    return {
        "name": entry.name,
        "formula": atoms.get_chemical_formula(),
        "n_atoms": len(atoms),
        "n_layers": len(np.unique(atoms.arrays["layer"])) if "layer" in atoms.arrays else None,
        "energy_eV": entry.energy,
        "fermi_level_eV": entry.fermi_level,
        "n_electrons": entry.n_electrons,
        "converged": entry.converged,
        "split": entry.split,
        "max_force_eV_per_A": None if entry.forces is None else np.linalg.norm(entry.forces, axis=1).max(),
        "forces_eV_per_A": entry.forces,
        **entry.attrs,
    }


def _store(path: Path) -> dict[str, Any]:
    from mlepi_core.formats.store import LabelStore
    from mlepi_core.labels.dataset import Dataset

    with LabelStore(path) as store:
        entries = [_entry(store.read(name, blocks=False)) for name in store.names]
        attrs = {key: value for key, value in store.attrs.items() if key != "basis"}
        spin = store.spin
        basis = None if store.basis is None else json.loads(store.basis.to_json())
    unconverged = [entry["name"] for entry in entries if entry["converged"] is False]
    return {
        **attrs,
        "basis": basis,
        "spin": spin,
        "n_structures": len(entries),
        "splits": Dataset(path).counts(),
        "unconverged": unconverged,
        "entries": entries,
    }


def _scfout(path: Path) -> dict[str, Any]:
    from mlepi_core.formats.openmx import read_openmx

    entry, basis = read_openmx(path)
    assert entry.blocks is not None
    return {
        "basis": json.loads(basis.to_json()),
        "n_pairs": len(entry.blocks.pairs),
        "n_orbitals": entry.blocks.n_orbitals,
        "spin": entry.blocks.spin,
        **_entry(entry),
    }


def _openmx_out(path: Path) -> dict[str, Any]:
    from mlepi_core.formats.compressed import sibling
    from mlepi_core.formats.openmx_out import read_out

    out = read_out(path, sibling(path, ".std"))
    return {
        "engine": "openmx",
        "engine_version": out.version,
        "n_atoms": len(out.symbols),
        "energy_eV": out.energy,
        "fermi_level_eV": out.fermi_level,
        "converged": out.converged,
        "scf_iterations": out.scf_iterations,
        "wall_s": out.wall_s,
        "forces_eV_per_A": out.forces,
    }


def _band(path: Path) -> dict[str, Any]:
    from mlepi_core.formats.band import read_band

    bands = read_band(path)
    return {
        "n_kpoints": len(bands.kpoints),
        "n_bands": bands.energies.shape[1],
        "fermi_level_eV": bands.fermi_level,
        "energy_range_eV": [bands.energies.min(), bands.energies.max()],
    }


def _structures(path: Path) -> dict[str, Any]:
    from mlepi_core.formats.extxyz import read_extxyz

    entries = [_entry(entry) for entry in read_extxyz(path)]
    return {"n_structures": len(entries), "entries": entries}


def _samples(path: Path) -> dict[str, Any]:
    import h5py

    from mlepi_core.sampling import read_samples

    read_samples(path)  # names the damage, if there is any
    with h5py.File(path, "r") as handle:
        shapes = {name: list(data.shape) for name, data in handle.items()}
        numbers = handle["numbers"][:]
        return {
            **dict(handle.attrs),
            "n_samples": shapes["positions"][0],
            "n_atoms": len(numbers),
            "shapes": shapes,
        }


def _tables(path: Path) -> dict[str, Any]:
    from mlepi_core.basis.two_centre import TwoCentreTables

    tables = TwoCentreTables.load(path)
    return {
        "quantity": tables.quantity,
        "basis": json.loads(tables.basis.to_json()),
        "coverage": list(tables.coverage()),
    }


def _model(path: Path) -> dict[str, Any]:
    from mlepi_core.nn.model_file import member_contents, read_content

    content = read_content(path)
    members = member_contents(path, content)
    if len(members) == 1:
        return _single_model(members[0])
    described = [_single_model(member) for member in members]
    own = ("config", "statistics", "history_rows", "last_history_row")
    return {
        **{key: value for key, value in described[0].items() if key not in own},
        **{key: content[key] for key in ("schema", "version")},
        "committee": len(members),
        "members": [{key: value for key, value in member.items() if key in own} for member in described],
    }


def _single_model(content: Mapping[str, Any]) -> dict[str, Any]:
    import torch

    state = content.get("state_dict", {})
    history = content.get("history") or []
    skipped = ("state_dict", "ema_state_dict", "tables", "history", "kind")
    return {
        "network": content.get("kind"),
        **{key: _without_tensors(value) for key, value in content.items() if key not in skipped},
        "n_parameters": sum(value.numel() for value in state.values() if isinstance(value, torch.Tensor)),
        "has_two_centre_tables": content.get("tables") is not None,
        "history_rows": len(history),
        "last_history_row": history[-1] if history else None,
    }


def _without_tensors(value: Any) -> Any:
    """The same with each long tensor replaced by its shape."""
    if isinstance(value, Mapping):
        return {str(key): _without_tensors(part) for key, part in value.items()}
    if hasattr(value, "numel"):
        return value.tolist() if value.numel() <= _LONG_LIST else f"tensor {list(value.shape)}"
    return value


def _phonons(path: Path) -> dict[str, Any]:
    from ase import Atoms

    from mlepi_core.phonons.bands import frequencies_at
    from mlepi_core.phonons.reference import commensurate_points, load_phonopy
    from mlepi_core.phonons.units import CM1_PER_THZ

    folder = path if path.is_dir() else None
    phonon = load_phonopy(path / "phonopy_params.yaml" if folder else path)
    qpoints = commensurate_points(phonon)
    frequencies = frequencies_at(phonon, qpoints) * CM1_PER_THZ
    notes = {file.stem: _json(file) for file in sorted(folder.glob("*.json"))} if folder else {}
    return {
        "n_atoms_primitive": len(phonon.primitive),
        "formula": Atoms(numbers=phonon.primitive.numbers).get_chemical_formula(),
        "supercell": phonon.supercell_matrix,
        "n_commensurate_q": len(qpoints),
        "highest_frequency_cm1": frequencies.max(),
        "imaginary_modes": _imaginary(qpoints, frequencies),
        **notes,
    }


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(path, f"is not JSON ({error})", "make the phonons again") from None


def _imaginary(qpoints: np.ndarray, frequencies: np.ndarray) -> list[dict[str, Any]]:
    """Imaginary modes at the commensurate q, in cm⁻¹ as negative numbers; translations are not listed."""
    modes = []
    for q, values in zip(qpoints, frequencies, strict=True):
        at_gamma = np.allclose(q, np.round(q), atol=1e-8)
        vibrations = np.delete(values, np.argsort(np.abs(values))[:3]) if at_gamma else values
        modes += [{"q": q, "frequency_cm1": value} for value in vibrations if value < 0]
    return modes


_DESCRIBERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "store": _store,
    "scfout": _scfout,
    "openmx-out": _openmx_out,
    "band": _band,
    "extxyz": _structures,
    "structure": _structures,
    "samples": _samples,
    "overlap-tables": _tables,
    "model": _model,
    "phonons": _phonons,
}


def _plain(value: Any) -> Any:
    """JSON-ready copy: numpy scalars and arrays as Python numbers and lists, NaN as None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value

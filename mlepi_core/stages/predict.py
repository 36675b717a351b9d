"""Verb `predict`: a trained network on structures or thermal samples."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from mlepi_core.artefacts import InputError, atomic_path, located, sha256_file

if TYPE_CHECKING:
    from ase import Atoms

    from mlepi_core.inference.hamiltonians import Task

DTYPES = ("float64", "float32")


def predict(
    model: str | os.PathLike[str],
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    device: str = "auto",
    dtype: str = "float64",
    batch_size: int = 4,
    pairs: int | None = None,
    progress: Callable[..., None] | None = None,
) -> dict[str, Any]:
    """Predict Hamiltonians (electron model) or energies and forces (phonon model).

    Parameters
    ----------
    model
        Model file; its kind decides what is predicted.
    source
        Any structure file that ASE reads, one frame or many, or a sample file.
    out
        Label store with H and S (electron), or extxyz with energy and forces (phonon). A committee writes
        means, and the spread of its members: `hamiltonian_spread` per block, `forces_spread` and
        `energy_spread`.
    device
        ``auto``, ``cpu`` or ``cuda``.
    dtype
        Type of the stored H and S; computed in float64 in any case.
    batch_size
        Structures per batch.
    pairs
        Only the first pairs of a sample file.
    progress
        Called ``progress(done, total)``.

    Returns
    -------
    dict
        ``kind``, ``n_structures``.
    """
    from mlepi_core.nn.model_file import check_species, load_members

    if dtype not in DTYPES:
        raise InputError("dtype", f"{dtype!r} is unknown", f"use one of {', '.join(DTYPES)}")
    tasks = list(sources(source, pairs))
    content = load_members(model)[0]
    kind = content.kind
    for task in tasks:
        where = os.fspath(source) if len(tasks) == 1 else f"{os.fspath(source)}: {task.name}"
        check_species(content.species, task.atoms.numbers, where)
    if kind == "phonon":
        _predict_forces(model, source, tasks, out, device, progress)
    else:
        _predict_hamiltonians(model, source, tasks, out, device, dtype, batch_size, progress)
    return {"kind": kind, "n_structures": len(tasks)}


def sources(path: str | os.PathLike[str], pairs: int | None = None) -> Iterator[Task]:
    """Structures of a file: samples with their temperature, pair and sign, or frames with a name each."""
    import h5py

    from mlepi_core.inference.hamiltonians import Task
    from mlepi_core.structures import read_frames

    if os.path.isfile(path) and h5py.is_hdf5(path):
        yield from _samples(path, pairs)
        return
    frames = read_frames(path)
    for number, atoms in enumerate(frames):
        name = str(atoms.info.get("name") or ("structure" if len(frames) == 1 else f"structure_{number:04d}"))
        yield Task(name, atoms)


def _samples(path: str | os.PathLike[str], pairs: int | None) -> Iterator[Task]:
    from mlepi_core.inference.hamiltonians import Task
    from mlepi_core.sampling import read_samples

    samples = read_samples(path)
    first = int(samples.pair.min())
    for k in range(len(samples)):
        if pairs is not None and samples.pair[k] - first >= pairs:
            continue
        attrs = {
            "temperature": samples.temperature,
            "pair": int(samples.pair[k]),
            "sign": int(samples.sign[k]),
            "reference_hash": samples.structure_hash,
            "seed": samples.seed,
            "imaginary_policy": samples.imaginary_policy,
            "n_touched_modes": len(samples.touched),
            "scheme": samples.scheme,
            "phonons_hash": samples.phonons_hash,
        }
        if samples.floor_cm1 is not None:
            attrs["floor_cm1"] = samples.floor_cm1
        yield Task(samples.name(k), samples.atoms(k), attrs)


def _predict_hamiltonians(
    model: str | os.PathLike[str],
    source: str | os.PathLike[str],
    tasks: list[Task],
    out: str | os.PathLike[str],
    device: str,
    dtype: str,
    batch_size: int,
    progress: Callable[..., None] | None,
) -> None:
    from mlepi_core.formats.store import StoreWriter
    from mlepi_core.inference.hamiltonians import predict_entries
    from mlepi_core.nn.hamiltonian import load_hamiltonian_model

    loaded = load_hamiltonian_model(model, device=device)
    attrs = {"engine": "mlepi", "model_sha256": sha256_file(model)}
    entries = predict_entries(loaded, tasks, batch_size)
    with StoreWriter(out, loaded.net.orbital_basis, attrs, dtype=dtype) as writer:
        for done in range(len(tasks)):
            with located(source):
                entry = next(entries)
            writer.add(entry)
            if progress is not None:
                progress(done + 1, len(tasks))


def _predict_forces(
    model: str | os.PathLike[str],
    source: str | os.PathLike[str],
    tasks: list[Task],
    out: str | os.PathLike[str],
    device: str,
    progress: Callable[..., None] | None,
) -> None:
    from ase.io import write

    from mlepi_core.inference.calculator import load_calculator

    calculator = load_calculator(model, device)
    frames: list[Atoms] = []
    for done, task in enumerate(tasks):
        with located(source):
            frames.append(_with_results(calculator, task))
        if progress is not None:
            progress(done + 1, len(tasks))
    with atomic_path(out) as temporary:
        write(temporary, frames, format="extxyz")


def _with_results(calculator: Any, task: Task) -> Atoms:
    from ase.calculators.singlepoint import SinglePointCalculator

    from mlepi_core.structures import ensure_layers

    atoms = ensure_layers(task.atoms)
    calculator.calculate(atoms, ["energy", "forces"])
    results = {key: calculator.results[key] for key in ("energy", "forces")}
    frame = atoms.copy()
    frame.info = {"name": task.name} | task.attrs
    if "energy_spread" in calculator.results:
        frame.info["energy_spread"] = calculator.results["energy_spread"]
        frame.arrays["forces_spread"] = calculator.results["forces_spread"]
    frame.calc = SinglePointCalculator(frame, **results)
    return frame

"""Training of the electron net: batches, loss, validation, and what goes into the model file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from typing import Any

import torch
from torch import Tensor

from mlepi_core.artefacts import InputError, digest, sha256_file
from mlepi_core.basis.two_centre import TwoCentreTables
from mlepi_core.basis.two_centre_fit import fit_hamiltonian
from mlepi_core.formats.store import LabelEntry
from mlepi_core.nn.electron import ElectronArchitecture
from mlepi_core.nn.electron_blocks import species_pair
from mlepi_core.nn.electron_graph import join_graphs
from mlepi_core.nn.hamiltonian import HamiltonianModel, hamiltonian_model, new_net
from mlepi_core.nn.model_file import ModelFile, load_model, resolve_device
from mlepi_core.orbitals import Basis
from mlepi_core.progress import Progress, silent
from mlepi_core.training.batches import MixedBatches
from mlepi_core.training.checkpoint import source_digest
from mlepi_core.training.electron_data import (
    Example,
    baseline_sample,
    cast_example,
    common_spin,
    complete_statistics,
    copies,
    data_digest,
    make_example,
    set_statistics,
)
from mlepi_core.training.electron_head import head_sizes
from mlepi_core.training.fit import Prepared, fit
from mlepi_core.training.loop import TrainingPaths, TrainingResult
from mlepi_core.training.phonon import DTYPES, check_selection
from mlepi_core.training.schedule import LoopSettings
from mlepi_core.training.start import given_keys, refuse_other_architecture

# Å, of the range of the orbitals in two sets of tables.
SUPPORT_TOLERANCE = 1e-6


class ElectronTask:
    """Electron net, its batches, loss and validation for `Trainer`.

    The loss is the mean over matrix elements of the pseudo-Huber function c² (sqrt(1 + (x/c)²) − 1), x in
    eV: a mean square error for x below c = `huber`, a mean absolute error above. None gives the mean square
    error.
    """

    name = "train_electron"
    validation_metric = "mae_meV"

    def __init__(
        self,
        model: HamiltonianModel,
        train: Sequence[Example],
        validation: Sequence[Example],
        *,
        huber: float | None,
        batch_size: int,
        small_per_step: int,
        seed: int,
    ) -> None:
        self.model, self.train, self.validation, self.huber = model.net, list(train), list(validation), huber
        sizes = [example.graph.n_atoms for example in train]
        self.batches = MixedBatches(sizes, batch_size, small_per_step, seed)

    def batch(self, step: int, rank: int = 0, of: int = 1) -> Example | None:
        """Batch of a step, or a process' share of it; depends on seed and step only."""
        members = [self.train[k] for k in self.batches.share(step, rank, of)]
        if not members:
            return None
        keys = {key for member in members for key in member.targets}
        targets = {key: torch.cat([m.targets[key] for m in members if key in m.targets]) for key in keys}
        elements = sum(self.train[k].elements for k in self.batches.members(step))
        return Example("", join_graphs([member.graph for member in members]), targets, elements)

    def atoms(self, step: int) -> int:
        """Atoms of all structures of a step."""
        return self.batches.atoms(step)

    def loss(self, batch: Example) -> Tensor:
        """Loss over all matrix elements of the batch, both copies of every Hermitian pair."""
        output = self.model(batch.graph)
        total = 0.0
        for key, target in sorted(batch.targets.items()):
            error = output[key] - target
            if self.huber is None:
                values = error.square()
            else:
                values = self.huber * (torch.sqrt(error.square() + self.huber**2) - self.huber)
            total = total + copies(key) * values.sum()
        return total / batch.elements

    def validate(self) -> dict[str, float]:
        """MAE and rms error of the matrix elements of the validation structures, meV."""
        absolute = square = count = 0.0
        with torch.no_grad():
            for example in self.validation:
                output = self.model(example.graph)
                for key, target in example.targets.items():
                    error = self.model.block_irreps[species_pair(key)].to_blocks(output[key] - target)
                    absolute += copies(key) * float(error.abs().sum(dtype=torch.float64))
                    square += copies(key) * float(error.abs().square().sum(dtype=torch.float64))
                    count += copies(key) * error.numel()
        return {"mae_meV": 1e3 * absolute / count, "rmse_meV": 1e3 * (square / count) ** 0.5}

    def describe(self, metrics: dict[str, float]) -> str:
        """Validation error for the progress line."""
        return f"val {metrics['mae_meV']:.2f} meV"


def train_electron(
    train: Sequence[LabelEntry],
    validation: Sequence[LabelEntry],
    section: Any,
    overlap: TwoCentreTables,
    out_model: str | os.PathLike[str],
    *,
    restart: str | os.PathLike[str] | None = None,
    history_csv: str | os.PathLike[str] | None = None,
    tensorboard: str | os.PathLike[str] | None = None,
    device: str = "auto",
    seed: int | None = None,
    progress: Progress = silent,
    initial: str | os.PathLike[str] | None = None,
) -> TrainingResult:
    """Train the electron net and write the model file.

    Parameters
    ----------
    train, validation
        Entries with H, S and layers, of one basis.
    section
        `training.electron` of the configuration.
    overlap
        Two-centre tables of S; they go into the model file, so that inference needs no DFT code.
    out_model
        Model file to write.
    restart
        Restart file, outside declared outputs; removed when the model is written.
    history_csv
        History, rewritten at every validation.
    tensorboard
        Folder of event files.
    seed
        In place of the section's.
    initial
        Model file to start from instead of random weights. Its architecture, scales and baseline stay, and
        scales of blocks that it has never seen are added.

    Returns
    -------
    TrainingResult
        Best step, best validation MAE (meV), history.
    """
    prepared = prepare_electron(
        train, validation, section, overlap, device=device, seed=seed, initial=initial
    )
    return fit(prepared, out_model, TrainingPaths(restart, history_csv, tensorboard), progress)


def prepare_electron(
    train: Sequence[LabelEntry],
    validation: Sequence[LabelEntry],
    section: Any,
    overlap: TwoCentreTables,
    *,
    device: str = "auto",
    seed: int | None = None,
    initial: str | os.PathLike[str] | None = None,
) -> Prepared:
    """Network, targets and statistics before the first step; arguments as of `train_electron`."""
    check_selection(train, "train")
    check_selection(validation, "validation")
    seed = int(section.seed if seed is None else seed)
    dtype, place = DTYPES[section.dtype], resolve_device(device)
    architecture = _architecture(section, overlap, common_spin([*train, *validation], section))
    if initial is None:
        model = _new_model(architecture, section, train, overlap, seed)
    else:
        model = _started_model(initial, architecture, section, overlap)
    architecture = model.net.arch
    examples = [make_example(model, entry) for entry in train]
    if initial is None:
        set_statistics(model, examples)
    else:
        complete_statistics(model, examples)
    model.net.to(device=place, dtype=dtype)
    parts = [[cast_example(model, entry, dtype) for entry in entries] for entries in (train, validation)]
    batches = {"batch_size": section.batch_size, "small_per_step": section.small_per_step}
    settings = LoopSettings.from_section(section)
    config = asdict(settings) | batches | {"huber": section.huber, "seed": seed, "dtype": section.dtype}
    data = data_digest([*train, *validation], model)
    start = "" if initial is None else sha256_file(initial)
    return Prepared(
        ElectronTask(model, *parts, huber=section.huber, seed=seed, **batches),
        settings,
        ModelFile(
            kind="electron",
            architecture=architecture.to_dict(),
            species=_species(train, initial),
            state_dict={},
            basis=overlap.basis.to_json(),
            tables={
                "overlap": overlap.to_dict(),
                "hamiltonian": None if model.baseline is None else model.baseline.to_dict(),
            },
            data_digest=data,
            config=config,
            start_sha256=start,
        ),
        digest([architecture.to_dict(), config, data, source_digest(), start]),
    )


def _architecture(section: Any, overlap: TwoCentreTables, spin: str) -> ElectronArchitecture:
    shells = {symbol: list(overlap.basis.shells_of(symbol)) for symbol in overlap.basis.species}
    names = {item.name for item in fields(ElectronArchitecture)} - {"shells", "support", "spin"}
    chosen = {name: getattr(section, name) for name in names if hasattr(section, name)}
    chosen["magnetic"] = section.magnetic and spin == "soc"
    chosen |= head_sizes(section, overlap.basis, spin, chosen["magnetic"])
    architecture = ElectronArchitecture(shells=shells, support=overlap.max_support, spin=spin, **chosen)
    return replace(architecture, message_cutoff=min(architecture.message_cutoff, overlap.max_support))


def _new_model(
    architecture: ElectronArchitecture,
    section: Any,
    train: Sequence[LabelEntry],
    overlap: TwoCentreTables,
    seed: int,
) -> HamiltonianModel:
    samples = [baseline_sample(entry) for entry in train]
    baseline = fit_hamiltonian(samples, overlap.basis) if section.delta else None
    return HamiltonianModel(new_net(architecture, seed), overlap, baseline)


def _started_model(
    initial: str | os.PathLike[str],
    architecture: ElectronArchitecture,
    section: Any,
    overlap: TwoCentreTables,
) -> HamiltonianModel:
    """Model of a file with the tables `overlap`, if it is what section and labels ask for."""
    content = load_model(initial, "electron")
    model = hamiltonian_model(content, device="cpu", where=initial)
    of_model, chosen = model.net.arch.to_dict(), architecture.to_dict()
    _refuse_other_labels(initial, model.net.arch, architecture)
    given = given_keys(section)
    if of_model["message_cutoff"] == of_model["support"] <= section.message_cutoff:
        given -= {"message_cutoff"}  # it was shortened to the support
    refuse_other_architecture(
        initial,
        "training.electron",
        of_model | {"delta": model.baseline is not None},
        chosen | {"delta": section.delta},
        given,
    )
    model.net.requires_grad_(True)
    return replace(model, overlap=overlap)


def _refuse_other_labels(
    initial: str | os.PathLike[str], of_model: ElectronArchitecture, of_labels: ElectronArchitecture
) -> None:
    """Refuse labels that differ from the model's in basis, spin or range of the orbitals."""
    remedy = "train on these labels from the beginning"
    if Basis(of_model.shells) != Basis(of_labels.shells):
        raise InputError(initial, f"has basis {of_model.shells}, the labels {of_labels.shells}", remedy)
    if of_model.spin != of_labels.spin:
        raise InputError(initial, f"is of spin {of_model.spin!r}, the labels of {of_labels.spin!r}", remedy)
    if abs(of_model.support - of_labels.support) > SUPPORT_TOLERANCE:
        reach = f"orbitals reach {of_model.support:.4f} Å, those of the labels {of_labels.support:.4f} Å"
        raise InputError(initial, reach, remedy)


def _species(train: Sequence[LabelEntry], initial: str | os.PathLike[str] | None) -> list[int]:
    """Atomic numbers of the structures, and of the model that the training started from."""
    earlier = [] if initial is None else load_model(initial, "electron").species
    return sorted({*earlier, *(int(number) for entry in train for number in entry.atoms.numbers)})

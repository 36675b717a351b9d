"""Training of the phonon net: data selection, statistics, batches, loss."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlepi_core.artefacts import InputError, digest, sha256_file
from mlepi_core.formats.store import LabelEntry
from mlepi_core.nn.model_file import ModelFile, check_species, load_model, load_phonon_net, resolve_device
from mlepi_core.nn.phonon import PhononArchitecture, PhononNet, PhononStatistics
from mlepi_core.nn.phonon_accelerators import accelerate
from mlepi_core.nn.phonon_graph import PhononBatch, PhononGraph, collate
from mlepi_core.progress import Progress, silent
from mlepi_core.training.batches import MixedBatches
from mlepi_core.training.checkpoint import source_digest
from mlepi_core.training.fit import Prepared, fit
from mlepi_core.training.loop import TrainingPaths, TrainingResult
from mlepi_core.training.phonon_metrics import energy_force_errors, error_row, labelled_graph, predict_graphs
from mlepi_core.training.schedule import LoopSettings
from mlepi_core.training.start import given_keys, refuse_other_architecture

__all__ = [
    "PhononLoss",
    "PhononTask",
    "check_selection",
    "entries_digest",
    "train_phonon",
    "training_statistics",
]

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class PhononLoss:
    """w_E mean_g w_g (dE_g/N_g)^2 + w_F sum_g w_g sum_ia dF^2 / (3 sum_g N_g).

    dE_g is zero for a structure without a labelled energy: its forces alone are learned.
    `energy_weight` per (eV/atom)^2, `force_weight` per (eV/Å)^2. With `force_floor` f0 (eV/Å) a structure's
    weight w_g goes as 1/(f_g^2 + f0^2), f_g its rms force, with mean one over all atoms: errors then
    count relative to the size of the forces, without which the weak forces between layers would drown.
    None: w_g = 1.
    """

    energy_weight: float = 1.0
    force_weight: float = 100.0
    force_floor: float | None = None

    def structure_weights(self, graphs: Sequence[PhononGraph]) -> list[float]:
        """w_g of every structure."""
        if self.force_floor is None:
            return [1.0] * len(graphs)
        weights = [1 / (float((graph.labels()[1] ** 2).mean()) + self.force_floor**2) for graph in graphs]
        mean = float(np.average(weights, weights=[len(graph.species) for graph in graphs]))
        return [weight / mean for weight in weights]

    def __call__(
        self, model: PhononNet, batch: PhononBatch, energy_share: float = 1.0, force_share: float = 1.0
    ) -> Tensor:
        """Scalar loss; batch.energy is the label without E0.

        Of a batch that is a part of a larger one: its contribution, given its shares of the structures
        (`energy_share`) and of the atoms (`force_share`).
        """
        if batch.energy is None or batch.forces is None:
            raise InputError(
                "batch", "has structures without energy or forces", "take them out of the selection"
            )
        energy, forces = model(batch, create_graph=True)
        n_atoms = batch.atoms_per_structure()
        target = torch.where(batch.energy.isnan(), energy.detach(), batch.energy)
        energy_part = (batch.weight * ((energy - target) / n_atoms).square()).mean()
        squares = (forces - batch.forces).square().sum(-1)
        force_part = (batch.weight[batch.structure] * squares).mean() / 3
        return self.energy_weight * energy_share * energy_part + self.force_weight * force_share * force_part


@dataclass(frozen=True)
class PhononShare:
    """What a process takes of a step's batch, and its shares of the structures and of the atoms."""

    batch: PhononBatch
    energy: float = 1.0
    force: float = 1.0


class PhononTask:
    """Phonon net, its batches, loss and validation for `Trainer`.

    Batches are made by `MixedBatches`: a few large structures and a few cells of the stacking scan each.
    """

    name = "train_phonon"
    validation_metric = "force_mae_meV_per_A"

    def __init__(
        self,
        model: PhononNet,
        train: Sequence[PhononGraph],
        validation: Sequence[PhononGraph],
        loss: PhononLoss,
        *,
        batch_size: int = 1,
        small_per_step: int = 4,
        seed: int = 1,
    ) -> None:
        self.model, self.validation, self.loss_function = model, list(validation), loss
        for graph, weight in zip(train, loss.structure_weights(train), strict=True):
            graph.weight = weight
        self.train = list(train)
        sizes = [len(graph.species) for graph in train]
        self.batches = MixedBatches(sizes, batch_size, small_per_step, seed)

    def batch(self, step: int, rank: int = 0, of: int = 1) -> PhononShare | None:
        """Batch of a step, or a process' share of it; depends on seed and step only."""
        members, own = self.batches.members(step), self.batches.share(step, rank, of)
        if not own:
            return None
        graphs = [self.train[index] for index in own]
        atoms = sum(len(graph.species) for graph in graphs)
        batch = collate(graphs, self.model.dtype, self.model.scale.device)
        return PhononShare(batch, len(own) / len(members), atoms / self.batches.atoms(step))

    def atoms(self, step: int) -> int:
        """Atoms of all structures of a step."""
        return self.batches.atoms(step)

    def loss(self, share: PhononShare) -> Tensor:
        """See `PhononLoss`."""
        return self.loss_function(self.model, share.batch, share.energy, share.force)

    def validate(self) -> dict[str, float]:
        """MAE of energies (meV/atom) and forces (meV/Å) on the validation structures."""
        predictions = predict_graphs(self.model, self.validation)
        rows = [
            error_row(graph.name, predicted, graph.labels())
            for graph, predicted in zip(self.validation, predictions, strict=True)
        ]
        errors = energy_force_errors(rows)
        return {
            key: errors[key]
            for key in ("energy_mae_meV_per_atom", "force_mae_meV_per_A", "force_rmse_meV_per_A")
            if key in errors
        }

    def describe(self, metrics: dict[str, float]) -> str:
        """Validation force error for the progress line."""
        return f"val {metrics['force_mae_meV_per_A']:.1f} meV/Å"


def check_selection(entries: Sequence[LabelEntry], purpose: str) -> None:
    """Refuse an empty selection, and entries that must not be learned from.

    Raises
    ------
    InputError
        If nothing is selected, or an entry is not converged or of split ``reference``.
    """
    if not entries:
        raise InputError(
            "labels", f"no structures for {purpose}", f"give a store with entries of split {purpose!r}"
        )
    for entry in entries:
        if entry.converged is False:
            raise InputError(entry.name, "its calculation is not converged", "repeat it or take it out")
        if entry.split == "reference":
            raise InputError(
                entry.name, f"is of split 'reference', never used for {purpose}", "choose other entries"
            )


def training_statistics(graphs: Sequence[PhononGraph], net: PhononNet) -> PhononStatistics:
    """Mean neighbours per relation, rms centred force (eV/Å), E0 per species (eV; see `atomic_energies`)."""
    forces = np.concatenate([graph.labels()[1] for graph in graphs])
    neighbours = {
        relation: float(np.concatenate([graph.tables[relation].count for graph in graphs]).mean())
        for relation in graphs[0].tables
    }
    statistics = PhononStatistics(neighbours, float(np.sqrt((forces**2).mean())), [0.0] * len(net.species))
    net.set_statistics(statistics)
    return replace(statistics, e0=atomic_energies(graphs, net))


def atomic_energies(graphs: Sequence[PhononGraph], net: PhononNet) -> list[float]:
    """E0 per species (eV) with which the net, as it is now, has the energies of the structures on average.

    The smallest change of the net's E0 that fits the labels' energies per atom by least squares: training
    then starts without an offset, and where compositions do not tell the species apart their differences
    stay. The constants have no effect on forces. Structures without energy do not count; if none has one,
    the constants stay as they are.
    """
    graphs = [graph for graph in graphs if not np.isnan(graph.labels()[0])]
    if not graphs:
        return [float(value) for value in net.e0]
    composition = np.array(
        [np.bincount(graph.species, minlength=len(net.species)) for graph in graphs], dtype=float
    )
    present = net.e0.double().cpu().numpy()
    predicted = np.array([energy for energy, _ in predict_graphs(net, graphs)]) + composition @ present
    residual = np.array([graph.labels()[0] for graph in graphs]) - predicted
    n_atoms = composition.sum(axis=1)
    change, *_ = np.linalg.lstsq(composition / n_atoms[:, None], residual / n_atoms, rcond=None)
    return [float(value) for value in present + change]


def entries_digest(entries: Sequence[LabelEntry]) -> str:
    """Digest of what the training sees: structures, layers, energies, forces."""
    return digest(
        [
            {
                "name": entry.name,
                "numbers": entry.atoms.numbers,
                "positions": entry.atoms.positions,
                "cell": np.asarray(entry.atoms.cell),
                "layer": entry.atoms.arrays.get("layer"),
                "energy": entry.energy,
                "forces": entry.forces,
            }
            for entry in entries
        ]
    )


def train_phonon(
    train: Sequence[LabelEntry],
    validation: Sequence[LabelEntry],
    section: Any,
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
    """Train the phonon net and write the model file.

    Parameters
    ----------
    train, validation
        Entries with energies, forces and layers.
    section
        `training.phonon` of the configuration (or any object with some of its fields; others take defaults).
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
        Model file to start from instead of random weights. Its species, architecture and statistics stay,
        but for the atomic energies: those are fitted to the training structures, whose energies may have
        another zero.

    Returns
    -------
    TrainingResult
        Best step, best validation force MAE (meV/Å), history.
    """
    prepared = prepare_phonon(train, validation, section, device=device, seed=seed, initial=initial)
    return fit(prepared, out_model, TrainingPaths(restart, history_csv, tensorboard), progress)


def prepare_phonon(
    train: Sequence[LabelEntry],
    validation: Sequence[LabelEntry],
    section: Any,
    *,
    device: str = "auto",
    seed: int | None = None,
    initial: str | os.PathLike[str] | None = None,
) -> Prepared:
    """Network, graphs and statistics before the first step; arguments as of `train_phonon`."""
    check_selection(train, "train")
    check_selection(validation, "validation")
    seed = int(getattr(section, "seed", 1) if seed is None else seed)
    if initial is None:
        present = sorted({int(number) for entry in train for number in entry.atoms.numbers})
        net = _new_net(present, _from_section(PhononArchitecture, section), seed)
    else:
        net = _started_net(initial, section)
    architecture, species = net.architecture, net.species
    for entry in (*train, *validation):
        check_species(species, entry.atoms.numbers, entry.name)
    graphs = [labelled_graph(entry, species, net.cutoffs) for entry in train]
    held_out = [labelled_graph(entry, species, net.cutoffs) for entry in validation]
    if initial is None:
        statistics = training_statistics(graphs, net)
    else:
        kept = PhononStatistics(**load_model(initial, "phonon").statistics)
        statistics = replace(kept, e0=atomic_energies(graphs, net))
    for graph in (*graphs, *held_out):
        graph.energy = graph.labels()[0] - float(np.asarray(statistics.e0)[graph.species].sum())
    net.set_statistics(statistics)
    net.to(device=resolve_device(device), dtype=DTYPES[getattr(section, "dtype", "float32")])
    accelerator = getattr(section, "accelerator", "none")
    accelerate(net, accelerator)
    settings, loss = LoopSettings.from_section(section), _from_section(PhononLoss, section)
    batches = {
        "batch_size": getattr(section, "batch_size", 1),
        "small_per_step": getattr(section, "small_per_step", 4),
    }
    config = (
        asdict(settings)
        | asdict(loss)
        | batches
        | {"seed": seed, "dtype": str(net.dtype).removeprefix("torch."), "accelerator": accelerator}
    )
    data = entries_digest([*train, *validation])
    start = "" if initial is None else sha256_file(initial)
    identity = [architecture.to_dict(), config, data, source_digest(), start]
    return Prepared(
        PhononTask(net, graphs, held_out, loss, seed=seed, **batches),
        settings,
        ModelFile(
            kind="phonon",
            architecture=architecture.to_dict(),
            species=species,
            state_dict={},
            statistics=asdict(statistics),
            data_digest=data,
            config=config,
            start_sha256=start,
        ),
        digest(identity),
    )


def _new_net(species: list[int], architecture: PhononArchitecture, seed: int) -> PhononNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PhononNet(species, architecture)


def _started_net(initial: str | os.PathLike[str], section: Any) -> PhononNet:
    """Net of a model file, if it is what the section asks for."""
    load_model(initial, "phonon")  # a single model, no committee
    net = load_phonon_net(initial).requires_grad_(True)
    chosen = asdict(_from_section(PhononArchitecture, section))
    refuse_other_architecture(
        initial, "training.phonon", asdict(net.architecture), chosen, given_keys(section)
    )
    return net


def _from_section(kind: type, section: Any) -> Any:
    return kind(
        **{item.name: getattr(section, item.name) for item in fields(kind) if hasattr(section, item.name)}
    )

"""Training of the electron net: tables, targets, statistics, batches, loss."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlepi_core.artefacts import InputError, digest
from mlepi_core.basis.two_centre import TwoCentreTables
from mlepi_core.basis.two_centre_fit import PairSample, fit_hamiltonian
from mlepi_core.formats.store import LabelEntry
from mlepi_core.graph import relation_masks
from mlepi_core.nn.electron import ElectronArchitecture
from mlepi_core.nn.electron_graph import ElectronGraph, join_graphs
from mlepi_core.nn.hamiltonian import HamiltonianModel, block_places, hamiltonian_model, new_net
from mlepi_core.nn.model_file import ModelFile, load_model, resolve_device, save_model
from mlepi_core.orbitals import Basis
from mlepi_core.progress import Progress, silent
from mlepi_core.structures.neighbours import pair_vectors
from mlepi_core.training.batches import MixedBatches
from mlepi_core.training.checkpoint import source_digest
from mlepi_core.training.loop import LoopSettings, Trainer, TrainingPaths, TrainingResult
from mlepi_core.training.phonon import DTYPES, check_selection

# Coefficients that vanish in the data (odd L of on-site blocks of one shell) keep a harmless scale.
SMALLEST_SCALE = 1e-6


@dataclass
class Example:
    """Graph of a structure and the coefficients that the network should give, by output key."""

    name: str
    graph: ElectronGraph
    targets: dict[str, Tensor]


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

    def batch(self, step: int) -> Example:
        """Batch of a step; depends on seed and step only."""
        members = [self.train[k] for k in self.batches.members(step)]
        keys = {key for member in members for key in member.targets}
        targets = {key: torch.cat([m.targets[key] for m in members if key in m.targets]) for key in keys}
        return Example("", join_graphs([member.graph for member in members]), targets)

    def loss(self, batch: Example) -> Tensor:
        """Loss over all matrix elements of the batch."""
        output = self.model(batch.graph)
        error = torch.cat([(output[key] - target).flatten() for key, target in sorted(batch.targets.items())])
        if self.huber is None:
            return error.square().mean()
        return self.huber * (torch.sqrt(error.square() + self.huber**2) - self.huber).mean()

    def validate(self) -> dict[str, float]:
        """MAE and rms error of the matrix elements of the validation structures, meV."""
        absolute = square = count = 0.0
        with torch.no_grad():
            for example in self.validation:
                output = self.model(example.graph)
                for key, target in example.targets.items():
                    a, b = (int(part) for part in key.split("_")[1:])
                    error = self.model.block_irreps[a, b].to_blocks(output[key] - target)
                    absolute += float(error.abs().sum(dtype=torch.float64))
                    square += float(error.square().sum(dtype=torch.float64))
                    count += error.numel()
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
    seed
        In place of the section's.
    initial
        Model file whose weights, scales and baseline to start from instead of random ones.

    Returns
    -------
    TrainingResult
        Best step, best validation MAE (meV), history.
    """
    check_selection(train, "train")
    check_selection(validation, "validation")
    seed = int(section.seed if seed is None else seed)
    dtype, place = DTYPES[section.dtype], resolve_device(device)
    architecture = _architecture(section, overlap)
    model = _initial_model(architecture, section, train, overlap, seed, initial)
    examples = [_example(model, entry) for entry in train]
    if initial is None:
        _set_statistics(model, examples)
    model.net.to(device=place, dtype=dtype)
    parts = [[_cast(model, entry, dtype) for entry in entries] for entries in (train, validation)]
    batches = {"batch_size": section.batch_size, "small_per_step": section.small_per_step}
    settings = LoopSettings.from_section(section)
    config = asdict(settings) | batches | {"huber": section.huber, "seed": seed, "dtype": section.dtype}
    data = _data_digest([*train, *validation], model)
    trainer = Trainer(
        ElectronTask(model, *parts, huber=section.huber, seed=seed, **batches),
        settings,
        TrainingPaths(restart, history_csv),
        digest=digest([architecture.to_dict(), config, data, source_digest(), str(initial or "")]),
        progress=progress,
    )
    result = trainer.run()
    save_model(
        out_model,
        ModelFile(
            kind="electron",
            architecture=architecture.to_dict(),
            species=sorted({int(number) for entry in train for number in entry.atoms.numbers}),
            state_dict={key: value.cpu() for key, value in result.state_dict.items()},
            basis=overlap.basis.to_json(),
            tables={
                "overlap": overlap.to_dict(),
                "hamiltonian": None if model.baseline is None else model.baseline.to_dict(),
            },
            history=result.history,
            data_digest=data,
            config=config,
        ),
    )
    trainer.discard_restart()
    return result


def _architecture(section: Any, overlap: TwoCentreTables) -> ElectronArchitecture:
    shells = {symbol: list(overlap.basis.shells_of(symbol)) for symbol in overlap.basis.species}
    names = {item.name for item in fields(ElectronArchitecture)} - {"shells", "support"}
    chosen = {name: getattr(section, name) for name in names if hasattr(section, name)}
    architecture = ElectronArchitecture(shells=shells, support=overlap.max_support, **chosen)
    return replace(architecture, message_cutoff=min(architecture.message_cutoff, overlap.max_support))


def _initial_model(
    architecture: ElectronArchitecture,
    section: Any,
    train: Sequence[LabelEntry],
    overlap: TwoCentreTables,
    seed: int,
    initial: str | os.PathLike[str] | None,
) -> HamiltonianModel:
    if initial is not None:
        content = load_model(initial, "electron")
        if ElectronArchitecture(**content.architecture) != architecture:
            raise InputError(
                initial, "has another architecture or basis", "use the settings that it was made with"
            )
        model = hamiltonian_model(content, device="cpu")
        model.net.requires_grad_(True)
        return replace(model, overlap=overlap)
    samples = [baseline_sample(entry) for entry in train]
    baseline = fit_hamiltonian(samples, overlap.basis) if section.delta else None
    return HamiltonianModel(new_net(architecture, seed), overlap, baseline)


def baseline_sample(entry: LabelEntry) -> PairSample:
    """What the fit of the two-centre baseline needs of an entry."""
    if entry.blocks is None or entry.blocks.hamiltonian is None:
        raise InputError(entry.name, "has no Hamiltonian", "take it out of the selection")
    i, j, cells = entry.blocks.pairs[:, 0], entry.blocks.pairs[:, 1], entry.blocks.pairs[:, 2:]
    vectors = pair_vectors(entry.atoms.positions, entry.atoms.cell.array, i, j, cells)
    arrays = entry.atoms.arrays
    intra, _ = relation_masks(i, j, cells, arrays["layer"], arrays.get("winding"))
    return PairSample(entry.name, entry.blocks, vectors, intra)


def _example(model: HamiltonianModel, entry: LabelEntry) -> Example:
    """Graph in the precision of the model, and targets of its outputs in float64."""
    matrix = entry.blocks.directed()
    residual = matrix.with_values(
        hamiltonian=matrix.hamiltonian - model.baseline_entries(entry.atoms, matrix)
    )
    graph = model.graph(entry.atoms, matrix)
    targets = {}
    for key, index in block_places(graph).items():
        a, b = (int(part) for part in key.split("_")[1:])
        blocks = torch.from_numpy(residual.dense_blocks("hamiltonian", index))
        targets[key] = model.net.block_irreps[a, b].to_coefficients(blocks)
    return Example(entry.name, graph, targets)


def _cast(model: HamiltonianModel, entry: LabelEntry, dtype: torch.dtype) -> Example:
    example = _example(model, entry)
    return replace(
        example, targets={key: value.to(model.device, dtype) for key, value in example.targets.items()}
    )


def _set_statistics(model: HamiltonianModel, examples: Sequence[Example]) -> None:
    """Shift and scale of every output, and mean neighbours of every relation, from the training data.

    The shift is the mean of the on-site scalars; the scale is the rms of a channel (shell pair, L), the
    same for all its components, as equivariance demands.
    """
    net = model.net
    with torch.no_grad():
        for key in {key for example in examples for key in example.targets}:
            a, b = (int(part) for part in key.split("_")[1:])
            irreps = net.block_irreps[a, b]
            values = torch.cat([example.targets[key] for example in examples if key in example.targets])
            if key.startswith("onsite"):
                scalar = torch.from_numpy((irreps.degree == 0) & (irreps.parity == 1))
                shift = torch.where(scalar, values.mean(dim=0), torch.zeros(irreps.size, dtype=values.dtype))
                getattr(net, f"shift_{key}").copy_(shift)
                values = values - shift
            mean_square = values.square().mean(dim=0)
            scale = torch.ones(irreps.size, dtype=values.dtype)
            for place in irreps.channel_slices:
                scale[place] = mean_square[place].mean().sqrt().clamp(min=SMALLEST_SCALE)
            getattr(net, f"scale_{key}").copy_(scale)
        for name, stack in net.stacks.items():
            near = sum(len(e.graph.edges[name].within(net.arch.message_cutoff).i) for e in examples)
            mean = max(near / sum(example.graph.n_atoms for example in examples), 1.0)
            for update in stack.node_updates:
                update.inverse_sqrt_neighbours.fill_(mean**-0.5)


def _data_digest(entries: Sequence[LabelEntry], model: HamiltonianModel) -> str:
    """Digest of what the training sees: structures, layers, blocks, overlap tables."""
    rows: list[Any] = [model.overlap.record]
    for entry in entries:
        atoms, blocks = entry.atoms, entry.blocks
        rows.append(
            {
                "name": entry.name,
                "numbers": atoms.numbers,
                "positions": atoms.positions,
                "cell": np.asarray(atoms.cell),
                "layer": atoms.arrays.get("layer"),
                "pairs": blocks.pairs,
                "sums": [float(blocks.hamiltonian.sum()), float(np.abs(blocks.hamiltonian).sum())],
            }
        )
    return digest(rows)


def common_basis(stores: Sequence[tuple[str, Basis | None]]) -> Basis:
    """Basis of several stores, by name; they must agree.

    Raises
    ------
    InputError
        If a store has no basis or another one.
    """
    name, basis = stores[0]
    for other, candidate in stores:
        if candidate is None:
            raise InputError(other, "holds no Hamiltonians", "give a store with Hamiltonians")
        if candidate != basis:
            raise InputError(
                other, f"basis {candidate.to_json()} is not that of {name}", "train each on its own"
            )
    assert basis is not None
    return basis

"""What the electron net learns from: labels as coefficients, their statistics, what they have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlepi_core.artefacts import InputError, digest
from mlepi_core.basis.two_centre_fit import PairSample
from mlepi_core.formats.spin import TIME_ODD_TOLERANCE
from mlepi_core.formats.store import LabelEntry
from mlepi_core.graph import relation_masks
from mlepi_core.nn.electron_blocks import block_coefficients, species_pair
from mlepi_core.nn.electron_graph import ElectronGraph
from mlepi_core.nn.hamiltonian import HamiltonianModel
from mlepi_core.orbitals import Basis
from mlepi_core.structures.neighbours import pair_vectors

# Coefficients that vanish in the data (odd L of on-site blocks of one shell) keep a harmless scale.
SMALLEST_SCALE = 1e-6


@dataclass
class Example:
    """Graph of a structure and the coefficients that the network should give, by output key.

    The loss is divided by `elements`: of this structure, or of the whole batch that this is a share of.
    """

    name: str
    graph: ElectronGraph
    targets: dict[str, Tensor]
    elements: int


def copies(key: str) -> int:
    """How often the blocks of an output key stand in the whole matrix: off-site ones with their partners."""
    return 1 if key.startswith("onsite") else 2


def baseline_sample(entry: LabelEntry) -> PairSample:
    """What the fit of the two-centre baseline needs of an entry."""
    if entry.blocks is None or entry.blocks.hamiltonian is None:
        raise InputError(entry.name, "has no Hamiltonian", "take it out of the selection")
    # The baseline is the same for both spins.
    i, j, cells = entry.blocks.pairs[:, 0], entry.blocks.pairs[:, 1], entry.blocks.pairs[:, 2:]
    vectors = pair_vectors(entry.atoms.positions, entry.atoms.cell.array, i, j, cells)
    arrays = entry.atoms.arrays
    intra, _ = relation_masks(i, j, cells, arrays["layer"], arrays.get("winding"))
    return PairSample(entry.name, entry.blocks.scalar_part(), vectors, intra)


def make_example(model: HamiltonianModel, entry: LabelEntry) -> Example:
    """Graph in the precision of the model, and targets of its outputs in float64."""
    matrix = entry.blocks
    residual = matrix.add_scalar(-model.baseline_entries(entry.atoms, matrix))
    topology = model.topology(entry.atoms, matrix)
    targets = block_coefficients(model.net.block_irreps, topology, residual)
    elements = sum(copies(key) * target.numel() for key, target in targets.items())
    return Example(entry.name, model.graph(topology, entry.atoms), targets, elements)


def cast_example(model: HamiltonianModel, entry: LabelEntry, dtype: torch.dtype) -> Example:
    """`make_example` with targets in the type of the training, on the device of the model."""
    example = make_example(model, entry)
    return replace(
        example, targets={key: value.to(model.device, dtype) for key, value in example.targets.items()}
    )


def set_statistics(model: HamiltonianModel, examples: Sequence[Example]) -> None:
    """Shift and scale of every output, and mean neighbours of every relation, from the training data.

    The shift is the mean of the on-site scalars; the scale is the rms of a channel (shell pair, L), the
    same for all its components, as equivariance demands.
    """
    net = model.net
    with torch.no_grad():
        for name, buffer in net.named_buffers():
            if name.startswith("scale_"):
                buffer.zero_()  # stays so for what no example has: `ElectronNet.trained_on`
        complete_statistics(model, examples)
        for name, stack in net.stacks.items():
            near = 2 * sum(len(example.graph.messages[name]) for example in examples)
            mean = max(near / sum(example.graph.n_atoms for example in examples), 1.0)
            for update in stack.node_updates:
                update.inverse_sqrt_neighbours.fill_(mean**-0.5)


@torch.no_grad()
def complete_statistics(model: HamiltonianModel, examples: Sequence[Example]) -> None:
    """Shift and scale of every output that has none yet and that the examples have."""
    for key in {key for example in examples for key in example.targets}:
        if not model.net.trained_on(key):
            _set_scale(model, key, [example.targets[key] for example in examples if key in example.targets])


def _set_scale(model: HamiltonianModel, key: str, targets: Sequence[Tensor]) -> None:
    net = model.net
    irreps, values = net.block_irreps[species_pair(key)], torch.cat(list(targets))
    if key.startswith("onsite"):
        scalar = torch.from_numpy((irreps.degree == 0) & (irreps.parity == 1))
        shift = torch.where(scalar, values.mean(dim=0), torch.zeros(irreps.size, dtype=values.dtype))
        getattr(net, f"shift_{key}").copy_(shift)
        values = values - shift
    mean_square = values.square().mean(dim=0)
    if len(set(species_pair(key))) == 1:
        # Either direction may be listed: a channel and its conjugate share their scale.
        mean_square = (mean_square + irreps.transpose(values).square().mean(dim=0)) / 2
    scale = torch.ones(irreps.size, dtype=values.dtype)
    for place in irreps.channel_slices:
        scale[place] = mean_square[place].mean().sqrt().clamp(min=SMALLEST_SCALE)
    getattr(net, f"scale_{key}").copy_(scale)


def common_spin(entries: Sequence[LabelEntry], section: Any) -> str:
    """Spin of the Hamiltonians, if the network can represent them.

    Raises
    ------
    InputError
        If an entry has no Hamiltonian, entries differ, are collinear, or are magnetic unasked.
    """
    for entry in entries:
        if entry.blocks is None or entry.blocks.hamiltonian is None:
            raise InputError(entry.name, "has no Hamiltonian", "take it out of the selection")
        spin = entry.blocks.spin
        if spin != entries[0].blocks.spin:
            other = entries[0]
            raise InputError(
                entry.name, f"has spin {spin!r}, {other.name} {other.blocks.spin!r}", "train each on its own"
            )
        if spin == "collinear":
            raise InputError(
                entry.name,
                "is spin-polarised (collinear), which the network does not learn",
                "give calculations without spin or with spin-orbit coupling",
            )
        if not section.magnetic and (odd := entry.blocks.time_odd_rms()) > TIME_ODD_TOLERANCE:
            raise InputError(
                entry.name,
                f"is magnetic: rms {1e3 * odd:.3g} meV of H break time reversal",
                "set training.electron.magnetic: true",
            )
    return entries[0].blocks.spin


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


def data_digest(entries: Sequence[LabelEntry], model: HamiltonianModel) -> str:
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
                "sums": [float(f(blocks.hamiltonian).sum()) for f in (np.real, np.imag, np.abs)],
            }
        )
    return digest(rows)

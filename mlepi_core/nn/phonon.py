"""HedgeNet-Phonon: energies and forces from a MACE-type net with one stack per edge relation.

Backbone: Batatia et al. 2022, arXiv:2206.07697; heterogeneous relations: arXiv:2602.23084, eq. 4;
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mlepi_core.artefacts import InputError
from mlepi_core.nn.phonon_blocks import FirstInteraction, Interaction, NodeUpdate, ScalarReadout
from mlepi_core.nn.phonon_dispersion import check_elements
from mlepi_core.nn.phonon_graph import PhononBatch, relation_cutoffs
from mlepi_core.nn.radial import BesselBasis, SphericalHarmonics

__all__ = ["PhononArchitecture", "PhononNet", "PhononStatistics"]


@dataclass
class PhononArchitecture:
    """Everything that fixes the net's shape; distances in Å.

    `relations`: ``hetero`` (intra and inter edges have their own weights) or ``homo``. `fusion` of hetero:
    ``late`` (independent stacks, node features summed for the readouts) or ``layerwise`` (features A of both
    relations summed in every layer before one product). `d2_baseline`: the net learns the difference from
    DFT-D2, which is added to its energies and forces (`mlepi_core.nn.phonon_dispersion`).
    """

    relations: str = "hetero"
    fusion: str = "late"
    channels: int = 16
    lmax_hidden: int = 1
    max_ell: int = 3
    correlation: int = 3
    layers: int = 2
    cutoff_intra: float = 5.0
    cutoff_inter: float = 6.0
    n_radial: int = 8
    radial_hidden: Sequence[int] = (64, 64)
    readout_hidden: int = 16
    d2_baseline: bool = False

    def __post_init__(self) -> None:
        self.radial_hidden = tuple(self.radial_hidden)
        if self.fusion not in ("late", "layerwise"):
            raise InputError("fusion", f"{self.fusion!r} is unknown", "use late or layerwise")
        if self.layers < 1:
            raise InputError("layers", f"{self.layers} is too few", "use at least 1")
        if not 1 <= self.correlation <= 3:
            raise InputError("correlation", f"{self.correlation} is not supported", "use 1, 2 or 3")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the model file."""
        return asdict(self) | {"radial_hidden": list(self.radial_hidden)}


@dataclass
class PhononStatistics:
    """What the training set fixes.

    Mean `neighbours` per relation, `scale` (rms force component, eV/Å), `e0` per species and `shift`
    (eV/atom).
    """

    neighbours: Mapping[str, float] = field(default_factory=dict)
    scale: float = 1.0
    e0: Sequence[float] = (0.0,)
    shift: float = 0.0


class _RelationSum(nn.ModuleDict):
    """Interactions of several relations on the same nodes, summed."""

    def forward(
        self, h: Tensor, species: Tensor, edges: Mapping[str, tuple[Tensor, Tensor, Tensor]]
    ) -> Tensor:
        return sum(block(h, species, *edges[relation]) for relation, block in self.items())


def _interaction(layer: int, n_species: int, arch: PhononArchitecture) -> Interaction:
    sizes = {"channels": arch.channels, "n_radial": arch.n_radial, "radial_hidden": arch.radial_hidden}
    if layer == 0:
        return FirstInteraction(arch.max_ell, n_species=n_species, **sizes)
    return Interaction(arch.lmax_hidden, arch.max_ell, **sizes)


class _Stream(nn.Module):
    """A chain of layers that reads one or more relations and keeps its own node features."""

    def __init__(self, relations: Sequence[str], n_species: int, arch: PhononArchitecture) -> None:
        super().__init__()
        k = arch.channels
        self.embedding = nn.Parameter(torch.randn(n_species, k, dtype=torch.float64))
        self.interactions, self.updates = nn.ModuleList(), nn.ModuleList()
        for layer in range(arch.layers):
            lmax_in = 0 if layer == 0 else arch.lmax_hidden
            lmax_out = 0 if layer == arch.layers - 1 else arch.lmax_hidden
            self.interactions.append(
                _RelationSum({relation: _interaction(layer, n_species, arch) for relation in relations})
            )
            self.updates.append(
                NodeUpdate(
                    n_species, k, arch.max_ell, lmax_in, lmax_out, arch.correlation, residual=layer > 0
                )
            )

    def forward(self, species: Tensor, edges: Mapping[str, tuple[Tensor, Tensor, Tensor]]) -> list[Tensor]:
        """Node features after every layer."""
        h = self.embedding
        outputs = []
        for interaction, update in zip(self.interactions, self.updates, strict=True):
            features = interaction(h, species, edges)
            h = update(features, h, species)
            outputs.append(h)
        return outputs


class PhononNet(nn.Module):
    """Energy and forces of a structure; E = sum_i E0(Z_i) + sum_i (scale sum_t eps_i^t + shift).

    Parameters
    ----------
    species
        Atomic numbers, ascending.
    architecture, statistics
        See `PhononArchitecture`, `PhononStatistics`.

    Notes
    -----
    Built in float64; cast with ``.to(torch.float32)`` for training only. Without inter edges the inter stream
    is exactly zero: its first block has no skip, and there are no biases and no constant product terms.
    """

    scale: Tensor
    shift: Tensor
    e0: Tensor

    def __init__(
        self,
        species: Sequence[int],
        architecture: PhononArchitecture | None = None,
        statistics: PhononStatistics | None = None,
    ) -> None:
        super().__init__()
        self.species = [int(number) for number in species]
        self.architecture = arch = architecture or PhononArchitecture()
        if arch.d2_baseline:
            check_elements(self.species)
        self.cutoffs = relation_cutoffs(arch.relations, arch.cutoff_intra, arch.cutoff_inter)
        names = list(self.cutoffs)
        streams = {name: [name] for name in names} if arch.fusion == "late" else {"fused": names}
        self.harmonics = SphericalHarmonics(arch.max_ell)
        self.radial = nn.ModuleDict(
            {name: BesselBasis(cut, arch.n_radial) for name, cut in self.cutoffs.items()}
        )
        self.streams = nn.ModuleDict(
            {name: _Stream(relations, len(self.species), arch) for name, relations in streams.items()}
        )
        self.readouts = nn.ModuleList(
            ScalarReadout(arch.channels, arch.readout_hidden if layer == arch.layers - 1 else None)
            for layer in range(arch.layers)
        )
        for name in names:
            self.register_buffer(f"neighbours_{name}", torch.ones((), dtype=torch.float64))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))
        self.register_buffer("shift", torch.zeros((), dtype=torch.float64))
        self.register_buffer("e0", torch.zeros(len(self.species), dtype=torch.float64))
        if statistics is not None:
            self.set_statistics(statistics)

    def set_statistics(self, statistics: PhononStatistics) -> None:
        """Take over the training set's constants; a relation without neighbours is divided by one."""
        for name in self.cutoffs:
            value = float(statistics.neighbours.get(name, 0.0))
            getattr(self, f"neighbours_{name}").fill_(value if value > 0 else 1.0)
        self.scale.fill_(statistics.scale if statistics.scale > 0 else 1.0)
        self.shift.fill_(statistics.shift)
        self.e0.copy_(torch.as_tensor(statistics.e0, dtype=self.e0.dtype))

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the weights."""
        return self.scale.dtype

    def _edges(self, batch: PhononBatch, positions: Tensor) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        """Per relation: sender (N, M), radial basis over the mean neighbour number, harmonics (N, D, M)."""
        edges = {}
        for relation, (sender, shift) in batch.tables.items():
            neighbour = positions.index_select(0, sender.reshape(-1)).reshape(*sender.shape, 3)
            vector = neighbour + shift - positions[:, None, :]
            distance = vector.square().sum(-1).sqrt()
            basis = self.radial[relation](distance) / math.sqrt(self.architecture.n_radial)
            harmonics = self.harmonics(vector / distance[..., None]).transpose(1, 2)
            edges[relation] = (sender, basis, harmonics / getattr(self, f"neighbours_{relation}"))
        return edges

    def node_energies(self, batch: PhononBatch, positions: Tensor | None = None) -> Tensor:
        """Interaction energy of every atom (N,), eV: without E0, which is constant and large."""
        x = batch.positions if positions is None else positions
        energies = self._learned_energies(batch, x)
        return energies + batch.dispersion_energies(x) if self.architecture.d2_baseline else energies

    def _learned_energies(self, batch: PhononBatch, positions: Tensor) -> Tensor:
        edges = self._edges(batch, positions)
        per_stream = [stream(batch.species, edges) for stream in self.streams.values()]
        scalars = [[features[:, 0] for features in outputs] for outputs in per_stream]
        terms = [
            readout(sum(layer))
            for readout, layer in zip(self.readouts, zip(*scalars, strict=True), strict=True)
        ]
        return self.scale * sum(terms) + self.shift

    def forward(self, batch: PhononBatch, *, create_graph: bool = False) -> tuple[Tensor, Tensor]:
        """Interaction energies (G,) eV and forces (N, 3) eV/Å = -dE/dx.

        Parameters
        ----------
        create_graph
            True in training, where the loss differentiates the forces.
        """
        with torch.enable_grad():
            positions = batch.positions.detach().requires_grad_(True)
            atomic = self._learned_energies(batch, positions)
            (gradient,) = torch.autograd.grad(atomic.sum(), positions, create_graph=create_graph)
        energies = atomic.new_zeros(batch.n_structures).index_add(0, batch.structure, atomic)
        if self.architecture.d2_baseline:
            # No weights in it, so a training step takes it from the structures, where it is computed once.
            dispersion, dispersion_forces = batch.dispersion_labels()
            energies, gradient = energies + dispersion, gradient - dispersion_forces
        return (energies if create_graph else energies.detach()), -gradient

    def reference_energies(self, batch: PhononBatch) -> Tensor:
        """Sum of E0 per structure (G,), eV, float64."""
        e0 = self.e0.double()[batch.species]
        return e0.new_zeros(batch.n_structures).index_add(0, batch.structure, e0)

"""Phonon net as a subject: energy and forces, and the backward pass of a loss in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from mlepi_core.benchmark.cells import bilayer
from mlepi_core.benchmark.subject import TorchSubject, parameter_count
from mlepi_core.nn.phonon import PhononArchitecture, PhononNet, PhononStatistics
from mlepi_core.nn.phonon_graph import build_graph, collate

CARBON = 6


def make(spec: Mapping[str, Any]) -> TorchSubject:
    """Subject of a specification."""
    return EnergyForces(spec)


class EnergyForces(TorchSubject):
    """Random net of a specification on one cell."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        super().__init__(spec["device"], spec["threads"])
        torch.manual_seed(spec["seed"])
        self.net = PhononNet([CARBON], PhononArchitecture(**spec["architecture"]))
        graph = build_graph(bilayer(spec["n_atoms"]), [CARBON], self.net.cutoffs)
        counts = {name: table.count for name, table in graph.tables.items()}
        means = {name: float(np.mean(count)) for name, count in counts.items()}
        self.net.set_statistics(PhononStatistics(means))
        self.net.to(device=self.device, dtype=getattr(torch, spec["dtype"]))
        self.edges = {name: int(count.sum()) for name, count in counts.items()}
        self.batch = collate([graph], self.net.dtype, self.device)

    def info(self) -> dict[str, Any]:
        """Parameters, and directed edges by relation."""
        return {"parameters": parameter_count(self.net), "edges": self.edges}

    def forward(self) -> None:
        """Energy and forces."""
        self.net(self.batch)

    def step(self) -> None:
        """Energy, forces, and the backward pass of a loss in both."""
        self.net.zero_grad(set_to_none=True)
        energy, forces = self.net(self.batch, create_graph=True)
        (energy.square().mean() + forces.square().mean()).backward()

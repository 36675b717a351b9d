"""Electron net as a subject: one pass over a bilayer cell, or H of a whole structure."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import e3nn
import torch
from torch import nn

from mlepi_core.basis.two_centre import overlap_blocks
from mlepi_core.benchmark.cells import SUPPORT, bilayer, synthetic_overlap, twisted_bilayer
from mlepi_core.benchmark.subject import TorchSubject, parameter_count, time_modules
from mlepi_core.nn.electron_layers import ElectronArchitecture
from mlepi_core.nn.hamiltonian import HamiltonianModel, new_net

LAYERS = ("NodeUpdate", "EdgeUpdate", "Head", "OnsiteHead")


def make(spec: Mapping[str, Any]) -> TorchSubject:
    """Subject of a specification: ``prediction`` or a training step."""
    e3nn.set_optimization_defaults(jit_mode="script")
    return (Prediction if spec.get("prediction") else TrainingStep)(spec)


def model_of(spec: Mapping[str, Any]) -> HamiltonianModel:
    """Random net of a specification with synthetic overlap tables, no baseline."""
    architecture = ElectronArchitecture(support=SUPPORT, **spec["architecture"])
    net = new_net(architecture, seed=spec["seed"])
    net.to(device=spec["device"], dtype=getattr(torch, spec["dtype"]))
    return HamiltonianModel(net, synthetic_overlap(architecture.shells["C"]))


class TrainingStep(TorchSubject):
    """Forward, and forward and backward, of one cell; the graph is there already."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        super().__init__(spec["device"], spec["threads"])
        model = model_of(spec)
        atoms = bilayer(spec["n_atoms"])
        self.net = model.net
        start = time.perf_counter()
        matrix = overlap_blocks(atoms, model.overlap)
        self.graph = model.graph(model.topology(atoms, matrix), atoms)
        self.build_seconds = time.perf_counter() - start

    def info(self) -> dict[str, Any]:
        """Parameters, directed message edges and pairs with a block by relation, time to build the graph."""
        return {
            "parameters": parameter_count(self.net),
            "edges": {name: 2 * len(edges) for name, edges in self.graph.messages.items()},
            "blocks": {name: len(edges) for name, edges in self.graph.blocks.items()},
            "graph_seconds": self.build_seconds,
        }

    def forward(self) -> None:
        """Inference."""
        with torch.no_grad():
            self.net(self.graph)

    def step(self) -> None:
        """Forward and backward, as in a training step."""
        self.net.zero_grad(set_to_none=True)
        sum(values.square().mean() for values in self.net(self.graph).values()).backward()

    def layers(self) -> dict[str, float]:
        """Seconds of a forward pass (inference) in every kind of layer, and in all the rest."""
        start = time.perf_counter()
        spent = time_modules(_layers(self.net), self.forward, self.synchronize)
        return spent | {"rest": time.perf_counter() - start - sum(spent.values())}


def _layers(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in net.named_modules():
        if type(module).__name__ in LAYERS:
            yield f"{name} ({type(module).__name__})", module


class Prediction(TorchSubject):
    """H and S of a twisted bilayer, from positions to blocks."""

    actions = ("predict",)

    def __init__(self, spec: Mapping[str, Any]) -> None:
        super().__init__(spec["device"], spec["threads"])
        self.model = model_of(spec)
        self.model.net.requires_grad_(False)
        self.atoms = (
            twisted_bilayer(spec["twist_index"]) if "twist_index" in spec else bilayer(spec["n_atoms"])
        )

    def info(self) -> dict[str, Any]:
        """Number of atoms and of parameters."""
        return {"n_atoms": len(self.atoms), "parameters": parameter_count(self.model.net)}

    def predict(self) -> None:
        """H and S."""
        self.model.predict([self.atoms])

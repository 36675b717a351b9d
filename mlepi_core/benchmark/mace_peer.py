"""mace-torch (I. Batatia et al., arXiv 2206.07697) as a subject; runs in an environment of its own.

Nothing of this package but light modules is imported, so that the environment needs only mace-torch.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mace import modules

from mlepi_core.benchmark.subject import TorchSubject, parameter_count

CARBON = 6


def make(spec: Mapping[str, Any]) -> TorchSubject:
    """Subject of a specification; ``case`` names the file with the edges."""
    return Mace(spec)


class Mace(TorchSubject):
    """MACE with the hyper-parameters of our phonon net on the same edges."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        super().__init__(spec["device"], spec["threads"])
        torch.manual_seed(spec["seed"])
        dtype = getattr(torch, spec["dtype"])
        torch.set_default_dtype(dtype)
        with np.load(spec["case"]) as case:
            self.data = _inputs(case, dtype, self.device)
        edges, atoms = self.data["edge_index"].shape[1], len(self.data["positions"])
        self.net = _network(spec["architecture"], edges / atoms).to(self.device)

    def info(self) -> dict[str, Any]:
        """Parameters, directed edges, version."""
        return {
            "parameters": parameter_count(self.net),
            "edges": {"all": self.data["edge_index"].shape[1]},
            "versions": {
                name: importlib.metadata.version(name) for name in ("mace-torch", "e3nn", "torch", "numpy")
            },
        }

    def forward(self) -> None:
        """Energy and forces."""
        self.net(dict(self.data), training=False, compute_force=True)

    def step(self) -> None:
        """Energy, forces, and the backward pass of a loss in both."""
        self.net.zero_grad(set_to_none=True)
        self.data["positions"].grad = None
        result = self.net(dict(self.data), training=True, compute_force=True)
        (result["energy"].square().mean() + result["forces"].square().mean()).backward()


def _inputs(case: Any, dtype: torch.dtype, device: torch.device) -> dict[str, torch.Tensor]:
    n_atoms = len(case["positions"])
    real = {name: torch.from_numpy(case[name]).to(dtype) for name in ("positions", "shifts", "cell")}
    whole = {
        "edge_index": torch.from_numpy(case["edge_index"]),
        "batch": torch.zeros(n_atoms, dtype=torch.int64),
        "ptr": torch.tensor([0, n_atoms]),
        "head": torch.zeros(1, dtype=torch.int64),
    }
    one_hot = {"node_attrs": torch.ones(n_atoms, 1, dtype=dtype)}
    return {name: value.to(device) for name, value in (real | whole | one_hot).items()}


def _network(architecture: Mapping[str, Any], neighbours: float) -> torch.nn.Module:
    from e3nn import o3  # after mace, which makes this old version's constants loadable

    channels = architecture["channels"]
    hidden = [(channels, (l, (-1) ** l)) for l in range(architecture["lmax_hidden"] + 1)]
    return modules.ScaleShiftMACE(
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
        r_max=architecture["cutoff_intra"],
        num_bessel=architecture["n_radial"],
        num_polynomial_cutoff=5,
        max_ell=architecture["max_ell"],
        interaction_cls_first=modules.interaction_classes["RealAgnosticInteractionBlock"],
        interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        num_interactions=architecture["layers"],
        num_elements=1,
        hidden_irreps=o3.Irreps(hidden),
        MLP_irreps=o3.Irreps([(architecture["readout_hidden"], (0, 1))]),
        gate=torch.nn.functional.silu,
        atomic_energies=np.zeros(1),
        avg_num_neighbors=neighbours,
        atomic_numbers=[CARBON],
        correlation=architecture["correlation"],
        radial_MLP=list(architecture["radial_hidden"]),
    )

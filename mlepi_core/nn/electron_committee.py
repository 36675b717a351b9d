"""Committee of electron nets: their mean wherever one net serves, and the members one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mlepi_core.nn.electron import ElectronNet
from mlepi_core.nn.electron_graph import ElectronGraph

__all__ = ["ElectronCommittee"]

# What all members have in common; anything else of a net is a member's own.
_SHARED = frozenset({"arch", "orbital_basis", "block_irreps", "relations", "lmax", "embedding", "trained_on"})


class ElectronCommittee(nn.Module):
    """Nets of one architecture and basis that differ in their weights; their mean is the prediction.

    It has the attributes of a net that describe its graphs and outputs; `embedding` (the first member's)
    tells type and device.

    Parameters
    ----------
    members
        At least one net.
    """

    def __init__(self, members: Sequence[ElectronNet]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.members[0], name) if name in _SHARED else super().__getattr__(name)

    def members_forward(self, graph: ElectronGraph, chunk: int | None = None) -> list[dict[str, Tensor]]:
        """Coefficients of every member, as `ElectronNet.forward` gives them; `chunk` edges at once."""
        return [member(graph, chunk) for member in self.members]

    def forward(self, graph: ElectronGraph, chunk: int | None = None) -> dict[str, Tensor]:
        """Mean coefficients per block kind, in eV."""
        outputs = self.members_forward(graph, chunk)
        return {key: sum(output[key] for output in outputs) / len(outputs) for key in outputs[0]}

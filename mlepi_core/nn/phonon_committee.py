"""Committee of phonon nets: their mean wherever one net serves, and the members one by one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mlepi_core.nn.phonon import PhononNet
from mlepi_core.nn.phonon_graph import PhononBatch

__all__ = ["PhononCommittee"]


class PhononCommittee(nn.Module):
    """Nets of one architecture and the same species that differ in their weights; they predict their mean.

    Parameters
    ----------
    members
        At least one net.
    """

    def __init__(self, members: Sequence[PhononNet]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.species, self.architecture, self.cutoffs = (
            members[0].species,
            members[0].architecture,
            members[0].cutoffs,
        )

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the weights."""
        return self.members[0].dtype

    @property
    def scale(self) -> Tensor:
        """Mean energy scale of the members, eV; its device is that of the nets."""
        return torch.stack([member.scale for member in self.members]).mean(0)

    @property
    def e0(self) -> Tensor:
        """Mean energy per atom of each species, eV."""
        return torch.stack([member.e0 for member in self.members]).mean(0)

    def members_forward(self, batch: PhononBatch) -> tuple[Tensor, Tensor]:
        """Interaction energies (k, G) eV and forces (k, N, 3) eV/Å of every member."""
        energies, forces = zip(*(member(batch) for member in self.members), strict=True)
        return torch.stack(energies), torch.stack(forces)

    def members_energies(self, batch: PhononBatch, energies: Tensor) -> Tensor:
        """Total energies (k, G) in eV of `members_forward`'s: with each member's own E0, which differ."""
        references = torch.stack([member.reference_energies(batch) for member in self.members])
        return energies + references

    def node_energies(self, batch: PhononBatch, positions: Tensor | None = None) -> Tensor:
        """Mean interaction energy of every atom (N,), eV."""
        return sum(member.node_energies(batch, positions) for member in self.members) / len(self.members)

    def forward(self, batch: PhononBatch) -> tuple[Tensor, Tensor]:
        """Mean interaction energies (G,) eV and forces (N, 3) eV/Å."""
        energies, forces = self.members_forward(batch)
        return energies.mean(0), forces.mean(0)

    def reference_energies(self, batch: PhononBatch) -> Tensor:
        """Mean sum of E0 per structure (G,), eV, float64."""
        return sum(member.reference_energies(batch) for member in self.members) / len(self.members)

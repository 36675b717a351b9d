"""ASE calculator of the phonon net: energies, forces and Hessians in float64."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from mlepi_core.artefacts import InputError
from mlepi_core.inference.phonon_spread import phonon_spread
from mlepi_core.nn.model_file import check_species, load_phonon_net
from mlepi_core.nn.phonon import PhononNet
from mlepi_core.nn.phonon_committee import PhononCommittee
from mlepi_core.nn.phonon_graph import PhononBatch, build_graph, collate
from mlepi_core.structures.layers import ensure_layers

__all__ = ["PhononCalculator", "load_calculator"]


class PhononCalculator(Calculator):
    """Energy (eV) and forces (eV/Å) of a phonon net.

    Of a committee they are means, and `results` holds ``energy_spread`` (eV) and ``forces_spread`` (N, 3) in
    eV/Å as well: sample standard deviations over the members.

    The neighbour tables are made with a skin and reused until an atom has moved by half of it, so that the
    displaced copies of one supercell share them; the envelope keeps energies and forces smooth and the skin
    without effect on them.

    Layers are an atoms' array ``layer``. Where it is absent, layers are assigned once and kept for structures
    of the same elements and cell: labels never change under displacements.

    Parameters
    ----------
    model
        Net in float64 (`load_calculator`).
    skin
        Å.
    """

    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012 (ASE's interface)

    def __init__(self, model: PhononNet | PhononCommittee, *, skin: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if model.dtype != torch.float64:
            raise InputError(
                "model", f"is {model.dtype}", "force constants need float64: load with load_calculator"
            )
        self.model, self.skin = model, skin
        self._reference: Atoms | None = None
        self._batch: PhononBatch | None = None

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """ASE's entry point."""
        super().calculate(atoms, list(properties), list(system_changes))
        batch = self._graph(self.atoms)
        if isinstance(self.model, PhononCommittee):
            found = phonon_spread(self.model, batch)
            energy, forces = float(found.energy[0]), found.forces
            spread = {"energy_spread": float(found.energy_spread[0]), "forces_spread": found.forces_spread}
        else:
            energies, tensor = self.model(batch)
            energy = float(energies[0] + self.model.reference_energies(batch)[0])
            forces, spread = tensor.cpu().numpy(), {}
        self.results = {"energy": energy, "free_energy": energy, "forces": forces} | spread

    def hessian(self, atoms: Atoms, rows: Sequence[int] | None = None, *, chunk: int = 12) -> np.ndarray:
        """Second derivatives of the energy (R, 3, N, 3), eV/Å^2, by automatic differentiation.

        Parameters
        ----------
        rows
            Atoms whose rows are wanted, R of them; None: all N.
        chunk
            Rows differentiated at once; fewer take less memory.
        """
        batch = self._graph(atoms)
        n_atoms = len(batch.positions)
        chosen = np.arange(n_atoms)[slice(None) if rows is None else np.asarray(rows, dtype=int)]
        components = torch.as_tensor((3 * chosen[:, None] + np.arange(3)).reshape(-1))
        positions = batch.positions.detach().requires_grad_(True)
        energy = self.model.node_energies(batch, positions).sum()
        (gradient,) = torch.autograd.grad(energy, positions, create_graph=True)
        flat = gradient.reshape(-1)

        def row(unit: torch.Tensor) -> torch.Tensor:
            return torch.autograd.grad(flat, positions, unit, retain_graph=True)[0]

        parts = []
        for part in components.split(chunk):
            units = torch.nn.functional.one_hot(part, len(flat)).to(flat)
            parts.append(torch.func.vmap(row)(units).reshape(len(part), len(flat)).cpu())
        return torch.cat(parts).numpy().reshape(len(chosen), 3, n_atoms, 3)

    def _graph(self, atoms: Atoms) -> PhononBatch:
        """Batch of one structure: kept tables with the new positions, or new tables."""
        positions = np.asarray(atoms.positions, dtype=np.float64)
        if (
            self._batch is None
            or self._reference is None
            or not self._fits(self._reference, atoms, positions)
        ):
            self._reference, self._batch = self._rebuilt(atoms)
        self._batch = self._batch.moved(positions.copy())
        return self._batch

    def _rebuilt(self, atoms: Atoms) -> tuple[Atoms, PhononBatch]:
        check_species(self.model.species, atoms.numbers, "structure")
        reference = atoms.copy()
        if "layer" not in reference.arrays:
            labelled = self._kept_layers(reference)
            reference = ensure_layers(reference) if labelled is None else labelled
        graph = build_graph(reference, self.model.species, self.model.cutoffs, skin=self.skin)
        return reference, collate([graph], torch.float64, self.model.scale.device)

    def _kept_layers(self, atoms: Atoms) -> Atoms | None:
        old = self._reference
        if (
            old is None
            or not np.array_equal(old.numbers, atoms.numbers)
            or not np.allclose(old.cell, atoms.cell)
        ):
            return None
        for name in ("layer", "winding"):
            if name in old.arrays:
                atoms.arrays[name] = old.arrays[name].copy()
        return atoms

    def _fits(self, old: Atoms, atoms: Atoms, positions: np.ndarray) -> bool:
        """The tables of `old` serve `atoms`: same atoms, cell and layers, nothing moved by half the skin."""
        if len(old) != len(atoms) or not np.array_equal(old.numbers, atoms.numbers):
            return False
        if not np.array_equal(old.cell.array, atoms.cell.array) or not np.array_equal(old.pbc, atoms.pbc):
            return False
        for name in ("layer", "winding"):
            # A structure without labels keeps those of the reference.
            if name in atoms.arrays and (
                name not in old.arrays or not np.array_equal(old.arrays[name], atoms.arrays[name])
            ):
                return False
        moved = np.linalg.norm(positions - old.positions, axis=1).max(initial=0.0)
        return bool(moved < 0.5 * self.skin)


def load_calculator(
    model_path: str | os.PathLike[str], device: str = "auto", *, skin: float = 0.5
) -> PhononCalculator:
    """Calculator of a phonon model file; `device` is auto, cpu or cuda."""
    return PhononCalculator(load_phonon_net(model_path, device=device), skin=skin)

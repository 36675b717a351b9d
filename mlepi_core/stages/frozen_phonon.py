"""Splitting of the Dirac cone by frozen E2g and A1' phonons, from true and from predicted Hamiltonians."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlepi_core.artefacts import InputError, located, write_csv

if TYPE_CHECKING:
    from ase import Atoms

    from mlepi_core.formats.blocks import BlockMatrix
    from mlepi_core.formats.store import LabelEntry
    from mlepi_core.nn.hamiltonian import HamiltonianModel
    from mlepi_core.orbitals import Basis

Path = str | os.PathLike[str]

FROZEN_PHONON_COLUMNS = (
    "structure",
    "states",
    "pattern",
    "splitting_true_eV_per_A",
    "splitting_predicted_eV_per_A",
    "relative_difference",
    "finite_true_eV_per_A",
    "finite_predicted_eV_per_A",
    "step_A",
    "coupling_true_eV2_per_A2",
    "coupling_predicted_eV2_per_A2",
    "coupling_published_eV2_per_A2",
)
# The smallest cell in which both valleys fold to Gamma.
_CELLS = 3
_STEP_ANGSTROM = 0.01
# The other layer splits the cone of a layer by some 0.04 eV; more than this is no cone.
_LARGEST_GAP_EV = 0.3


@dataclass(frozen=True)
class _DisplacedCells:
    """Undisplaced supercell, and pairs of cells with one atom displaced to opposite sides."""

    ideal: Atoms
    pairs: list[tuple[LabelEntry, LabelEntry]]
    basis: Basis


@dataclass(frozen=True)
class _Frozen:
    """H and S of an undisplaced structure, and their derivatives along every pattern."""

    atoms: Atoms
    ideal: BlockMatrix
    slopes: Mapping[str, BlockMatrix]


def frozen_phonon(
    model: Path,
    structure: Path,
    out_csv: Path,
    *,
    reference: Path | None = None,
    device: str = "auto",
) -> list[dict[str, Any]]:
    """Splitting of the Dirac states at K per displacement, true and predicted side by side.

    The patterns displace one layer. ``layer``: the four Dirac states of the block of H and S on this layer, a
    quantity that means the same for a layer in a stack and for a free one. ``all``: coupling within the
    manifold of all layers. Predicted values also for the free layer (``monolayer``).

    Parameters
    ----------
    model
        Electron model.
    structure
        Undisplaced primitive cell of graphene layers; used without `reference`.
    out_csv
        Columns `FROZEN_PHONON_COLUMNS`.
    reference
        Label store of supercells with one atom displaced to opposite sides, a pair for each sublattice of one
        layer: gives the true values, and the structure. If they do not suffice there are no true values, and
        a warning.
    device
        "cpu", "cuda" or "auto".

    Returns
    -------
    list of dict
        The rows of the table; none, and a warning, for a structure without a Dirac cone at K. A value is
        None, and a warning says so, where the predicted bands have none: the network is not trained enough.

    Raises
    ------
    InputError
        If a file cannot be read, or the model does not know the structure's species or distances.
    """
    from mlepi_core.nn.hamiltonian import load_hamiltonian_model
    from mlepi_core.structures import build_supercell, ensure_layers, read_structure

    loaded = load_hamiltonian_model(model, device=device)
    rows: list[dict[str, Any]] = []
    displaced = None if reference is None else _displaced_cells(reference)
    atoms = ensure_layers(read_structure(structure)) if displaced is None else displaced.ideal
    if reason := _no_cone(atoms, loaded):
        warnings.warn(f"frozen phonons: no values, {reason}", stacklevel=2)
    else:
        layer, true = int(atoms.arrays["layer"].min()), None
        primitive = _primitive(atoms)
        if displaced is not None:
            try:
                layer, true = _true(displaced, primitive)
            except InputError as error:
                warnings.warn(f"frozen phonons: no true values, {reference}: {error}", stacklevel=2)
        supercell = build_supercell(primitive, (_CELLS, _CELLS, 1))
        rows += _rows(_predicted(loaded, supercell, layer), true, layer)
        free = supercell[supercell.arrays["layer"] == layer]
        if len(free) < len(supercell):
            rows += _rows(_predicted(loaded, free, layer), None, layer)
    write_csv(out_csv, rows, FROZEN_PHONON_COLUMNS)
    return rows


def _displaced_cells(store: Path) -> _DisplacedCells:
    """The pairs of opposite displacements in a label store."""
    import numpy as np

    from mlepi_core.formats.store import LabelStore
    from mlepi_core.stages.derivative import opposite_pairs

    with LabelStore(store) as source, located(store):
        pairs = opposite_pairs([source.read(name) for name in source.select()])
        ideal = pairs[0][0].atoms.copy()
        ideal.positions = np.median([entry.atoms.positions for pair in pairs for entry in pair], axis=0)
        return _DisplacedCells(ideal, pairs, source.basis)


def _primitive(atoms: Atoms) -> Atoms:
    from mlepi_core.electrons import DiracCone
    from mlepi_core.electrons.displacement_response import primitive_cell

    return primitive_cell(atoms, DiracCone.from_atoms(atoms).n)


def _no_cone(atoms: Atoms, model: HamiltonianModel) -> str:
    """Why there is nothing to split; empty if there is."""
    from mlepi_core.electrons import DiracCone

    if set(atoms.get_chemical_symbols()) != {"C"}:
        return "the structure is not made of carbon"
    if model.net.arch.spin != "none":
        return "the Hamiltonian has spin"
    try:
        DiracCone.from_atoms(atoms)
    except InputError as error:
        return str(error)
    return ""


def _true(cells: _DisplacedCells, primitive: Atoms) -> tuple[int, _Frozen]:
    """The layer that moves, and H, S and their slopes from displaced cells."""
    from mlepi_core.electrons import repeat_blocks
    from mlepi_core.electrons.displacement_response import Displaced, atom_response, ideal_blocks, superpose
    from mlepi_core.electrons.frozen_phonon import patterns
    from mlepi_core.structures import build_supercell, supercell_map

    kappa, shells = supercell_map(cells.ideal, primitive).kappa, cells.basis.shells_of("C")
    responses, layers = {}, set()
    for plus, minus in cells.pairs:
        moves = (plus.atoms.positions - minus.atoms.positions) / 2
        atom = int(abs(moves).max(axis=1).argmax())
        displaced = Displaced(atom, moves[atom], plus.blocks, minus.blocks)
        responses[int(kappa[atom])] = atom_response(primitive, cells.ideal, displaced, shells)
        layers.add(int(cells.ideal.arrays["layer"][atom]))
    layer, supercell = min(layers), build_supercell(primitive, (_CELLS, _CELLS, 1))
    slopes = {
        name: superpose(responses, primitive, _CELLS, pattern)
        for name, pattern in patterns(supercell, layer).items()
    }
    matrices = [entry.blocks for pair in cells.pairs for entry in pair]
    ideal = repeat_blocks(ideal_blocks(primitive, cells.ideal, matrices), (_CELLS, _CELLS, 1))
    return layer, _Frozen(supercell, ideal, slopes)


def _predicted(model: HamiltonianModel, atoms: Atoms, layer: int) -> _Frozen:
    from mlepi_core.electrons.frozen_phonon import patterns
    from mlepi_core.inference.electron_derivatives import hamiltonian_derivatives

    moves = patterns(atoms, layer)
    slopes = hamiltonian_derivatives(model, atoms, list(moves.values()))
    return _Frozen(atoms, model.predict([atoms])[0], dict(zip(moves, slopes, strict=True)))


def _rows(predicted: _Frozen, true: _Frozen | None, layer: int) -> Iterator[dict[str, Any]]:
    """One row per choice of states and pattern."""
    from mlepi_core.electrons.frozen_phonon import PUBLISHED, coupling_squared

    layers = len(set(predicted.atoms.arrays["layer"].tolist()))
    name = {1: "monolayer", 2: "bilayer"}.get(layers, f"{layers} layers")
    for states in ("layer", "all") if layers > 1 else ("layer",):
        for pattern in predicted.slopes:
            network, finite_network = _splittings(predicted, pattern, layer, states)
            exact, finite = (None, None) if true is None else _splittings(true, pattern, layer, states)
            difference = None if exact is None or network is None else network / exact - 1
            couplings = [
                None if value is None else coupling_squared(pattern, value) for value in (exact, network)
            ]
            values = (name, states, pattern, exact, network, difference, finite, finite_network)
            values += (_STEP_ANGSTROM, *couplings, PUBLISHED[pattern])
            yield dict(zip(FROZEN_PHONON_COLUMNS, values, strict=True))


def _splittings(frozen: _Frozen, pattern: str, layer: int, states: str) -> tuple[float | None, float | None]:
    """First-order splitting and the one of a finite displacement, eV/Å; None where there is no cone."""
    import numpy as np

    from mlepi_core.electrons import BlochHamiltonian, DiracCone
    from mlepi_core.electrons.frozen_phonon import Matrices

    gamma = (0, 0, 0)
    ideal, slope = (
        BlochHamiltonian.from_atoms(frozen.atoms, blocks).matrices(gamma)
        for blocks in (frozen.ideal, frozen.slopes[pattern])
    )
    matrices = Matrices(*ideal, *slope)
    members = frozen.atoms.arrays["layer"] == layer
    block = matrices.restricted(np.repeat(members, frozen.ideal.counts))
    subset = DiracCone.from_atoms(frozen.atoms[members]).subset
    if (gap := block.gap(subset)) > _LARGEST_GAP_EV:
        warnings.warn(f"frozen phonon {pattern}: no value, a gap of {gap:.2f} eV at K", stacklevel=2)
        return None, None
    if states == "all":
        return matrices.coupling_norm(DiracCone.from_atoms(frozen.atoms).subset), None
    return block.splitting(subset), block.finite_splitting(subset, _STEP_ANGSTROM)

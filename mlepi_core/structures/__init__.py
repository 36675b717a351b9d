"""Structures: builders, supercells, layer labels, perturbations, identity and files."""

from mlepi_core.structures.builders import (
    build_aa,
    build_ab,
    build_bilayer,
    build_monolayer,
    build_twisted,
    twist_angle,
    twist_matrices,
)
from mlepi_core.structures.identity import structure_hash
from mlepi_core.structures.io import read_frames, read_structure, write_structure
from mlepi_core.structures.lattice import (
    SupercellMap,
    build_supercell,
    displaced_map,
    fold_k,
    heights,
    hexagonal_cell,
    k_point,
    plane_normal,
    supercell_map,
    supercell_matrix,
)
from mlepi_core.structures.layers import assign_layers, ensure_layers, layer_heights, unwrapped_heights
from mlepi_core.structures.neighbours import neighbour_pairs, pair_vectors
from mlepi_core.structures.perturb import (
    ANY_STACKING,
    NEAR_EQUILIBRIUM,
    Recipe,
    change_distance,
    interlayer_distances,
    perturbed_bilayer,
    rattle,
    ripple,
    set_distance,
    shift_layer,
)

__all__ = [
    "ANY_STACKING",
    "NEAR_EQUILIBRIUM",
    "Recipe",
    "SupercellMap",
    "assign_layers",
    "build_aa",
    "build_ab",
    "build_bilayer",
    "build_monolayer",
    "build_supercell",
    "build_twisted",
    "change_distance",
    "displaced_map",
    "ensure_layers",
    "fold_k",
    "heights",
    "hexagonal_cell",
    "interlayer_distances",
    "k_point",
    "layer_heights",
    "neighbour_pairs",
    "pair_vectors",
    "perturbed_bilayer",
    "plane_normal",
    "rattle",
    "read_frames",
    "read_structure",
    "ripple",
    "set_distance",
    "shift_layer",
    "structure_hash",
    "supercell_map",
    "supercell_matrix",
    "twist_angle",
    "twist_matrices",
    "unwrapped_heights",
    "write_structure",
]

"""Electrons: Bloch sums, eigensolver, Fermi level, bands and the Fermi velocity of graphene layers."""

from mlepi_core.electrons.bands import (
    BandDifference,
    band_difference,
    compare_bands,
    k_path,
    path_lengths,
    read_kpoints,
    symmetry_path,
)
from mlepi_core.electrons.bloch import BlochHamiltonian, spin_channels
from mlepi_core.electrons.dirac import DiracCone
from mlepi_core.electrons.estimators import (
    ESTIMATORS,
    METRES_PER_SECOND,
    VelocitySpec,
    sample_quantities,
)
from mlepi_core.electrons.notes import FiniteSizeWarning, naive_limit
from mlepi_core.electrons.occupation import (
    fermi_level,
    fermi_level_of,
    gamma_mesh,
    mesh_for_cell,
    n_occupied,
    valence_electrons,
)
from mlepi_core.electrons.quantities import (
    VelocitySamples,
    evaluate_entry,
    evaluate_label,
    evaluate_static,
    load_samples,
    merge,
    save_samples,
)
from mlepi_core.electrons.reduction import (
    VELOCITY_COLUMNS,
    NoDiracCone,
    jackknife,
    reduce_velocity,
    undefined_velocity,
)
from mlepi_core.electrons.solver import OVERLAP_THRESHOLD, Eigenpairs, eigenvalues, solve
from mlepi_core.electrons.supercell import repeat_blocks
from mlepi_core.electrons.velocity_operator import squared_velocity, velocity_matrices

__all__ = [
    "BlochHamiltonian",
    "spin_channels",
    "repeat_blocks",
    "Eigenpairs",
    "OVERLAP_THRESHOLD",
    "solve",
    "eigenvalues",
    "symmetry_path",
    "valence_electrons",
    "n_occupied",
    "gamma_mesh",
    "mesh_for_cell",
    "fermi_level",
    "fermi_level_of",
    "BandDifference",
    "band_difference",
    "compare_bands",
    "k_path",
    "path_lengths",
    "read_kpoints",
    "DiracCone",
    "ESTIMATORS",
    "METRES_PER_SECOND",
    "VelocitySpec",
    "sample_quantities",
    "velocity_matrices",
    "squared_velocity",
    "VelocitySamples",
    "evaluate_entry",
    "evaluate_label",
    "evaluate_static",
    "merge",
    "save_samples",
    "load_samples",
    "VELOCITY_COLUMNS",
    "FiniteSizeWarning",
    "jackknife",
    "naive_limit",
    "NoDiracCone",
    "reduce_velocity",
    "undefined_velocity",
]

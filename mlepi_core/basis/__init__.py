"""Basis algebra: rotations of orbitals, blocks as irreps, matrices of two-centre form.

rotations
    `edge_frames`, `wigner_matrices`, `wigner_3j`: frames and Wigner matrices in internal orbital order.
irreps
    `BlockIrreps`: orbital blocks as orthonormal irreducible coefficients.
two_centre
    `TwoCentreTables`, `overlap_blocks`: overlaps and baselines of any structure from radial tables.
two_centre_fit
    `PairSample`, `fit_overlap`, `fit_hamiltonian`, `residual_errors`: the tables from labelled structures.
radial_table, radial_fit
    The splines themselves, with their coverage.
"""

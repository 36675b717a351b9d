"""What each figure shows, in the words that a reader needs."""

_TEXTS = {
    "velocity": """Fermi velocity relative to the static lattice against temperature, with standard
    errors over pairs. (a) Estimators that gaps and cone shifts of single samples do not bias, or
    only little (bilayer); marks: first window, dotted: other windows; shifted sideways for legibility. (b)
    Straight-line slope from the folded K point: its reduction is a finite-size artefact, apart from its
    window and cell it says little.""",
    "learning_curves": """Errors on the validation split and mean training loss during training. The
    open circle marks the model that is kept: the smallest validation error of the averaged weights.""",
    "parity_phonon": """Predicted against DFT energies and force components of structures that training
    never saw, and their difference. Energies are relative to the model's atomic energies; the DFT forces
    have their mean removed.""",
    "parity_electron": """Predicted against DFT Hamiltonian matrix elements of the test structures (a
    random choice of elements), and how their absolute errors are distributed, beside the two-centre
    baseline. Dashed: MAE over all elements.""",
    "calibration": """Spread of the committee's members against the true error of their mean on test
    structures: force vectors, and blocks of H by the rms over their elements. Dots: single forces or blocks;
    marks: rms error of tenths with equal numbers. On the solid diagonal the spread equals the error, on a
    dotted one after scaling by the factor of the validation split. ρ: rank correlation.""",
    "phonon_bands": """(a) Phonon bands of the network and of DFT; circles mark the q points that the DFT
    supercell holds (the rms difference is taken at all of these in the zone); DFT lines between
    them interpolate its force constants. (b) Shear and breathing of the layers against DFT slips.""",
    "displacements": """Root mean square displacements of the samples against the exact values of the
    harmonic distribution.""",
    "bands": """Electron bands from predicted (dashed) and DFT (grey) Hamiltonians of structures that training
    never saw, relative to the DFT Fermi level; predicted ones after one common shift.""",
    "convergence": """Running mean of the velocity ratio ± standard error, and the standard error alone,
    against the number of pairs; first window of each estimator.""",
    "size_series": """Velocity ratio against the size n of the sampling cell, with standard errors; a row per
    temperature. Line styles: windows of one estimator. What is free of finite-size artefacts drifts with the
    logarithm of n at most.""",
    "spectral": """Spectral function A(k, E) of one spin, mean over samples, along a path of the primitive
    cell; energies of each sample relative to its own Fermi level. Lines: bands of the undisplaced
    lattice.""",
    "error_budget": """Errors of the velocity ratio by source: standard error over pairs, change by another
    window, spread over networks, change by a larger sampling cell and by anharmonic force constants. Bars:
    what each of these is uncertain by.""",
    "ablation": """Errors of variants of the networks on structures that none was trained on: test cells, the
    cells with the largest displacements (extrapolation), and another kind of structure (reference). Open
    circles: seeds; bars: their mean; dotted: mean of the variant that the others of its comparison refer to.
    A colour is a comparison.""",
    "learning_curve_cells": """Errors against the number of large training cells. Marks: seeds; lines: power
    law N^−p, fitted to all seeds, with the standard error of p; half at: cells that the fit says halve the
    error of the largest number, extrapolated.""",
    "learning_curve_time": """Validation errors of the averaged weights against wall time. A line per
    training, a colour and style per variant.""",
    "timing": """Wall time of all jobs of a stage and its longest job, and the largest memory of a job.
    Jobs ran side by side, so the sum exceeds the duration of the run.""",
}
CAPTIONS = {name: " ".join(text.split()) for name, text in _TEXTS.items()}

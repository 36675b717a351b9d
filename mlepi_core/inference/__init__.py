"""Trained networks at work: ASE calculator of the phonon net, batched Hamiltonians."""

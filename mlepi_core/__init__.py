"""Electron-phonon interactions from machine-learned forces and Hamiltonians.

Nothing heavy is imported here: the Snakefile and the command line load this package at every start.
"""

__version__ = "0.1.0"

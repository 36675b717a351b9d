"""Equivariant networks: parts, phonon net, electron net, model file."""

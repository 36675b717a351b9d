"""Training: data selection, losses, the loop, restart files, metrics."""

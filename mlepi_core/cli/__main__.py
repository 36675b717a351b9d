"""`python -m mlepi_core.cli` is the command `mlepi`, for launchers such as torchrun."""

from mlepi_core.cli import main

main()

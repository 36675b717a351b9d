"""The command `mlepi`: one verb per stage, each calls the function in `mlepi_core.stages` of that name."""

from mlepi_core.cli.main import main

__all__ = ["main"]

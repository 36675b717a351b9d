"""Optional event files for TensorBoard."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping

from mlepi_core.artefacts import InputError

__all__ = ["ScalarLog", "require_tensorboard"]


def require_tensorboard() -> None:
    """Check that event files can be written.

    Raises
    ------
    InputError
        If the package ``tensorboard`` is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise InputError(
            "--tensorboard", "the package tensorboard is not installed", 'pip install "mlepi[tensorboard]"'
        )


class ScalarLog:
    """Loss, learning rate, norm of the gradient at every step; metrics at every validation.

    Parameters
    ----------
    folder
        Folder of the event files.
    step
        Steps that are done: later ones of an interrupted training in the same folder no longer show.
    """

    def __init__(self, folder: str | os.PathLike[str], step: int) -> None:
        require_tensorboard()
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(os.fspath(folder), purge_step=step + 1, flush_secs=20)

    def write(self, group: str, step: int, values: Mapping[str, float]) -> None:
        """Add the values as ``group/name`` at a step."""
        for name, value in values.items():
            self._writer.add_scalar(f"{group}/{name}", value, step)

    def close(self) -> None:
        """Write what is still in memory."""
        self._writer.close()

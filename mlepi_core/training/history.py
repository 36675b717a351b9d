"""Training history as a table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from mlepi_core.artefacts import write_csv

__all__ = ["write_history"]


def write_history(path: str | os.PathLike[str], rows: Sequence[dict[str, Any]]) -> None:
    """Write history rows (step, lr, train_loss, validation metrics, wall_s) as CSV, atomically."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    write_csv(path, rows, columns)

"""Paths and helpers that all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# BLAS threads of several test processes would fight for two cores.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """Top of the repository."""
    return ROOT

"""Synthetic tables of a run, and a finished run made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.analysis.synthetic import write_run, write_tables


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name → path of every table; not to be changed."""
    return write_tables(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results folder with tables and figures; not to be changed."""
    folder = tmp_path_factory.mktemp("run")
    write_run(folder)
    return folder

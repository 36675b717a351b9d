"""Tables of a run as data frames, with errors that name the file and the column."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from mlepi_core.artefacts import InputError, atomic_path


def read_table(
    path: str | os.PathLike[str],
    columns: Sequence[str],
    *,
    numeric: Iterable[str] = (),
    may_be_empty: bool = False,
) -> pd.DataFrame:
    """Read a CSV table and check what a figure or the report needs of it.

    Parameters
    ----------
    path
        CSV file with a header.
    columns
        Columns that must be there; others are kept.
    numeric
        Columns that must hold numbers; empty cells become NaN.
    may_be_empty
        Accept a table without rows.

    Raises
    ------
    InputError
        If the file is missing, is not a table, has no rows, lacks a column or holds text where a number
        belongs.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(path, "no such file", "run the stage that makes this table first")
    try:
        # text columns stay text: a structure called 0009 is not the number 9
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(path, f"is not a CSV table ({error})", "make the table again") from None
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise InputError(
            path,
            f"has no column {missing[0]!r}, its columns are {', '.join(table.columns)}",
            "make the table with this version of the program",
        )
    if table.empty and not may_be_empty:
        raise InputError(path, "has no rows", "run the stage that makes this table again")
    for name in numeric:
        table[name] = _numbers(path, table[name])
    return table


def write_table(path: str | os.PathLike[str], table: pd.DataFrame) -> None:
    """Write a table as CSV, atomically, numbers with ten significant digits."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.10g", lineterminator="\n")


def reread(table: pd.DataFrame) -> pd.DataFrame:
    """The table as a reader of its CSV file has it: floats rounded to what is written there."""
    rounded = table.copy()
    for name in rounded.select_dtypes("floating").columns:
        rounded[name] = [float(f"{value:.10g}") for value in rounded[name]]
    return rounded


def _numbers(path: Path, column: pd.Series) -> list[float]:
    values = []
    for text in column:
        try:
            values.append(float(text or "nan"))
        except ValueError:
            raise InputError(
                path, f"column {column.name!r} holds {text!r}, which is no number", "make the table again"
            ) from None
    return values

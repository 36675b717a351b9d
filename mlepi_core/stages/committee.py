"""Stage `committee`: trained members of one network joined into its model file."""

from __future__ import annotations

import os
from collections.abc import Sequence

from mlepi_core.artefacts import InputError, atomic_path

KEY = "member"


def join(
    models: Sequence[str | os.PathLike[str]],
    histories: Sequence[str | os.PathLike[str]],
    out_model: str | os.PathLike[str],
    out_history: str | os.PathLike[str],
) -> None:
    """One model file and one table of the histories; of a single member the files of that member.

    Parameters
    ----------
    models, histories
        Model file and training history (CSV) of each member, member 1 first.
    out_model
        Model file. Predictions of several members are their mean.
    out_history
        CSV: the column ``member``, from 1, and the columns of the histories.

    Raises
    ------
    InputError
        If a file is missing or damaged, or the members are not of one kind, architecture, basis and data.
    """
    from mlepi_core.nn.model_file import load_model, save_committee

    rows = _history(histories)
    save_committee(out_model, [load_model(path) for path in models])
    with atomic_path(out_history) as temporary:
        temporary.write_text(rows, encoding="utf-8")


def _history(paths: Sequence[str | os.PathLike[str]]) -> str:
    """Text of the histories one below the other; the texts of their numbers stay as they are."""
    lines: list[str] = []
    for number, path in enumerate(paths, start=1):
        try:
            with open(path, encoding="utf-8") as handle:
                header, *rows = handle.read().splitlines()
        except (OSError, ValueError):
            raise InputError(path, "is not a training history", "train this member again") from None
        if not lines:
            lines.append(f"{KEY},{header}")
        elif lines[0] != f"{KEY},{header}":
            raise InputError(path, f"has other columns than {os.fspath(paths[0])}", "train the members again")
        lines += [f"{number},{row}" for row in rows]
    return "\n".join(lines) + "\n"

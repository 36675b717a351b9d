"""Stage `models`: a trained model taken into a run instead of training one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlepi_core.artefacts import InputError, atomic_path, sha256_file, write_json

if TYPE_CHECKING:
    from mlepi_core.nn.model_file import ModelFile


def take(
    source: str | os.PathLike[str],
    kind: str,
    out_model: str | os.PathLike[str],
    out_history: str | os.PathLike[str],
    out_origin: str | os.PathLike[str],
    *,
    committee: int = 1,
) -> None:
    """Copy a model file into a run, with the history of its training and a note on where it comes from.

    Parameters
    ----------
    source
        Model file. If the SHA256SUMS of its folder lists it, it is compared.
    kind
        ``phonon`` or ``electron``.
    out_model
        The copy, byte by byte.
    out_history
        CSV: the column ``member``, from 1, and the columns of the training history.
    out_origin
        JSON, see `origin`.
    committee
        Number of members that the run expects.

    Raises
    ------
    InputError
        If the file is missing or damaged, differs from its checksum, is of another kind or of another
        number of members, or keeps no history.
    """
    from mlepi_core.labels.checksums import verify_checksums
    from mlepi_core.nn.model_file import load_members
    from mlepi_core.training.history import write_history

    verify_checksums([source], "if-present")
    members = load_members(source, kind)
    if len(members) != committee:
        remedy = f"set committee: {len(members)}"
        raise InputError(source, f"holds {len(members)} models, not {committee}", remedy)
    if not all(member.history for member in members):
        raise InputError(source, "keeps no training history", "take a model that `mlepi train` wrote")
    rows = [{"member": number} | row for number, member in enumerate(members, 1) for row in member.history]
    write_history(out_history, rows)
    write_json(out_origin, origin(source, members))
    with atomic_path(out_model) as temporary:
        shutil.copyfile(source, temporary)


def origin(source: str | os.PathLike[str], members: list[ModelFile]) -> dict[str, Any]:
    """Where a model comes from: its file, SHA-256, training steps of each member, version and data.

    ``sources`` are the stores that it was trained on, one dict of ``file``, ``sha256`` and ``splits`` each;
    empty in files that do not keep them.
    """
    return {
        "file": Path(source).as_posix(),
        "sha256": sha256_file(source),
        "steps": [member.history[-1]["step"] for member in members],
        "mlepi": members[0].code_version,
        "sources": members[0].sources,
    }

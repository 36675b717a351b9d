"""Verb `train`: all members of a committee one after the other, or one of them, and the joined model file."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlepi_core.artefacts import InputError, digest, sha256_file, write_json
from mlepi_core.progress import Progress, silent

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MemberFiles:
    """Where a member of the committee `model` lives: ``members/<stem>_<number>`` beside it."""

    model: Path
    number: int

    @property
    def weights(self) -> Path:
        """Its model file."""
        return self.model.parent / "members" / f"{self.model.stem}_{self.number}.pt"

    @property
    def history(self) -> Path:
        """Its training history."""
        return self.weights.with_suffix(".history.csv")


def train_committee(
    kind: str,
    section: Any,
    stores: Sequence[str | os.PathLike[str]],
    out_model: str | os.PathLike[str],
    *,
    committee: int,
    restart_dir: str | os.PathLike[str],
    history_csv: str | os.PathLike[str],
    member: int | None = None,
    overlap_smoothing: float = 0.0,
    hold_out: float | None = None,
    start_from: str | os.PathLike[str] | None = None,
    tensorboard: str | os.PathLike[str] | None = None,
    device: str = "auto",
    progress: Callable[[int], Progress] = lambda number: silent,
) -> dict[int, dict[str, Any]]:
    """Train what is missing of a committee and join its members; a committee of one is a single model.

    An interrupted call goes on where it stopped: a member that was completed under the same settings, code
    and data is taken over, until the members are joined.

    Parameters
    ----------
    kind, section, stores, overlap_smoothing, hold_out, start_from, tensorboard, device
        As of `mlepi_core.stages.train.train`.
    out_model
        Joined model file; the members lie in ``members/`` beside it.
    committee
        Number of members.
    restart_dir
        Folder of the restart files and of the notes on completed members.
    history_csv
        Histories of all members.
    member
        Only this one, from 1, and nothing is joined.
    progress
        Gives the progress of a member by its number.

    Returns
    -------
    dict
        Report of `train` by number of the member.

    Raises
    ------
    InputError
        If there is no such member, and as `train`.
    """
    from mlepi_core.stages.committee import join
    from mlepi_core.stages.train import train
    from mlepi_core.training.parallel import present

    if member is not None and not 1 <= member <= committee:
        raise InputError(
            "--member", f"{member} is no member of a committee of {committee}", "see `committee`"
        )
    processes = present()
    wanted = range(1, committee + 1) if member is None else [member]
    all_files = {number: MemberFiles(Path(out_model), number) for number in range(1, committee + 1)}
    notes = {number: Path(restart_dir) / f"{f.weights.stem}.done.json" for number, f in all_files.items()}
    inputs = _inputs([section.model_dump(mode="json"), overlap_smoothing, hold_out], stores, start_from)
    reports = {}
    for number in wanted:
        files, note = all_files[number], notes[number]
        report = processes.from_first(_completed(note, files.weights, inputs))
        if report is None:
            report = train(
                kind,
                section,
                stores,
                files.weights,
                restart_dir=restart_dir,
                history_csv=files.history,
                overlap_smoothing=overlap_smoothing,
                hold_out=hold_out,
                start_from=start_from,
                tensorboard=tensorboard,
                member=number,
                device=device,
                progress=progress(number),
            )
            if processes.first:
                done = {"inputs": inputs, "sha256": sha256_file(files.weights), "report": report}
                write_json(note, done)
        else:
            logger.info("member %d of %d is there already: %s", number, committee, files.weights)
        reports[number] = report
    if member is None and processes.first:
        paths = [(files.weights, files.history) for files in all_files.values()]
        join([weights for weights, _ in paths], [history for _, history in paths], out_model, history_csv)
        for note in notes.values():
            note.unlink(missing_ok=True)
    return reports


def _inputs(
    settings: list[Any],
    stores: Sequence[str | os.PathLike[str]],
    start_from: str | os.PathLike[str] | None,
) -> str:
    """Digest of all that decides the weights but the number of the member; `train` refuses missing files."""
    from mlepi_core.training.checkpoint import source_digest

    files = [Path(path) for path in (*stores, *([start_from] if start_from else []))]
    data = [sha256_file(path) if path.is_file() else "" for path in files]
    return digest([*settings, data, source_digest()])


def _completed(note: Path, weights: Path, inputs: str) -> dict[str, Any] | None:
    """Report of a member that was completed with these inputs and is still as it was written."""
    try:
        content = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if content["inputs"] != inputs or not weights.is_file() or sha256_file(weights) != content["sha256"]:
        return None
    return content["report"]

"""Model file of both networks: one `.pt` that holds all a model needs, or all members of a committee.

Loaded with ``torch.load(weights_only=True)``: tensors, numbers, text, lists and dictionaries only.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from ase.data import chemical_symbols

from mlepi_core import __version__
from mlepi_core.artefacts import InputError, atomic_path
from mlepi_core.nn.phonon import PhononArchitecture, PhononNet, PhononStatistics
from mlepi_core.nn.phonon_accelerators import accelerate
from mlepi_core.nn.phonon_committee import PhononCommittee

__all__ = [
    "ModelFile",
    "check_species",
    "load_members",
    "load_model",
    "load_phonon_net",
    "member_contents",
    "read_content",
    "rebuilt_from",
    "resolve_device",
    "save_committee",
    "save_model",
]

SCHEMA = "mlepi-model"
VERSION = 2
# A single model is written as version 1, which older code reads.
_SINGLE_VERSION = 1
KINDS = ("phonon", "electron")
# What the members of a committee share, so that their mean is one model.
_COMMON = ("kind", "architecture", "species", "basis", "tables", "data_digest", "sources", "start_sha256")
# What older files lack.
_LATER = ("sources", "start_sha256")
_REASON = 160  # characters of torch's message that are shown


@dataclass
class ModelFile:
    """Contents of a model file.

    Attributes
    ----------
    kind
        ``phonon`` or ``electron``.
    architecture, statistics
        Plain values from which the network is built again.
    species
        Atomic numbers that the model knows.
    state_dict
        Averaged weights of the best validation.
    basis
        Shells per species as JSON (electron), else None.
    tables
        Further tables, e.g. two-centre overlaps (electron), else None.
    history
        Rows of the training history.
    data_digest, config, code_version
        Provenance.
    sources
        Label stores of the training: ``file`` (name without folder), ``sha256`` and ``splits``, the numbers
        of structures used by split. Empty in files of older code.
    start_sha256
        SHA-256 of the model file that the training started from; "" if it started from random weights.
    """

    kind: str
    architecture: dict[str, Any]
    species: list[int]
    state_dict: dict[str, Any]
    statistics: dict[str, Any] = field(default_factory=dict)
    basis: str | None = None
    tables: dict[str, Any] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    data_digest: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    code_version: str = __version__
    sources: list[dict[str, Any]] = field(default_factory=list)
    start_sha256: str = ""


def save_model(path: str | os.PathLike[str], model: ModelFile) -> None:
    """Write a model file atomically."""
    if model.kind not in KINDS:
        raise InputError(path, f"model kind {model.kind!r} is unknown", f"use one of {', '.join(KINDS)}")
    with atomic_path(path) as temporary:
        torch.save({"schema": SCHEMA, "version": _SINGLE_VERSION} | _values(model), temporary)


def save_committee(path: str | os.PathLike[str], members: Sequence[ModelFile]) -> None:
    """Write the complete contents of several models as one file, atomically; one alone as `save_model` does.

    Raises
    ------
    InputError
        If the members are not of one kind, architecture, basis and training set.
    """
    first = members[0]
    for number, member in enumerate(members[1:], start=2):
        for name in _COMMON:
            if not _equal(getattr(member, name), getattr(first, name)):
                raise InputError(
                    path,
                    f"member {number} has another {name} than member 1",
                    "train all members with one configuration",
                )
    if len(members) == 1:
        save_model(path, first)
        return
    content = {"schema": SCHEMA, "version": VERSION, "kind": first.kind}
    with atomic_path(path) as temporary:
        torch.save(content | {"members": [_values(member) for member in members]}, temporary)


def _values(model: ModelFile) -> dict[str, Any]:
    return {item.name: getattr(model, item.name) for item in fields(model)}


def _equal(a: Any, b: Any) -> bool:
    """Equality of plain containers that may hold tensors."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(value, b[key]) for key, value in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_equal, a, b))
    return bool(a == b)


def load_model(path: str | os.PathLike[str], kind: str | None = None) -> ModelFile:
    """Read the file of a single model; parameters and errors as those of `load_members`.

    Raises
    ------
    InputError
        Also if the file holds a committee.
    """
    members = load_members(path, kind)
    if len(members) > 1:
        raise InputError(path, f"is a committee of {len(members)} models", "give the file of one member")
    return members[0]


def load_members(path: str | os.PathLike[str], kind: str | None = None) -> list[ModelFile]:
    """Read a model file: all members of a committee, or the one model.

    Parameters
    ----------
    kind
        Refuse a model of another kind.

    Raises
    ------
    InputError
        If the file is missing, incomplete, foreign, newer than the code, or of another kind.
    """
    content = read_content(path)
    parts = member_contents(path, content)
    names = [item.name for item in fields(ModelFile)]
    for number, part in enumerate(parts, start=1):
        missing = [name for name in names if name not in part and name not in _LATER]
        if missing:
            of_member = f"member {number} " if len(parts) > 1 else ""
            raise InputError(path, f"{of_member}lacks {', '.join(missing)}", "train it again")
    if kind is not None and parts[0]["kind"] != kind:
        raise InputError(path, f"is a model of kind {parts[0]['kind']!r}", f"give a model of kind {kind!r}")
    return [ModelFile(**{name: part[name] for name in names if name in part}) for part in parts]


def member_contents(path: str | os.PathLike[str], content: dict[str, Any]) -> list[dict[str, Any]]:
    """The dictionaries of all members in the `content` of the file `path`; a single model is the only one."""
    parts = content.get("members", [content])
    if not isinstance(parts, list) or not parts or not all(isinstance(part, dict) for part in parts):
        raise InputError(path, "has no list of members", "train it again")
    return parts


def read_content(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The dictionary in a model file, whole and of this schema; errors as those of `load_model`.

    torch does not compare the checksums in its files, so a flipped bit would be a wrong weight.
    """
    if not Path(path).is_file():
        raise InputError(path, "no such model file", "check the path or train the model first")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        content = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever zipfile, torch and its unpickler raise for foreign bytes
        raise InputError(
            path, f"is not a complete model file ({type(error).__name__})", "copy it again or train again"
        ) from None
    if damaged:
        raise InputError(path, f"is damaged: wrong checksum of {damaged}", "copy it again or train again")
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise InputError(path, "is not a model file of mlepi", "give a .pt file written by `mlepi train`")
    if content.get("version", 0) > VERSION:
        raise InputError(path, f"has version {content['version']} of the schema", "update mlepi")
    return content


@contextmanager
def rebuilt_from(path: str | os.PathLike[str]) -> Iterator[None]:
    """Name the file if a network cannot be built of what it holds: settings or weights of other code."""
    try:
        yield
    except (TypeError, KeyError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:_REASON]
        raise InputError(
            path, f"does not fit this version of mlepi ({reason})", "use the version that wrote it"
        ) from error


def load_phonon_net(
    path: str | os.PathLike[str],
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float64,
    accelerator: str | None = None,
) -> PhononNet | PhononCommittee:
    """Phonon net or committee of a model file, in evaluation mode; float64 unless said otherwise.

    `accelerator`: see `mlepi_core.nn.phonon_accelerators.accelerate`; None: on a CUDA device the one that the
    model was trained with, else none.
    """
    members = load_members(path, "phonon")
    with rebuilt_from(path):
        nets = [_phonon_net(content) for content in members]
    net = nets[0] if len(nets) == 1 else PhononCommittee(nets)
    net.requires_grad_(False)
    place = resolve_device(device)
    net = net.to(device=place, dtype=dtype).eval()
    if accelerator is None:
        accelerator = members[0].config.get("accelerator", "none") if place.type == "cuda" else "none"
    return accelerate(net, accelerator)


def _phonon_net(content: ModelFile) -> PhononNet:
    # Built in float64 first: the constants must not be rounded whatever the weights' type is.
    net = PhononNet(content.species, PhononArchitecture(**content.architecture))
    net.load_state_dict(content.state_dict)
    net.set_statistics(PhononStatistics(**content.statistics))
    return net


def check_species(known: Sequence[int], numbers: Iterable[int], where: str) -> None:
    """Refuse a structure with an element that the model does not know."""
    unknown = sorted({int(number) for number in numbers} - set(known))
    if unknown:
        names = ", ".join(chemical_symbols[number] for number in unknown)
        trained = ", ".join(chemical_symbols[number] for number in known)
        raise InputError(
            where, f"holds {names}, which the model does not know", f"the model was trained on {trained}"
        )


def resolve_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError("device", f"{name!r}, but PyTorch sees no CUDA device", "use auto or cpu")
    return torch.device(name)

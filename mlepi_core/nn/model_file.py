"""Model file of both networks: one `.pt` that holds all a model needs.

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

__all__ = [
    "ModelFile",
    "check_species",
    "load_model",
    "load_phonon_net",
    "read_content",
    "rebuilt_from",
    "resolve_device",
    "save_model",
]

SCHEMA = "mlepi-model"
VERSION = 1
KINDS = ("phonon", "electron")
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


def save_model(path: str | os.PathLike[str], model: ModelFile) -> None:
    """Write a model file atomically."""
    if model.kind not in KINDS:
        raise InputError(path, f"model kind {model.kind!r} is unknown", f"use one of {', '.join(KINDS)}")
    content = {"schema": SCHEMA, "version": VERSION} | {
        item.name: getattr(model, item.name) for item in fields(model)
    }
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def load_model(path: str | os.PathLike[str], kind: str | None = None) -> ModelFile:
    """Read a model file.

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
    missing = [item.name for item in fields(ModelFile) if item.name not in content]
    if missing:
        raise InputError(path, f"lacks {', '.join(missing)}", "train it again")
    if kind is not None and content["kind"] != kind:
        raise InputError(path, f"is a model of kind {content['kind']!r}", f"give a model of kind {kind!r}")
    return ModelFile(**{item.name: content[item.name] for item in fields(ModelFile)})


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
    path: str | os.PathLike[str], *, device: str = "cpu", dtype: torch.dtype = torch.float64
) -> PhononNet:
    """Phonon net of a model file, in evaluation mode; float64 unless said otherwise."""
    content = load_model(path, "phonon")
    # Built in float64 first: the constants must not be rounded whatever the weights' type is.
    with rebuilt_from(path):
        net = PhononNet(content.species, PhononArchitecture(**content.architecture))
        net.load_state_dict(content.state_dict)
        net.set_statistics(PhononStatistics(**content.statistics))
    net.requires_grad_(False)
    return net.to(device=resolve_device(device), dtype=dtype).eval()


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

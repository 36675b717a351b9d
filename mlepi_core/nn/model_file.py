"""Model file of both networks: one `.pt` that holds all a model needs.

Loaded with ``torch.load(weights_only=True)``: tensors, numbers, text, lists and dictionaries only.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from ase.data import chemical_symbols

from mlepi_core import __version__
from mlepi_core.artefacts import InputError, atomic_path
from mlepi_core.nn.phonon import PhononArchitecture, PhononNet, PhononStatistics

__all__ = ["ModelFile", "check_species", "load_model", "load_phonon_net", "resolve_device", "save_model"]

SCHEMA = "mlepi-model"
VERSION = 1
KINDS = ("phonon", "electron")


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
    if not Path(path).is_file():
        raise InputError(path, "no such model file", "check the path or train the model first")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            path, f"is not a complete model file ({reason})", "delete it and train again"
        ) from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise InputError(path, "is not a model file of mlepi", "give a .pt file written by `mlepi train`")
    if content["version"] > VERSION:
        raise InputError(path, f"has version {content['version']} of the schema", "update mlepi")
    if kind is not None and content["kind"] != kind:
        raise InputError(path, f"is a model of kind {content['kind']!r}", f"give a model of kind {kind!r}")
    return ModelFile(**{item.name: content[item.name] for item in fields(ModelFile)})


def load_phonon_net(
    path: str | os.PathLike[str], *, device: str = "cpu", dtype: torch.dtype = torch.float64
) -> PhononNet:
    """Phonon net of a model file, in evaluation mode; float64 unless said otherwise."""
    content = load_model(path, "phonon")
    # Built in float64 first: the constants must not be rounded whatever the weights' type is.
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

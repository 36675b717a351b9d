"""From a YAML file to validated settings, with messages that name the place of each mistake."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mlepi_core.artefacts import InputError, MlepiError
from mlepi_core.config import messages
from mlepi_core.config.labels import LabelsSection
from mlepi_core.config.settings import Settings


class ConfigError(MlepiError):
    """Mistakes in a configuration, one line each."""

    def __init__(self, mistakes: list[str]) -> None:
        self.mistakes = mistakes
        super().__init__("\n".join(mistakes))


class _StrictLoader(yaml.SafeLoader):
    """YAML loader that refuses a key given twice (plain YAML keeps the last one silently)."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, (list, dict)):
            raise yaml.constructor.ConstructorError(None, None, f"key {key} is no word", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key} is given twice", key_node.start_mark
            )
        seen.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Content of a YAML file; a syntax error or a repeated key is an InputError with its line."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(path, "is not a text file in UTF-8", "give a YAML file") from error
    try:
        data = yaml.load(text, Loader=_StrictLoader)  # a SafeLoader: builds plain objects only
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        expected = f"{error.context}, " if (error.context or "").startswith("expected") else ""
        raise InputError(path, f"{expected}{error.problem}{line}", "correct the YAML syntax") from error
    except yaml.YAMLError as error:
        raise InputError(path, f"is not YAML: {' '.join(str(error).split())}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise InputError(path, "must hold sections of keys and values")
    return data


def validate(raw: Mapping[str, Any], source: str, *, root: str | os.PathLike[str] | None = None) -> Settings:
    """Settings from the raw content of a configuration.

    Parameters
    ----------
    raw
        Nested dict as YAML gives it (numbers may be strings such as ``1e-3``).
    source
        Name of the file for messages.
    root
        Folder that paths are relative to (default: the working folder).

    Raises
    ------
    ConfigError
        One line for each mistake, paths that do not exist included.
    """
    try:
        settings = Settings.model_validate(dict(raw))
    except ValidationError as error:
        raise ConfigError(messages.lines(error, Settings, source, raw)) from error
    missing = [f"{source}: {line}" for line in _missing_paths(settings, Path(root or "."))]
    if missing:
        raise ConfigError(missing)
    return settings


def load_config(path: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None) -> Settings:
    """Validated settings of one file; see `validate` for `root` and the errors."""
    return validate(read_yaml(path), os.fspath(path), root=root)


def label_files(paths: list[str], root: str | os.PathLike[str] | None = None) -> list[str]:
    """Label stores behind a list of paths: folders become their *.h5 files, sorted."""
    base = Path(root or ".")
    files: list[str] = []
    for path in paths:
        if (base / path).is_dir():
            files += [os.path.join(path, entry.name) for entry in sorted((base / path).glob("*.h5"))]
        else:
            files.append(path)
    return list(dict.fromkeys(files))


def _missing_paths(settings: Settings, root: Path) -> list[str]:
    single = {
        "structure.file": settings.structure.file,
        "phonons.reference": settings.phonons.reference,
        "phonons.slip_reference": settings.phonons.slip_reference,
        "derivative.reference": settings.derivative.reference,
        "models.phonon": settings.models.phonon,
        "models.electron": settings.models.electron,
    }
    found = [
        f"{key} = {path}: no such file"
        for key, path in single.items()
        if path is not None and not (root / path).is_file()
    ]
    found += [
        f"checks.references[{number}] = {path}: no such file"
        for number, path in enumerate(settings.checks.references)
        if not (root / path).is_file()
    ]
    return found + _missing_labels(settings.labels, root)


def _missing_labels(labels: LabelsSection, root: Path) -> list[str]:
    found = []
    for key, paths in (("path", labels.path), ("reference", labels.reference)):
        remedy = f"put the data there, or set labels.{key} to where they are"
        for number, path in enumerate(paths):
            place = f"labels.{key}[{number}] = {path}"
            if not (root / path).exists():
                found.append(f"{place}: no such file or folder; {remedy}")
            elif (root / path).is_dir() and not label_files([path], root):
                found.append(f"{place}: this folder holds no *.h5 file")
    both = sorted(set(label_files(labels.path, root)) & set(label_files(labels.reference, root)))
    return found + [f"labels.reference: {path} is also in labels.path" for path in both]

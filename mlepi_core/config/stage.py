"""The part of the configuration that one stage depends on, as text for the workflow's change detection."""

from __future__ import annotations

import json
from functools import reduce
from typing import Any

from mlepi_core.artefacts import canonical_json
from mlepi_core.config.base import Section
from mlepi_core.config.settings import Settings


def stage_config(settings: Settings, *keys: str) -> str:
    """Canonical JSON of the named parts only, defaults filled in.

    The same settings give the same text whatever the order of keys or the spelling of numbers
    (``1``, ``1.0``, ``1e0``), so equal text means that a stage need not run again.

    Parameters
    ----------
    keys
        Dotted names of sections or fields, for example ``"training.phonon"``, ``"device"``.
    """
    return canonical_json({key: _plain(_get(settings, key)) for key in keys})


def read_settings(text: str) -> Settings:
    """Settings from a `stage_config` text; sections that it lacks have their defaults."""
    return Settings.model_validate(_tree(json.loads(text)))


def read_stage_config(text: str) -> dict[str, Any]:
    """Inverse of `stage_config`: validated sections and values by their dotted names."""
    settings = read_settings(text)
    return {key: _get(settings, key) for key in json.loads(text)}


def _tree(parts: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in parts.items():
        *parents, last = key.split(".")
        node = tree
        for name in parents:
            node = node.setdefault(name, {})
        node[last] = value
    return tree


def _get(settings: Settings, key: str) -> Any:
    return reduce(getattr, key.split("."), settings)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return value.model_dump(mode="json") if isinstance(value, Section) else value

"""Starting a training from a trained model instead of random weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from mlepi_core.artefacts import InputError
from mlepi_core.config.base import Section


def given_keys(section: Any) -> set[str]:
    """Keys of a section that the user gave a value, not null; of any other object all its attributes."""
    names = section.model_fields_set if isinstance(section, Section) else set(vars(section))
    return {name for name in names if getattr(section, name) is not None}


def refuse_other_architecture(
    model: str | os.PathLike[str],
    section_name: str,
    of_model: Mapping[str, Any],
    chosen: Mapping[str, Any],
    given: set[str],
) -> None:
    """Refuse settings that a model to start from cannot have any more.

    Parameters
    ----------
    model
        Its file.
    section_name
        For the message, ``training.phonon`` or ``training.electron``.
    of_model, chosen
        Architecture of the model and the one that the configuration describes.
    given
        The keys that count: those that the configuration names. Others follow the model.

    Raises
    ------
    InputError
        Naming every key that differs, with both values.
    """
    different = [
        f"{key} {_plain(of_model[key])} (not {_plain(chosen[key])})"
        for key in chosen
        if key in given and _plain(chosen[key]) != _plain(of_model[key])
    ]
    if different:
        raise InputError(
            model,
            f"has {', '.join(different)}",
            f"leave these keys of {section_name} out: they follow the model that the training starts from",
        )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value

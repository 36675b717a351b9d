"""One readable line per mistake in a configuration, from pydantic's errors."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from mlepi_core.config.base import unit_of

_BOUNDS = {
    "greater_than_equal": ("≥", "ge"),
    "greater_than": (">", "gt"),
    "less_than_equal": ("≤", "le"),
    "less_than": ("<", "lt"),
}
_KINDS = {
    "int_parsing": "must be an integer",
    "int_type": "must be an integer",
    "int_from_float": "must be an integer",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be a text",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "model_type": "must be a section of keys and values",
    "model_attributes_type": "must be a section of keys and values",
    "dict_type": "must be a section of keys and values",
}


def lines(error: ValidationError, model: type[BaseModel], source: str, raw: Any) -> list[str]:
    """Messages `source: key.path[i] = value: what is wrong`, one per mistake.

    Parameters
    ----------
    error
        What pydantic raised for `raw`.
    model
        The model of the whole file (for units and known keys).
    source
        Name of the file as the user gave it.
    raw
        The data before validation.
    """
    return [f"{source}: {line}" for line in places(error, model, raw)]


def places(error: ValidationError, model: type[BaseModel], raw: Any) -> list[str]:
    """The messages of `lines` without the file."""
    return [_line(item, model, raw) for item in error.errors()]


def _line(item: Any, model: type[BaseModel], raw: Any) -> str:
    location, kind, context = item["loc"], item["type"], item.get("ctx", {})
    place = dotted(location)
    if kind in ("extra_forbidden", "invalid_key"):
        return f"{place}: unknown key{_suggestion(model, location)}"
    if kind == "missing":
        return f"{place}: this key is missing"
    if not place:  # a mistake of the file as a whole
        return _problem(item, kind, context, "")
    value = _lookup(raw, location)
    value = item.get("input") if value is None else value
    shown = f"{place} = {value}" if _short(value) else place
    return f"{shown}: {_problem(item, kind, context, _unit(model, location))}"


def _short(value: Any) -> bool:
    """Whether a value can stand in a message: not a section, and no list of sections."""
    if isinstance(value, list):
        return not any(isinstance(part, dict) for part in value)
    return isinstance(value, (str, int, float))


def _problem(item: Any, kind: str, context: dict[str, Any], unit: str) -> str:
    unit = f" {unit}" if unit else ""
    if kind in _BOUNDS:
        sign, name = _BOUNDS[kind]
        return f"must be {sign} {context[name]:g}{unit}"
    if kind == "literal_error":
        return f"must be one of {context['expected'].replace(chr(39), '').replace(' or ', ', ')}"
    if kind in ("too_short", "too_long"):
        bound = context.get("min_length", context.get("max_length"))
        return f"must have {'at least' if kind == 'too_short' else 'at most'} {bound} items"
    if kind == "string_pattern_mismatch":
        return "may hold letters, digits, dot, dash and underscore only, and starts with a letter or digit"
    if kind == "value_error":
        return str(context["error"])
    return _KINDS.get(kind, item["msg"])


def dotted(location: tuple[str | int, ...]) -> str:
    """`("a", "b", 1)` as ``a.b[1]``."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")


def _lookup(raw: Any, location: tuple[str | int, ...]) -> Any:
    for part in location:
        try:
            raw = raw[part]
        except (KeyError, IndexError, TypeError):
            return None
    return raw


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) is not None:
        for part in get_args(annotation):
            yield from _models(part)


def _walk(model: type[BaseModel], location: tuple[str | int, ...]) -> tuple[type[BaseModel] | None, str]:
    """Innermost model on the way to `location`, and the unit of the last known field."""
    unit = ""
    current: type[BaseModel] | None = model
    for part in location:
        if current is None or not isinstance(part, str) or part not in current.model_fields:
            break
        field = current.model_fields[part]
        unit = unit_of(field)
        current = next(_models(field.annotation), None)
    return current, unit


def _unit(model: type[BaseModel], location: tuple[str | int, ...]) -> str:
    return _walk(model, location)[1]


def _suggestion(model: type[BaseModel], location: tuple[str | int, ...]) -> str:
    parent = _walk(model, location[:-1])[0]
    if parent is None:
        return ""
    known = sorted(parent.model_fields)
    close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; known keys are {', '.join(known)}"

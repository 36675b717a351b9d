"""What all sections of the configuration share: strictness, units, canonical form."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, values never change after validation."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, hide_input_in_errors=True
    )


def setting(default: Any = ..., *, description: str, unit: str = "", **bounds: Any) -> Any:
    """Field with a description and a unit; `bounds` are pydantic's (ge, gt, le, lt, min_length …)."""
    extra = {"unit": unit} if unit else None
    return Field(default, description=description, json_schema_extra=extra, **bounds)


def unit_of(field: Any) -> str:
    """Unit of a model field, empty if it has none."""
    extra = field.json_schema_extra
    return extra.get("unit", "") if isinstance(extra, dict) else ""


def distinct(values: list[Any], what: str) -> list[Any]:
    """The list; a ValueError if a value (in words, with its article: `what`) stands in it twice."""
    if len(set(values)) != len(values):
        raise ValueError(f"{what} stands in the list more than once")
    return values

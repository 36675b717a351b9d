"""Section `structure`: the reference structure of the run."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from mlepi_core.config.base import Section, setting


class StructureSection(Section):
    """The crystal that is displaced: a bilayer of graphene by its stacking, or any structure from a file."""

    kind: Literal["ab", "aa", "shift", "twist", "file"] = setting(
        "ab", description="stacking of a graphene bilayer, or `file` for any structure that ASE reads"
    )
    lattice_constant: float = setting(
        2.474, unit="Å", gt=0, description="in-plane lattice constant of one layer"
    )
    distance: float = setting(
        3.16, unit="Å", gt=0, description="distance between the layers before relaxation"
    )
    cell_height: float = setting(14.0, unit="Å", gt=0, description="length of the out-of-plane cell vector")
    shift: tuple[float, float] | None = setting(
        None, description="lateral shift of the upper layer in fractional coordinates (kind: shift)"
    )
    index: tuple[int, int] | None = setting(
        None, description="commensurate indices m, r of the twist (kind: twist)"
    )
    file: str | None = setting(None, description="structure file (kind: file)")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        """`structure: ab` is short for `structure: {kind: ab}`."""
        return {"kind": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _needed_parameters(self) -> StructureSection:
        for kind, field in (("shift", "shift"), ("twist", "index"), ("file", "file")):
            if self.kind == kind and getattr(self, field) is None:
                raise ValueError(f"kind {kind} needs the key {field}")
            if self.kind != kind and getattr(self, field) is not None:
                raise ValueError(f"key {field} belongs to kind {kind}, but kind is {self.kind}")
        return self

    def build_options(self) -> dict[str, Any]:
        """Arguments of `mlepi_core.stages.structures.build` that belong to this kind."""
        if self.kind == "file":
            return {"file": self.file}
        names = ("lattice_constant", "distance", "cell_height", "shift", "index")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

"""Section `labels`: the DFT results that the networks learn from and are compared with."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from mlepi_core.config.base import Section, setting


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


PathList = Annotated[list[str], BeforeValidator(_as_list)]


class LabelsSection(Section):
    """Label stores: entries of split train, validation and test; `reference` ones are only compared with."""

    engine: Literal["dataset"] = setting(
        "dataset", description="where the labels come from; `dataset` reads finished label stores"
    )
    path: PathList = setting(
        ["resources/bilayer-graphene/perturbed-4x4.h5", "resources/bilayer-graphene/rigid.h5"],
        min_length=1,
        description="label stores for training, validation and test: files, or folders of *.h5 files",
    )
    reference: PathList = setting(
        [], description="label stores that training never sees: predictions are compared with them"
    )
    hold_out_rms_force: float | None = setting(
        None,
        unit="eV/Å",
        gt=0,
        description="structures of the splits train and validation with a larger rms force are not used; "
        "errors on them are given as split `extrapolation`; null: none",
    )
    checksums: Literal["require", "if-present"] = setting(
        "require",
        description="whether files must be listed in the SHA256SUMS of their folder",
    )
    overlap_smoothing: float = setting(
        0.0,
        ge=0,
        description="0: a distance that the training structures do not sample is an error when overlaps "
        "are evaluated; positive (1e-18 is enough): gaps and a margin are bridged by a smooth spline, which "
        "the tables record",
    )

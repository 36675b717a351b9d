"""Sections `study` and `models`: what they refuse, and the settings of a variant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlepi_core.config import ConfigError, Settings, stage_config, validate
from mlepi_core.config.cost import cost_text, estimate


def variant(**values: Any) -> dict[str, Any]:
    return {"name": "wide", "network": "phonon", "comparisons": ["width"]} | values


def study(*variants: dict[str, Any], target: str = "study", **values: Any) -> dict[str, Any]:
    return {"run": {"target": target}, "study": {"variants": list(variants)} | values}


def settings(raw: dict[str, Any]) -> Settings:
    return validate(raw, "x.yaml")


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        ({"run": {"target": "study"}}, "run.target: study needs study.variants"),
        (study(variant(), seeds=[2, 2]), "study.seeds = [2, 2]: a seed stands in the list more than once"),
        (study(variant(), seeds=[]), "study.seeds = []: must have at least 1 items"),
        (study(variant(), seeds=[-1]), "study.seeds[0] = -1: must be ≥ 0"),
        (study(variant(name="a/b")), "study.variants[0].name = a/b: may hold letters"),
        (study(variant(network="both")), "study.variants[0].network = both: must be one of phonon, electron"),
        (study(variant(comparisons=[])), "study.variants[0].comparisons = []: must have at least 1 items"),
        (
            study(variant(comparisons=["a", "a"])),
            "study.variants[0].comparisons = ['a', 'a']: a comparison stands in the list more than once",
        ),
        (
            study(variant(), variant()),
            "study.variants: two variants of the phonon network have the name wide",
        ),
        (
            study(variant(settings={"channelz": 8})),
            "study.variants, phonon wide: settings: channelz: unknown key; did you mean channels?",
        ),
        (
            study(variant(), variant(name="b", settings={"steps": 0})),
            "study.variants, phonon b: settings: steps = 0: must be > 0",
        ),
        (
            study(variant(settings={"train_cells": 0})),
            "study.variants, phonon wide: settings: train_cells = 0: must be > 0",
        ),
        (study(variant(settings={"seed": 3})), "study.variants[0].settings: seed is no setting of a variant"),
        ({"models": {"phonon": "none.pt"}}, "models.phonon = none.pt: no such file"),
        ({"models": {"phonons": "none.pt"}}, "models.phonons: unknown key; did you mean phonon?"),
        (
            {"models": {"phonon": "m.pt"}, "training": {"networks": ["electron"]}},
            "models.phonon is given, but training.networks leaves this network out",
        ),
    ],
)
def test_one_line_names_the_place(raw: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(raw)
    (found,) = caught.value.mistakes
    assert found.startswith(f"x.yaml: {line}"), found
    assert "\n" not in found


def test_a_name_may_occur_once_in_each_network() -> None:
    made = settings(study(variant(), variant(network="electron")))
    assert [v.title for v in made.study.variants] == ["wide", "wide"]
    assert settings(study(variant(label="Wide net"))).study.variants[0].title == "Wide net"


def test_settings_of_a_variant() -> None:
    raw = study(variant(settings={"channels": 8, "learning_rate": "1e-3"}), variant(name="base"))
    made = settings(raw | {"training": {"phonon": {"layers": 3, "seed": 9}}})
    wide, base = made.study.variants
    trained = made.trained_as(wide, 5)
    assert (trained.training.phonon.channels, trained.training.phonon.layers) == (8, 3)
    assert trained.training.phonon.learning_rate == 1e-3
    assert trained.training.phonon.seed == 5
    assert trained.training.electron == made.training.electron
    assert made.training.phonon.seed == 9
    assert made.trained_as(base, 9).training == made.training


def test_other_variants_do_not_enter_the_settings_of_a_training() -> None:
    def text(made: Settings) -> str:
        return stage_config(made.trained_as(made.study.variants[0], 1), "training.phonon", "device")

    one = settings(study(variant()))
    assert text(one) == text(settings(study(variant(label="W"), variant(name="b", settings={"layers": 4}))))
    assert text(one) != text(settings(study(variant(settings={"layers": 4}))))


@pytest.mark.parametrize(
    ("second", "differ"),
    [
        (variant(name="b", settings={"train_cells": 4}), True),
        (variant(name="b", settings={"channels": 4}), False),
        (variant(name="b", comparisons=["other"], settings={"train_cells": 4}), False),
        (variant(name="b", network="electron", settings={"train_cells": 4}), False),
        (variant(name="b", comparisons=["other", "width"], settings={"train_cells": 4}), True),
    ],
)
def test_whether_numbers_of_cells_are_compared(second: dict[str, Any], differ: bool) -> None:
    assert settings(study(variant(), second)).compares_train_cells is differ


def test_cost_counts_every_training() -> None:
    one, two = (settings(study(variant(), seeds=list(range(n)))) for n in (1, 2))
    assert estimate(two).network_core_hours == pytest.approx(2 * estimate(one).network_core_hours)
    assert estimate(two).samples == 0
    double = settings(study(variant(), variant(name="long", settings={"steps": 4000}), seeds=[1]))
    base = settings({"training": {"phonon": {}}}).training.phonon.steps
    expected = (1 + 4000 / base) * estimate(one).network_core_hours
    assert estimate(double).network_core_hours == pytest.approx(expected)
    assert "study of 1 variants with 2 seeds, 2 trainings" in cost_text(two)
    idle = settings(study(variant(), target="networks"))
    assert estimate(idle) == estimate(settings({"run": {"target": "networks"}}))


def test_a_mistake_of_the_whole_file_has_no_empty_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        validate({"run": {"target": "study"}}, "x.yaml", root=tmp_path)
    assert str(caught.value) == "x.yaml: run.target: study needs study.variants"

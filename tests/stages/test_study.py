"""Stage `study`: tables of trainings whose files are made up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mlepi_core.artefacts import InputError, write_csv, write_json
from mlepi_core.config import Settings
from mlepi_core.stages.study import COLUMNS, HISTORY_COLUMNS, gather
from tests.stages.conftest import BILAYER

STORES = [BILAYER / "perturbed-4x4.h5", BILAYER / "rigid.h5"]
COST = {"parameters": 10, "flops_forward": 20, "flops_step": 60, "step_ms": 1.5, "memory_step_MiB": 2.0}
SEEDS = (3, 4)


def settings() -> Settings:
    variants: Sequence[dict[str, Any]] = [
        {"name": "few", "network": "phonon", "comparisons": ["cells"], "settings": {"train_cells": 2}},
        {"name": "base", "network": "phonon", "comparisons": ["width", "cells"], "label": "Base"},
        {"name": "wide", "network": "phonon", "comparisons": ["width"], "settings": {"steps": 700}},
    ]
    return Settings.model_validate(
        {"run": {"target": "study"}, "study": {"seeds": SEEDS, "variants": variants}}
    )


def error(model: str, split: str, value: float, n: int = 1) -> dict[str, Any]:
    names = {"model": model, "split": split, "quantity": "force_mae", "unit": "meV/Å"}
    return names | {"value": value, "n_structures": n}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, variant in enumerate(settings().study.variants):
        part = tmp_path / "study/phonon" / variant.name
        part.mkdir(parents=True)
        write_json(part / "cost.json", COST | {"n_atoms": 64, "threads": 1})
        for seed in SEEDS:
            (part / f"seed{seed}").mkdir()
            value = 10.0 * number + seed
            rows = [
                error("phonon", "test", value, 5),
                error("phonon", "test:a", value),
                error("zero", "test", 99.0),
            ]
            write_json(part / f"seed{seed}/errors.json", rows)
            history = [
                {"step": step, "train_loss": 1.0, "force_mae_meV_per_A": mae, "wall_s": step / 10}
                for step, mae in ((5, 8.0), (10, 6.0), (15, 7.0))
            ]
            write_csv(part / f"seed{seed}/history.csv", history, list(history[0]))
    return tmp_path / "study"


def gathered(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    out = [folder / name for name in ("study.csv", "history.csv", "study.md")]
    gather(settings(), folder, STORES, *out)
    return pd.read_csv(out[0]), pd.read_csv(out[1])


def test_tables_of_a_study(folder: Path) -> None:
    table, history = gathered(folder)
    assert tuple(table.columns) == COLUMNS
    assert tuple(history.columns) == HISTORY_COLUMNS
    order = table[["comparison", "variant"]].drop_duplicates().to_numpy().tolist()
    assert order == [["cells", "few"], ["cells", "base"], ["width", "base"], ["width", "wide"]]
    assert set(table["label"]) == {"few", "Base", "wide"}
    assert "zero" not in set(table["network"])
    assert table.groupby("variant")["value"].apply(lambda v: sorted(set(v))).to_dict() == {
        "few": [3, 4],
        "base": [13, 14],
        "wide": [23, 24],
    }
    assert set(table["split"]) == {"test", "test:a"}
    assert table.loc[table["split"] == "test", "n_structures"].eq(5).all()
    for name, value in COST.items():
        assert table[name].eq(value).all()
    assert table["best_step"].eq(10).all()
    assert table["train_wall_s"].eq(1.5).all()
    cells = table.groupby("variant")["train_cells"].first()
    assert cells["few"] == 2 < cells["base"] == cells["wide"] < 30
    assert table.groupby("variant")["steps"].first()["wide"] == 700

    assert len(history) == 4 * len(SEEDS) * 3
    assert set(history["quantity"]) == {"force_mae"}
    assert set(history["unit"]) == {"meV/Å"}
    assert history.loc[history["step"] == 15, "wall_s"].eq(1.5).all()
    assert "Base" in (folder / "study.md").read_text(encoding="utf-8")


def test_bad_files_of_a_study(folder: Path) -> None:
    cost, history = folder / "phonon/base/cost.json", folder / "phonon/base/seed4/history.csv"
    cost.write_text(json.dumps({"parameters": 3}))
    with pytest.raises(InputError, match=r"base/cost.json: lacks"):
        gathered(folder)
    write_json(cost, COST)
    text = history.read_text()
    for broken, message in (
        (text.replace("8.0", "x"), "no training history"),
        ("step,wall_s\n", "no validation"),
    ):
        history.write_text(broken)
        with pytest.raises(InputError, match=rf"seed4/history.csv: .*{message}"):
            gathered(folder)
    history.unlink()
    with pytest.raises(InputError, match=r"seed4/history\.csv"):
        gathered(folder)

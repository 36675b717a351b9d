"""A study: which jobs it has, what a change reruns, and what comes out of a small one."""

from __future__ import annotations

import csv
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from tests.workflow.test_run import clone
from tests.workflow.tree import RULE_LINE, Tree

SEEDS = (1, 2)
VARIANTS = [
    {"name": "one", "network": "phonon", "comparisons": ["layers", "cells"], "label": "one layer"},
    {"name": "two", "network": "phonon", "comparisons": ["layers"], "settings": {"layers": 2}},
    {"name": "few", "network": "phonon", "comparisons": ["cells"], "settings": {"train_cells": 2}},
    {"name": "one", "network": "electron", "comparisons": ["width"]},
    {
        "name": "wide.2",
        "network": "electron",
        "comparisons": ["width"],
        "settings": {"channels": [20, 8, 6]},
    },
]
DRAWINGS = {"draw_ablation", "draw_learning_curve_cells", "draw_learning_curve_time"}
AFTER_TRAINING = {"gather_study"} | DRAWINGS
JOBS = {"verify_labels": 3, "fit_overlap": 1, "train_study": 10, "evaluate_study": 10, "study_cost": 5}
JOBS |= dict.fromkeys(AFTER_TRAINING, 1)
RUN = "results/study"


def study(variants: Sequence[dict] = VARIANTS, seeds: Sequence[int] = SEEDS) -> dict:
    return {"seeds": list(seeds), "variants": [dict(variant) for variant in variants]}


def changed(name: str, network: str, **values: object) -> dict:
    """The study with other values of one variant."""
    return study([v | values if (v["name"], v["network"]) == (name, network) else v for v in VARIANTS])


def write_config(tree: Tree, **sections: object) -> None:
    """The study in place of the default configuration, from that of the smallest run."""
    path = tree.path / "config/test.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    training = config["training"]
    training["electron"] |= {"steps": 6, "warmup_steps": 2, "validation_every": 3, "checkpoint_every": 3}
    config |= {"run": {"name": "study", "target": "study"}, "study": study()} | sections
    (tree.path / "config/config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


@pytest.fixture(scope="module")
def finished_study(fresh_tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A study whose files are stand-ins. Read only."""
    path = tmp_path_factory.mktemp("study") / "mlepi"
    shutil.copytree(fresh_tree.path, path, symlinks=True)
    tree = Tree(path)
    write_config(tree)
    tree.finish()
    return tree


@pytest.fixture
def study_tree(finished_study: Tree, tmp_path: Path) -> Tree:
    """A copy of it to change."""
    shutil.copytree(finished_study.path, tmp_path / "mlepi", symlinks=True)
    return Tree(tmp_path / "mlepi")


def jobs(tree: Tree) -> dict[str, set[str]]:
    """Planned jobs: folders of their first output, relative to the run, by rule."""
    text = tree.snakemake("--profile", "profiles/local", "-n").stdout
    found: dict[str, set[str]] = {}
    for rule, output in re.findall(
        rf"^(?:local)?rule (\w+):\n(?:    .*\n)*?    output: {RUN}/([^,\s]+)", text, re.MULTILINE
    ):
        found.setdefault(rule, set()).add(str(Path(output).parent))
    return found


def trainings(*variants: str) -> set[str]:
    return {f"study/{variant}/seed{seed}" for variant in variants for seed in SEEDS}


def test_jobs_of_a_study_and_its_cost(fresh_tree: Tree, tmp_path: Path) -> None:
    shutil.copytree(fresh_tree.path, tmp_path / "mlepi", symlinks=True)
    tree = Tree(tmp_path / "mlepi")
    write_config(tree)
    assert tree.planned() == JOBS
    text = tree.snakemake("-n", "--cores", "2", "tables").stdout
    planned = Counter(RULE_LINE.findall(text))
    assert planned == {name: n for name, n in JOBS.items() if name not in DRAWINGS} | {"tables": 1}
    assert "Run study: study of 5 variants with 2 seeds, 10 trainings" in text
    assert f"{RUN}/tables/study.md" in text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ablation", "learning-curves"])
def test_shipped_studies_plan(fresh_tree: Tree, name: str) -> None:
    text = fresh_tree.snakemake("-n", "--cores", "2", "--configfile", f"config/{name}.yaml").stdout
    planned = Counter(RULE_LINE.findall(text))
    assert planned["train_study"] == planned["evaluate_study"] == 2 * planned["study_cost"] > 10
    assert ("draw_learning_curve_cells" in planned) == (name == "learning-curves")
    assert f"{planned['train_study']} trainings" in text


@pytest.mark.slow
def test_a_study_has_no_report(fresh_tree: Tree) -> None:
    arguments = ("-n", "--cores", "2", "report", "--configfile", "config/ablation.yaml")
    done = fresh_tree.snakemake(*arguments, check=False)
    assert done.returncode != 0
    assert "Missing input files for rule report" in done.stdout


@pytest.mark.slow
def test_other_runs_have_no_study(fresh_tree: Tree, tmp_path: Path) -> None:
    """Not even with variants in their configuration."""
    shutil.copytree(fresh_tree.path, tmp_path / "mlepi", symlinks=True)
    tree = Tree(tmp_path / "mlepi")
    tree.configure(study=study())
    planned = tree.planned()
    assert "write_report" in planned
    assert not {name for name in planned if "study" in name or name in DRAWINGS}


@pytest.mark.slow
def test_without_learning_curve_over_cells(fresh_tree: Tree, tmp_path: Path) -> None:
    shutil.copytree(fresh_tree.path, tmp_path / "mlepi", symlinks=True)
    tree = Tree(tmp_path / "mlepi")
    write_config(tree, study=study([variant for variant in VARIANTS if variant["name"] != "few"]))
    planned = tree.planned()
    assert {"draw_ablation", "draw_learning_curve_time"} <= set(planned)
    assert "draw_learning_curve_cells" not in planned


def test_settings_of_a_variant_train_it_alone(study_tree: Tree) -> None:
    write_config(study_tree, study=changed("two", "phonon", settings={"layers": 2, "channels": 5}))
    planned = jobs(study_tree)
    assert set(planned) == {"train_study", "evaluate_study", "study_cost"} | AFTER_TRAINING
    assert planned["train_study"] == planned["evaluate_study"] == trainings("phonon/two")
    assert planned["study_cost"] == {"study/phonon/two"}
    write_config(study_tree)
    assert study_tree.planned() == {}


@pytest.mark.slow
def test_the_other_network_is_left_alone(study_tree: Tree) -> None:
    write_config(study_tree, study=changed("wide.2", "electron", settings={"channels": [18, 8, 6]}))
    assert jobs(study_tree)["train_study"] == trainings("electron/wide.2")
    config = yaml.safe_load((study_tree.path / "config/config.yaml").read_text(encoding="utf-8"))
    training = config["training"] | {"phonon": config["training"]["phonon"] | {"channels": 5}}
    write_config(study_tree, training=training)
    assert jobs(study_tree)["train_study"] == trainings("phonon/one", "phonon/two", "phonon/few")


@pytest.mark.slow
def test_variant_and_seed_added_and_removed(study_tree: Tree) -> None:
    more = {"name": "new", "network": "phonon", "comparisons": ["layers"], "settings": {"channels": 6}}
    write_config(study_tree, study=study([*VARIANTS, more]))
    assert jobs(study_tree)["train_study"] == trainings("phonon/new")
    write_config(study_tree, study=study(seeds=(1, 2, 7)))
    planned = study_tree.planned()
    assert planned["train_study"] == len(VARIANTS)
    assert "study_cost" not in planned
    write_config(study_tree, study=study(VARIANTS[:-1], seeds=[1]))
    assert set(study_tree.planned()) == AFTER_TRAINING


def test_label_of_a_variant_only_gathers(study_tree: Tree) -> None:
    write_config(study_tree, study=changed("one", "phonon", label="a single layer"))
    assert set(study_tree.planned()) == AFTER_TRAINING


@pytest.mark.slow
def test_structures_held_out(study_tree: Tree) -> None:
    config = yaml.safe_load((study_tree.path / "config/config.yaml").read_text(encoding="utf-8"))
    write_config(study_tree, labels=config["labels"] | {"hold_out_rms_force": 2.0})
    planned = study_tree.planned()
    assert {name: planned[name] for name in ("train_study", "evaluate_study")} == {
        "train_study": 10,
        "evaluate_study": 10,
    }


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_small_study(root: Path, tmp_path: Path) -> None:
    tree = clone(root, tmp_path / "mlepi")
    chosen = [variant | {"comparisons": ["all"]} for variant in VARIANTS if variant["name"] != "two"]
    write_config(tree, study=study(chosen))
    tree.snakemake("--profile", "profiles/local")
    assert tree.planned() == {}
    folder = tree.path / RUN

    errors = rows(folder / "tables/study.csv")
    assert ",".join(errors[0]) == (
        "comparison,network,variant,label,seed,parameters,flops_forward,flops_step,step_ms,memory_step_MiB,"
        "steps,train_cells,train_wall_s,best_step,split,quantity,unit,value,n_structures"
    )
    wanted = {(v["network"], v["name"], str(seed)) for v in chosen for seed in SEEDS}
    for split in ("train", "validation", "test", "reference"):
        found = {(r["network"], r["variant"], r["seed"]) for r in errors if r["split"] == split}
        assert found == wanted, split
    assert any(row["split"].startswith("test:") for row in errors)
    cells = {(row["network"], row["variant"]): int(row["train_cells"]) for row in errors}
    assert cells["phonon", "few"] == 2 < cells["phonon", "one"] == cells["electron", "one"]
    assert {row["label"] for row in errors} == {"one layer", "few", "one", "wide.2"}
    assert {row["steps"] for row in errors} == {"6"}
    parameters = {row["variant"]: int(row["parameters"]) for row in errors if row["network"] == "electron"}
    assert parameters["one"] < parameters["wide.2"]

    history = rows(folder / "tables/study_history.csv")
    assert {(r["network"], r["variant"], r["seed"]) for r in history} == wanted
    assert {row["step"] for row in history} == {"3", "6"}
    assert {row["quantity"] for row in history} >= {"force_mae", "hamiltonian_mae"}
    assert (folder / "tables/study.md").read_text(encoding="utf-8").count("|") > 20
    for name in ("ablation", "learning_curve_cells", "learning_curve_time"):
        assert (folder / f"figures/{name}.svg").stat().st_size > 1000
        assert rows(folder / f"figures/{name}.csv")
    assert not list((folder / "restart").rglob("*.pt"))
    assert not (folder / "report.html").exists()

    one, other = (folder / f"study/phonon/one/seed{seed}/history.csv" for seed in SEEDS)
    assert rows(one)[0]["train_loss"] != rows(other)[0]["train_loss"]

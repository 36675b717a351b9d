"""The workflow can be planned from a fresh clone: profiles, configurations, lint, messages."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.workflow.tree import MODELS, RULE_LINE, Tree


@pytest.mark.parametrize("name", [pytest.param("config", marks=pytest.mark.slow), "test", "paper"])
def test_every_configuration_plans_and_says_its_cost(fresh_tree: Tree, name: str) -> None:
    text = fresh_tree.snakemake("-n", "--cores", "2", "--configfile", f"config/{name}.yaml").stdout
    rules = set(RULE_LINE.findall(text))
    assert {"train_phonon", "train_electron", "sample_block", "write_report", "write_manifest"} <= rules
    assert re.search(r"Rough cost of a full run: .* GPU; .*disk \d+ [MG]B", text)


@pytest.mark.parametrize(("name", "networks"), [("bn", {"phonon", "electron"}), ("mos2-soc", {"electron"})])
def test_configurations_of_networks_alone(fresh_tree: Tree, name: str, networks: set[str]) -> None:
    """Without a target the networks with their errors and figures, and nothing that needs phonons."""
    text = fresh_tree.snakemake("-n", "--cores", "2", "--configfile", f"config/{name}.yaml").stdout
    rules = set(RULE_LINE.findall(text))
    each = {f"{rule}_{kind}" for kind in networks for rule in ("train", "evaluate", "draw_parity")}
    assert each | {"gather_errors", "compare_bands", "draw_learning_curves", "draw_bands"} <= rules
    others = {"compute_phonons", "sample_block", "build_structure", "write_report"}
    others |= {f"train_{kind}" for kind in {"phonon", "electron"} - networks}
    assert not others & rules
    assert f"results/{name}/tables/gauge.csv" in text
    assert re.search(r"Rough cost of a full run: .* GPU; disk \d+ MB", text)


def test_released_networks_are_not_trained(fresh_tree: Tree) -> None:
    """Everything else is made, and no two-centre tables, which only a training needs."""
    text = fresh_tree.snakemake("-n", "--cores", "2", "--configfile", "config/pretrained.yaml").stdout
    rules = RULE_LINE.findall(text)
    assert rules.count("take_model") == rules.count("model_card") == 2
    assert {"evaluate_phonon", "evaluate_electron", "sample_block", "write_report"} <= set(rules)
    assert not {"train_phonon", "train_electron", "join_models", "fit_overlap"} & set(rules)
    assert f"input: {MODELS}/electron.pt" in text


def test_one_network_taken_and_the_other_trained(fresh_tree: Tree, tmp_path: Path) -> None:
    config = yaml.safe_load((fresh_tree.path / "config/test.yaml").read_text(encoding="utf-8"))
    path = tmp_path / "mixed.yaml"
    path.write_text(yaml.safe_dump(config | {"models": {"phonon": f"{MODELS}/phonon.pt"}}), encoding="utf-8")
    rules = RULE_LINE.findall(fresh_tree.snakemake("-n", "--cores", "2", "--configfile", str(path)).stdout)
    assert rules.count("take_model") == rules.count("join_models") == rules.count("train_electron") == 1
    assert "train_phonon" not in rules


def test_full_training_names_the_data_that_are_missing(fresh_tree: Tree) -> None:
    arguments = ("-n", "--cores", "2", "--configfile", "config/bilayer-graphene.yaml")
    done = fresh_tree.snakemake(*arguments, check=False)
    assert done.returncode != 0
    place = "config/bilayer-graphene.yaml: labels.path[3] = data/bilayer-graphene/bilayer-rigid.h5"
    assert f"{place}: no such file or folder; put the data there, or set labels.path" in done.stdout
    assert "labels.reference[0]" in done.stdout
    assert "Traceback" not in done.stdout


def test_target_networks_of_any_configuration(fresh_tree: Tree) -> None:
    """The target stands before --configfile, which takes any number of files."""
    text = fresh_tree.snakemake("-n", "--cores", "2", "networks", "--configfile", "config/test.yaml").stdout
    rules = set(RULE_LINE.findall(text))
    assert {"networks", "train_phonon", "train_electron", "compare_bands"} <= rules
    assert not {"compute_phonons", "sample_block", "build_structure"} & rules


@pytest.mark.slow
def test_a_given_configuration_stands_alone(fresh_tree: Tree) -> None:
    text = fresh_tree.snakemake("-n", "--cores", "2", "--configfile", "config/test.yaml").stdout
    assert "results/test/samples/T300/block1.h5" in text
    assert "T100" not in text
    assert "results/quick" not in text


@pytest.mark.slow
def test_all_hamiltonians_kept_are_measured_from_their_files(fresh_tree: Tree) -> None:
    text = fresh_tree.snakemake("-n", "--cores", "2", "--configfile", "config/paper.yaml").stdout
    rules = RULE_LINE.findall(text)
    assert rules.count("predict_block") == rules.count("measure_hamiltonians") == 30
    assert "measure_samples" not in rules


@pytest.mark.parametrize(
    "arguments",
    [
        ("--profile", "slurm"),
        pytest.param(("--workflow-profile", "slurm"), marks=pytest.mark.slow),
        pytest.param(("--profile", "profiles/local-gpu"), marks=pytest.mark.slow),
    ],
)
def test_profiles_are_found(fresh_tree: Tree, arguments: tuple[str, str]) -> None:
    text = fresh_tree.snakemake(*arguments, "-n").stdout
    assert "train_electron" in text
    if "slurm" in arguments:
        assert "gpu_model=a100" in text


@pytest.mark.parametrize("name", ["default", "local", "local-gpu", "slurm"])
def test_profiles_agree_on_reruns_and_are_not_quiet(root: Path, name: str) -> None:
    profile = yaml.safe_load((root / "profiles" / name / "config.yaml").read_text(encoding="utf-8"))
    assert profile["rerun-incomplete"] is True
    assert profile["max-checksum-file-size"] == 1_000_000_000
    assert "quiet" not in profile
    assert name != "default" or not any("resources" in key for key in profile)
    assert name == "slurm" or "retries" not in profile


def test_slurm_profile_sends_every_gpu_rule_to_a_gpu(root: Path) -> None:
    profile = yaml.safe_load((root / "profiles/slurm/config.yaml").read_text(encoding="utf-8"))
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted((root / "rules").glob("*.smk")))
    blocks = re.split(r"^ *rule (\w+):\n", text, flags=re.MULTILINE)
    gpu_rules = {name for name, body in zip(blocks[1::2], blocks[2::2], strict=True) if "gpu=1" in body}
    assert gpu_rules
    assert gpu_rules == set(profile["set-resources"])


def test_a_target_plans_the_first_stage(fresh_tree: Tree, tmp_path: Path) -> None:
    """32 pairs in two blocks at each of four temperatures; what follows depends on their scatter."""
    config = yaml.safe_load((fresh_tree.path / "config/config.yaml").read_text(encoding="utf-8"))
    config["sampling"] |= {"max_pairs": 256, "target_error": {"velocity_manifold": {"relative": 1e-3}}}
    path = tmp_path / "target.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    text = fresh_tree.snakemake("-n", "--cores", "2", "--configfile", str(path)).stdout
    rules = RULE_LINE.findall(text)
    assert rules.count("check_precision") == 4
    assert rules.count("measure_samples") == 8
    assert "precision/T300/stage0.json" in text
    assert "up to 8 times as many samples" in text


def test_statistics_sample_every_scheme_and_nothing_else(fresh_tree: Tree) -> None:
    """The table of a comparison has the name of one that a complete run makes from its pairs."""
    text = fresh_tree.snakemake("-n", "--cores", "2", "--configfile", "config/statistics.yaml").stdout
    rules = RULE_LINE.findall(text)
    assert rules.count("sample_scheme") == rules.count("measure_scheme") == 5
    assert rules.count("compare_schemes") == 1
    assert not {"tabulate_velocity", "sample_block", "write_report", "train_phonon"} & set(rules)
    assert "960 samples" in text


def test_lint(fresh_tree: Tree) -> None:
    assert "Congratulations" in fresh_tree.snakemake("--lint").stdout


def test_format(root: Path) -> None:
    command = [sys.executable, "-m", "snakefmt", "--check", "Snakefile", "rules"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_rule_has_its_digests(root: Path) -> None:
    """Config and code reach a job through params only, and every computing rule has both."""
    for path in sorted((root / "rules").glob("*.smk")):
        text = path.read_text(encoding="utf-8")
        count = len(re.findall(r"^ *(?:rule|checkpoint)\b", text, flags=re.MULTILINE))
        for directive in (
            "cfg=",
            "code=",
            "log:",
            "benchmark:",
            "conda:",
            "threads:",
            "resources:",
            "script:",
        ):
            found = len(re.findall(rf"^ +{directive}", text, flags=re.MULTILINE))
            assert found == count, (path.name, directive)
        assert "shell:" not in text


def test_every_script_belongs_to_a_rule(root: Path) -> None:
    scripts = sorted((root / "workflow_scripts").glob("[!_]*.py"))
    used = {
        name
        for path in (root / "rules").glob("*.smk")
        for name in re.findall(r"workflow_scripts/(\w+\.py)", path.read_text(encoding="utf-8"))
    }
    assert {path.name for path in scripts} == used - {"_job.py"}


def bad_config(tree: Tree, tmp_path: Path, **sections: dict[str, object]) -> str:
    config = yaml.safe_load((tree.path / "config/config.yaml").read_text(encoding="utf-8"))
    for name, values in sections.items():
        config[name] = {**config.get(name, {}), **values}
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    done = tree.snakemake("-n", "--cores", "1", "--configfile", str(path), check=False)
    assert done.returncode != 0
    assert "train_phonon" not in done.stdout
    return done.stdout


def test_negative_temperature_stops_the_plan(fresh_tree: Tree, tmp_path: Path) -> None:
    text = bad_config(fresh_tree, tmp_path, sampling={"temperatures": [0, -5]})
    assert "bad.yaml: sampling.temperatures[1] = -5: must be ≥ 0 K\n" in text
    assert "Traceback" not in text


@pytest.mark.slow
def test_unknown_key_stops_the_plan(fresh_tree: Tree, tmp_path: Path) -> None:
    text = bad_config(fresh_tree, tmp_path, sampling={"temperature": 300})
    assert "sampling.temperature: unknown key; did you mean temperatures?" in text


@pytest.mark.slow
def test_missing_store_stops_the_plan(fresh_tree: Tree, tmp_path: Path) -> None:
    text = bad_config(fresh_tree, tmp_path, labels={"path": ["resources/none.h5"]})
    assert "labels.path[0] = resources/none.h5: no such file or folder" in text


@pytest.mark.slow
def test_missing_model_stops_the_plan(fresh_tree: Tree, tmp_path: Path) -> None:
    text = bad_config(fresh_tree, tmp_path, models={"phonon": "resources/none.pt"})
    assert "bad.yaml: models.phonon = resources/none.pt: no such file" in text


@pytest.mark.slow
def test_message_without_the_package(tree: Tree) -> None:
    """A Python without the package or its libraries gives one clear error instead of a traceback."""
    broken = tree.path / "mlepi_core/config/__init__.py"
    broken.write_text("raise ModuleNotFoundError('No module named pydantic')\n", encoding="utf-8")
    done = tree.snakemake("-n", "--cores", "1", check=False)
    assert done.returncode != 0
    assert "mlepi_core cannot be imported" in done.stdout
    assert "make install" in done.stdout
    assert "Traceback" not in done.stdout

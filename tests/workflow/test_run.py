"""The whole workflow on its smallest configuration, for real; and what happens when it is killed."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.workflow.tree import LABELS, PARTS, RAW, RULE_LINE, Tree

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
ARGUMENTS = ("--profile", "profiles/local", "--configfile", "config/test.yaml")
RESULTS = Path("results/test")


def clone(root: Path, path: Path) -> Tree:
    """The sources, and the real label files."""
    path.mkdir()
    for part in PARTS:
        if (root / part).is_dir():
            shutil.copytree(root / part, path / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(root / part, path / part)
    for folder in (LABELS, RAW):
        shutil.copytree(root / folder, path / folder)
    return Tree(path)


@pytest.fixture(scope="module")
def finished(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    tree = clone(root, tmp_path_factory.mktemp("run") / "mlepi")
    tree.snakemake(*ARGUMENTS)
    return tree


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_second_run_does_nothing(finished: Tree) -> None:
    assert "Nothing to be done" in finished.snakemake(*ARGUMENTS).stdout


def test_tables_have_the_promised_columns(finished: Tree) -> None:
    tables = finished.path / RESULTS / "tables"
    velocity = rows(tables / "velocity.csv")
    assert ",".join(velocity[0]) == (
        "estimator,supercell_n,temperature_K,window_lo_per_A,window_hi_per_A,v_m_per_s,v_se_m_per_s,"
        "v_static_m_per_s,ratio,ratio_se,n_pairs,n_evaluations,seed"
    )
    sound = {"manifold", "bilayer", "operator", "spectral", "self_energy"}
    assert {row["estimator"] for row in velocity} == {"naive"} | sound
    assert ",".join(rows(tables / "errors.csv")[0]) == "model,split,quantity,unit,value,n_structures"
    assert ",".join(rows(tables / "estimators.csv")[0]) == (
        "scheme,observable,temperature_K,supercell_n,cost_ratio_to_plain,ratio_lo,ratio_hi,n_evaluations"
    )
    assert ",".join(rows(tables / "static_velocity.csv")[0]) == (
        "structure,layers,estimator,window_lo_per_A,window_hi_per_A,v_true_m_per_s,v_predicted_m_per_s,"
        "relative_difference"
    )
    assert list(rows(tables / "frozen_phonon.csv")[0])[:4] == [
        "structure",
        "states",
        "pattern",
        "splitting_true_eV_per_A",
    ]
    details = json.loads((tables / "velocity.json").read_text())
    assert details["imaginary_policy"] == "floor"
    assert details["n_touched_modes"] > 0


def test_figures_are_not_blank(finished: Tree) -> None:
    from matplotlib.image import imread

    folder = finished.path / RESULTS / "figures"
    names = sorted(path.stem for path in folder.glob("*.png"))
    assert len(names) == 9
    for name in names:
        assert np.ptp(imread(folder / f"{name}.png")) > 0.5, name
        assert (folder / f"{name}.svg").read_text(encoding="utf-8").count("<path") > 5, name
        assert rows(folder / f"{name}.csv"), name


def test_every_job_leaves_a_log_and_a_benchmark(finished: Tree) -> None:
    results = finished.path / RESULTS
    logs = {path.relative_to(results / "logs").with_suffix("") for path in (results / "logs").rglob("*.log")}
    benchmarks = {
        path.relative_to(results / "benchmarks").with_suffix("")
        for path in (results / "benchmarks").rglob("*.jsonl")
    }
    assert logs == benchmarks
    assert Path("samples/T300/block1") in logs


def test_report_is_self_contained(finished: Tree) -> None:
    text = (finished.path / RESULTS / "report.html").read_text(encoding="utf-8")
    assert "<svg" in text or "data:image" in text
    assert 'src="http' not in text


def test_manifest_knows_the_labels(finished: Tree) -> None:
    manifest = json.loads((finished.path / RESULTS / "manifest.json").read_text())
    assert "resources/bilayer-graphene/rigid.h5" in manifest["labels"]
    assert "tables/velocity.csv" in manifest["files"]
    assert manifest["commit"] is None


def test_snakemakes_own_report(finished: Tree) -> None:
    out = finished.path / RESULTS / "snakemake-report.html"
    finished.snakemake(*ARGUMENTS, "--report", str(out))
    assert out.stat().st_size > 100_000


def test_committee_of_two(finished: Tree, tmp_path: Path) -> None:
    """A second member is trained beside the first one, and the spread of both is calibrated."""
    path = tmp_path / "mlepi"
    shutil.copytree(finished.path, path, symlinks=True)
    with (path / "config/test.yaml").open("a", encoding="utf-8") as handle:
        handle.write("\ncommittee: 2\n")
    results = path / RESULTS
    before = (results / "models/members/electron_1.pt").read_bytes()
    targets = [str(RESULTS / name) for name in ("tables/errors.csv", "figures/calibration.png")]
    targets.append(str(RESULTS / "figures/learning_curves.png"))
    done = Tree(path).snakemake(*targets, *ARGUMENTS)
    rules = RULE_LINE.findall(done.stdout)
    assert rules.count("train_electron") == rules.count("train_phonon") == 1
    assert (results / "models/members/electron_1.pt").read_bytes() == before
    for kind in ("phonon", "electron"):
        assert {row["member"] for row in rows(results / f"tables/history_{kind}.csv")} == {"1", "2"}
    errors = {(row["model"], row["split"], row["quantity"]) for row in rows(results / "tables/errors.csv")}
    assert {("phonon", "test", "force_spread"), ("electron", "test", "hamiltonian_spread")} <= errors
    summary = [row for row in rows(results / "tables/calibration.csv") if row["bin"] == "all"]
    assert {row["split"] for row in summary} == {"validation", "test", "reference"}
    assert {row["model"] for row in summary} == {"phonon", "electron"}


def with_target(tree: Tree, text: str) -> str:
    """Ask a run of one temperature for a precision; what snakemake says when it makes table and report."""
    path = tree.path / "config/test.yaml"
    kept, found = re.subn(r"  pairs: .*\n(  max_pairs.*\n  target_error.*\n)?", text, path.read_text("utf-8"))
    assert found == 1
    path.write_text(kept, encoding="utf-8")
    targets = [str(RESULTS / name) for name in ("tables/precision.csv", "report.html")]
    return tree.snakemake(*targets, *ARGUMENTS).stdout


def test_samples_are_added_until_the_target_is_reached(finished: Tree, tmp_path: Path) -> None:
    """An easy target keeps the first 32 pairs; one out of reach doubles them, and the report says so."""
    path = tmp_path / "mlepi"
    shutil.copytree(finished.path, path, symlinks=True)
    tree, table = Tree(path), path / RESULTS / "tables/precision.csv"
    config = (path / "config/test.yaml").read_text(encoding="utf-8")
    config = config.replace("temperatures: [0, 300]", "temperatures: [300]").replace(
        "block_size: 4 ", "block_size: 32 "
    )
    (path / "config/test.yaml").write_text(config, encoding="utf-8")
    target = "  pairs: 32\n  max_pairs: 48\n  target_error: {{velocity_operator: {{{}}}}}\n"
    said = with_target(tree, target.format("relative: 0.9"))
    assert RULE_LINE.findall(said).count("measure_samples") == 2
    (easy,) = rows(table)
    assert (easy["met"], easy["n_pairs"], easy["stages"]) == ("True", "32", "1")
    assert "target precision was not reached" not in (path / RESULTS / "report.html").read_text("utf-8")

    said = with_target(tree, target.format("absolute: 1e-3"))
    assert RULE_LINE.findall(said).count("measure_samples") == 1  # the third block: pairs 32 to 47
    (hard,) = rows(table)
    assert (hard["met"], hard["n_pairs"], hard["stages"]) == ("False", "48", "2")
    assert float(hard["wanted"]) == 1e-3
    kept = ("spectral", "self_energy")  # rest on the Hamiltonians that are kept
    velocity = [row for row in rows(table.with_name("velocity.csv")) if row["estimator"] not in kept]
    assert {row["n_pairs"] for row in velocity} == {"48"}
    assert "The target precision was not reached" in (path / RESULTS / "report.html").read_text("utf-8")


def test_killed_run_goes_on_to_the_same_history(finished: Tree, tmp_path: Path) -> None:
    """After kill -9 of snakemake and its training, a new run ends with the history of an undisturbed one."""
    path = tmp_path / "mlepi"
    shutil.copytree(
        finished.path, path, symlinks=True, ignore=shutil.ignore_patterns("results", ".snakemake")
    )
    tree = Tree(path)
    target = str(RESULTS / "models/electron.pt")
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", target, *ARGUMENTS],
        cwd=path,
        env=os.environ | {"PYTHONPATH": str(path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for_restart_file(path / RESULTS / "restart/electron", process)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (path / target).exists()
    locked = tree.snakemake(target, *ARGUMENTS, check=False)
    assert locked.returncode != 0
    assert "lock" in locked.stdout.lower()
    tree.snakemake(*ARGUMENTS, "--unlock")
    tree.snakemake(target, *ARGUMENTS)
    resumed, undisturbed = (
        [{key: value for key, value in row.items() if key != "wall_s"} for row in rows(file)]
        for file in (t.path / RESULTS / "tables/history_electron.csv" for t in (tree, finished))
    )
    assert resumed == undisturbed


def wait_for_restart_file(folder: Path, process: subprocess.Popen[bytes], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, "the run ended before it could be killed"
        if any(path.suffix == ".pt" for path in folder.glob("*")):
            return
        time.sleep(0.05)
    raise AssertionError("no restart file was written")

"""What a change reruns, in both directions: everything that depends on it and nothing else."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from tests.workflow.tree import LABELS, MODELS, RAW, Tree

END = {"write_report", "write_manifest"}
TIMING = {"gather_timing", "draw_timing"}
VELOCITY = {"tabulate_velocity", "draw_velocity", "draw_convergence"}
DISPLACEMENTS = {"tabulate_samples", "draw_displacements"}
SAMPLES = {"sample_block"} | DISPLACEMENTS
HAMILTONIANS = {"predict_block", "measure_samples", "gather_temperature"} | VELOCITY
STATIC = {"build_static", "predict_static", "measure_static"}
PHONONS = {"compute_phonons", "tabulate_phonons", "draw_phonon_bands"}
BANDS = {"compare_bands", "draw_bands"}
JOIN = {"join_models", "draw_learning_curves"}
CALIBRATION = {"calibrate_phonon", "calibrate_electron", "gather_calibration", "draw_calibration"}
ERRORS = {"gather_errors", "model_card", "draw_parity_phonon", "draw_parity_electron"}
AFTER_PHONON_NET = {"evaluate_phonon"} | ERRORS | PHONONS | STATIC | SAMPLES | HAMILTONIANS | TIMING | END
DERIVATIVES = {"derive_hamiltonian", "freeze_phonons"}
AFTER_ELECTRON_NET = (
    {"evaluate_electron", "predict_static", "measure_static", "compare_static_velocity"}
    | DERIVATIVES
    | ERRORS
    | BANDS
    | HAMILTONIANS
    | TIMING
    | END
)


def edit(tree: Tree, name: str, pattern: str, replacement: str) -> None:
    """Replace the only match of a pattern in a source file."""
    path = tree.path / name
    text, count = re.subn(pattern, replacement, path.read_text(encoding="utf-8"), count=1)
    assert count == 1, (name, pattern)
    path.write_text(text, encoding="utf-8")


def append(tree: Tree, name: str, text: str) -> None:
    with (tree.path / name).open("a", encoding="utf-8") as handle:
        handle.write(text)


def touch_all(folder: Path) -> None:
    later = time.time() + 60
    for path in folder.rglob("*"):
        os.utime(path, (later, later))


def test_nothing_changed(tree: Tree) -> None:
    assert tree.planned() == {}


def test_touched_files_rerun_nothing(tree: Tree) -> None:
    touch_all(tree.path / "resources")
    touch_all(tree.path / "config")
    touch_all(tree.path / "mlepi_core")
    assert tree.planned() == {}


@pytest.mark.slow
def test_other_spelling_of_the_same_settings(tree: Tree) -> None:
    tree.configure(
        sampling={"temperatures": [0.0, "1e2", 200, 300.0]},
        phonons={"method": "finite_differences", "displacement": "2e-2"},
    )
    assert tree.planned() == {}


def test_temperature_added(tree: Tree) -> None:
    tree.configure(sampling={"temperatures": [0, 100, 200, 250, 300]})
    planned = tree.planned()
    assert set(planned) == SAMPLES | HAMILTONIANS | TIMING | END
    blocks = len(list((tree.path / "results/quick/samples/T0").iterdir()))
    assert planned["sample_block"] == planned["measure_samples"] == blocks
    assert planned["gather_temperature"] == 1


@pytest.mark.slow
def test_temperature_removed(tree: Tree) -> None:
    tree.configure(sampling={"temperatures": [0, 100, 200]})
    assert set(tree.planned()) == DISPLACEMENTS | VELOCITY | TIMING | END


@pytest.mark.slow
def test_more_pairs_add_blocks(tree: Tree) -> None:
    before = len(list((tree.path / "results/quick/samples/T0").iterdir()))
    tree.configure(sampling={"pairs": 24})
    planned = tree.planned()
    assert set(planned) == (SAMPLES | HAMILTONIANS | TIMING | END) - {"predict_block"}
    assert planned["sample_block"] == 4 * (3 - before)


def test_figure_setting(tree: Tree) -> None:
    tree.configure(figures={"bands": {"window": 2.0}})
    assert set(tree.planned()) == {"draw_bands"} | END


@pytest.mark.slow
def test_setting_of_all_figures(tree: Tree) -> None:
    tree.configure(figures={"dpi": 99})
    planned = set(tree.planned())
    assert planned - END == {name for name in planned if name.startswith("draw_")}
    assert len(planned - END) == 9


@pytest.mark.slow
def test_electron_training(tree: Tree) -> None:
    tree.configure(training={"electron": {"seed": 7}})
    planned = tree.planned()
    assert set(planned) == {"train_electron"} | JOIN | AFTER_ELECTRON_NET
    assert planned["join_models"] == 1


@pytest.mark.slow
def test_phonon_training(tree: Tree) -> None:
    tree.configure(training={"phonon": {"seed": 7}})
    planned = tree.planned()
    assert set(planned) == {"train_phonon"} | JOIN | AFTER_PHONON_NET
    assert planned["join_models"] == 1


@pytest.mark.slow
def test_committee_trains_only_what_is_new(tree: Tree) -> None:
    """Members of a smaller committee are kept; those of a larger one stay on disk and are left out."""
    after = JOIN | AFTER_PHONON_NET | AFTER_ELECTRON_NET
    tree.configure(committee=2)
    planned = tree.planned()
    assert set(planned) == {"train_phonon", "train_electron"} | CALIBRATION | after
    assert [planned[name] for name in ("train_phonon", "train_electron", "join_models")] == [1, 1, 2]
    tree.finish()
    assert tree.planned() == {}
    tree.configure(sampling={"pairs": 24}, figures={"dpi": 99})
    assert not set(tree.planned()) & ({"train_phonon", "train_electron", "join_models"} | CALIBRATION) - {
        "draw_calibration"
    }
    tree.configure(sampling={"pairs": 32}, figures={"dpi": 150}, committee=3)
    planned = tree.planned()
    assert set(planned) == {"train_phonon", "train_electron"} | CALIBRATION | after
    assert planned["train_phonon"] == planned["train_electron"] == 1
    text = tree.snakemake("--profile", "profiles/local", "-n").stdout
    assert "models/members/electron_3.pt" in text
    tree.configure(committee=1)
    assert set(tree.planned()) == after


@pytest.mark.slow
def test_another_content_of_a_model_that_is_taken(tree: Tree) -> None:
    tree.configure(models={"electron": f"{MODELS}/electron.pt"})
    after = {"take_model", "draw_learning_curves"} | AFTER_ELECTRON_NET
    assert set(tree.planned()) == after
    tree.finish()
    assert tree.planned() == {}
    touch_all(tree.path / MODELS)
    assert tree.planned() == {}
    tree.replace_label("phonon.pt", folder=MODELS)
    assert tree.planned() == {}
    tree.replace_label("electron.pt", folder=MODELS)
    assert set(tree.planned()) == after


@pytest.mark.slow
def test_velocity_setting(tree: Tree) -> None:
    tree.configure(velocity={"directions": 2})
    measurements = {"measure_static", "measure_samples", "gather_temperature", "compare_static_velocity"}
    assert set(tree.planned()) == measurements | VELOCITY | TIMING | END


def test_check_left_out_measures_nothing_again(tree: Tree) -> None:
    tree.configure(checks={"references": [f"{RAW}/bg_ab_prim.scfout.xz"]})
    assert set(tree.planned()) == {"compare_static_velocity"} | TIMING | END


@pytest.mark.slow
def test_steps_of_the_derivative(tree: Tree) -> None:
    tree.configure(derivative={"steps": [2e-3]})
    assert set(tree.planned()) == {"derive_hamiltonian"} | TIMING | END


@pytest.mark.slow
def test_replaced_displaced_cells(tree: Tree) -> None:
    tree.replace_label("phonon-displacements-4x4.h5")
    assert set(tree.planned()) == {"verify_labels"} | DERIVATIVES | TIMING | END


@pytest.mark.slow
def test_comments_and_docstrings_rerun_nothing(tree: Tree) -> None:
    edit(tree, "mlepi_core/sampling/thermal.py", r'\A"""', '"""Changed words. ')
    append(tree, "mlepi_core/sampling/thermal.py", "\n# a remark\n")
    assert tree.planned() == {}


@pytest.mark.slow
def test_code_of_the_sampler(tree: Tree) -> None:
    append(tree, "mlepi_core/sampling/thermal.py", "\n_ANOTHER_NUMBER = 1\n")
    planned = set(tree.planned())
    assert "sample_block" in planned
    assert not planned & (PHONONS | {"train_phonon", "train_electron", "fit_overlap", "evaluate_phonon"})


@pytest.mark.slow
def test_code_of_one_network_does_not_retrain_the_other(tree: Tree) -> None:
    append(tree, "mlepi_core/nn/electron.py", "\n_ANOTHER_NUMBER = 1\n")
    planned = set(tree.planned())
    assert "train_electron" in planned
    assert not planned & (PHONONS | {"train_phonon", "evaluate_phonon", "sample_block"})


@pytest.mark.slow
def test_code_of_the_other_network(tree: Tree) -> None:
    append(tree, "mlepi_core/nn/phonon.py", "\n_ANOTHER_NUMBER = 1\n")
    planned = set(tree.planned())
    assert {"train_phonon", "compute_phonons"} <= planned
    assert not planned & {
        "train_electron",
        "evaluate_electron",
        "compare_bands",
        "compare_static_velocity",
    }


@pytest.mark.slow
def test_replaced_training_store(tree: Tree) -> None:
    tree.replace_label("rigid.h5")
    planned = set(tree.planned())
    assert {"verify_labels", "fit_overlap", "train_phonon", "train_electron", "compare_bands"} <= planned
    assert "build_structure" not in planned


@pytest.mark.slow
def test_replaced_reference_store_trains_nothing(tree: Tree) -> None:
    tree.replace_label("twisted-21.79.h5")
    expected = {"verify_labels", "evaluate_phonon", "evaluate_electron"} | ERRORS | BANDS | TIMING | END
    assert set(tree.planned()) == expected


@pytest.mark.slow
def test_replaced_phonon_reference(tree: Tree) -> None:
    tree.replace_label("slip.csv")
    phonons = {"tabulate_phonons", "draw_phonon_bands", "model_card"}
    assert set(tree.planned()) == {"verify_labels"} | phonons | TIMING | END


@pytest.mark.slow
def test_replaced_static_reference(tree: Tree) -> None:
    tree.replace_label("graphene_prim.scfout.xz", folder=RAW)
    assert set(tree.planned()) == {"verify_labels", "compare_static_velocity"} | TIMING | END


@pytest.mark.slow
def test_store_replaced_without_its_checksum_is_verified_again(tree: Tree) -> None:
    tree.replace_label("rigid.h5", listed=False)
    assert "verify_labels" in tree.planned()
    done = tree.snakemake(
        "--profile", "profiles/local", "--cores", "1", "--until", "verify_labels", check=False
    )
    assert done.returncode != 0
    assert f"{LABELS}/rigid.h5: checksum mismatch" in done.stdout
    log = (tree.path / f"results/quick/logs/labels/{LABELS}/rigid.h5.log").read_text(encoding="utf-8")
    assert log.splitlines()[-1].startswith(f"{LABELS}/rigid.h5: checksum mismatch")
    assert "Traceback" not in log


@pytest.mark.slow
def test_deleted_table_is_made_again(tree: Tree) -> None:
    (tree.path / "results/quick/tables/velocity.csv").unlink()
    planned = set(tree.planned())
    assert planned == {"tabulate_velocity", "draw_velocity", "draw_convergence"} | TIMING | END


@pytest.mark.slow
def test_deleted_intermediate_is_not_made_again(tree: Tree) -> None:
    (tree.path / "results/quick/samples/T300/block0.h5").unlink()
    assert tree.planned() == {}

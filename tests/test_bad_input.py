"""Bad input to every verb: one line that names file or field, exit code 2, nothing written.

`test_cli.py` has paths that do not exist and wrong arguments; here are files that are damaged, foreign, of
the wrong kind or of another structure, each through the command itself.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlepi_core.cli import main
from tests.damaged import FIRST, RAW, ROOT, make


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good artefacts of every kind, and damaged copies of them."""
    path = tmp_path_factory.mktemp("bad")
    make(path)
    return path


def run(capsys: pytest.CaptureFixture[str], arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(arguments.split())
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err.strip()


def state(folder: Path) -> dict[Path, tuple[int, int]]:
    """Files with size and time of change."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


BANDS = f"--structure {FIRST} --kpoints k.txt --out b.csv"
SAMPLE = "--supercell 3 3 1 --pairs 2 --seed 1 --out s.h5 --temperature"
RAW_FILES = os.fspath(RAW)

CASES = [
    # OpenMX results
    ("convert header.scfout o.h5", r"header\.scfout: is truncated in field header: .*; copy it again"),
    ("convert start.scfout o.h5", r"start\.scfout: is truncated in field atv"),
    ("convert middle.scfout o.h5", r"middle\.scfout: is truncated in field OLP_p"),
    ("convert end.scfout o.h5", r"end\.scfout: is truncated"),
    ("info end.scfout", r"end\.scfout: is truncated"),
    (
        "convert old.scfout o.h5",
        r"old\.scfout: has the header of OpenMX 3\.8 .*; run it again with OpenMX 3\.9",
    ),
    ("convert text.scfout o.h5", r"text\.scfout: is not an \.scfout file"),
    ("convert cut.scfout.xz o.h5", r"cut\.scfout\.xz: damaged compressed file"),
    (
        "convert other.scfout.xz o.h5",
        r"other\.out\.xz: belongs to another run: other species; give the \.out",
    ),
    (
        f"convert {RAW_FILES}/mos2_soc_prim.scfout.xz {RAW_FILES}/o2_spin.scfout.xz o.h5",
        r"o\.h5: entry o2_spin has spin 'collinear', the store 'soc'; write calculations of each kind",
    ),
    (
        f"convert {RAW_FILES}/bg_ab_prim.Band.xz o.h5",
        r".*Band\.xz: a file of kind 'band' cannot be converted",
    ),
    ("convert electron.pt o.h5", r"electron\.pt: a file of kind 'model' cannot be converted"),
    ("convert samples.h5 o.h5", r"samples\.h5: a file of kind 'samples' cannot be converted"),
    ("convert empty o.h5", r"empty: holds nothing that can be converted"),
    ("convert store.h5 store.h5 o.h5", rf"o\.h5: entry '{FIRST}' is there already"),
    ("convert store.h5 k.txt/o.h5", r"k\.txt/o\.h5: its folder cannot be made \(.*\); choose another place"),
    ("convert store.h5 o.abc", r"o\.abc: its suffix does not say what to write; give --to"),
    # label stores
    ("info cut.h5", r"cut\.h5: not a complete HDF5 file"),
    ("convert cut.h5 o.xyz", r"cut\.h5: not a complete HDF5 file"),
    (f"bands cut.h5 {BANDS}", r"cut\.h5: not a complete HDF5 file"),
    ("evaluate electron.pt cut.h5 --json o.json", r"cut\.h5: not a complete HDF5 file"),
    ("train phonon good.yaml --store cut.h5 --out m.pt", r"cut\.h5: not a complete HDF5 file"),
    ("overlap cut.h5 o.h5", r"cut\.h5: not a complete HDF5 file"),
    (f"bands flipped_hamiltonian.h5 {BANDS}", rf"flipped_hamiltonian\.h5: entry {FIRST} cannot be read"),
    ("evaluate electron.pt flipped_hamiltonian.h5 --json o.json", r"flipped_hamiltonian\.h5: entry"),
    ("convert flipped_hamiltonian.h5 o.h5", r"flipped_hamiltonian\.h5: entry"),
    ("info flipped_positions.h5", r"flipped_positions\.h5: entry .*damaged"),
    ("train phonon good.yaml --store flipped_positions.h5 --out m.pt", r"flipped_positions\.h5: entry"),
    ("info foreign.h5", r"foreign\.h5: HDF5 file with schema None; known schemas"),
    (f"bands foreign.h5 {BANDS}", r"foreign\.h5: schema is None, not 'mlepi-labels'; give a label store"),
    (f"bands samples.h5 {BANDS}", r"samples\.h5: schema is 'mlepi-samples', not 'mlepi-labels'"),
    ("info no_version.h5", r"no_version\.h5: attributes of the root cannot be read"),
    ("info newer.h5", r"newer\.h5: was written by a newer version; update mlepi"),
    ("info bad_basis.h5", r"bad_basis\.h5: attributes of the root cannot be read"),
    ("info loose.h5", r"loose\.h5: loose is no group"),
    ("info no_element.h5", r"no_element\.h5: entry .*not those of elements"),
    ("info short_positions.h5", r"short_positions\.h5: entry .*wrong length"),
    ("info short_forces.h5", r"short_forces\.h5: entry .*forces have shape"),
    ("info short_layer.h5", r"short_layer\.h5: entry .*wrong length"),
    (f"bands short_hamiltonian.h5 {BANDS}", r"short_hamiltonian\.h5: entry .*its pairs need"),
    (f"bands nan_hamiltonian.h5 {BANDS}", r"nan_hamiltonian\.h5: entry .*hamiltonian is not finite"),
    ("evaluate phonon.pt nan_forces.h5 --json o.json", r"nan_forces\.h5: entry .*forces is not finite"),
    (
        "bands store.h5 --kpoints k.txt --out b.csv",
        rf"store\.h5: holds 6 entries; name one with --structure: {FIRST}, ",
    ),
    ("bands store.h5 --structure x --kpoints k.txt --out b.csv", r"store\.h5: has no entry 'x'; it holds: "),
    (f"bands store.h5 --structure {FIRST} --kpoints k.txt --out empty", r"empty: is a folder; name the file"),
    ("overlap store.h5 o.h5 --split test", r"store\.h5: has no converged entry of split 'test'"),
    # configuration and training
    ("train phonon unknown.yaml", r"unknown\.yaml: sampling\.pair: unknown key; did you mean pairs\?"),
    ("train phonon cold.yaml", r"cold\.yaml: sampling\.temperatures\[1\] = -5: must be ≥ 0 K"),
    ("train phonon unit.yaml", r"unit\.yaml: sampling\.temperatures\[0\] = 300 K: must be a number"),
    ("train phonon no_path.yaml", r"no_path\.yaml: phonons\.reference = none\.yaml: no such file"),
    ("train phonon no_store.yaml", r"no_store\.yaml: labels\.path\[0\] = none\.h5: no such file or folder"),
    ("train phonon syntax.yaml", r"syntax\.yaml: expected .* in line 6; correct the YAML syntax"),
    ("train phonon number_key.yaml", r"number_key\.yaml: sampling\[1\]: unknown key; known keys are"),
    ("train phonon list_key.yaml", r"list_key\.yaml: key \[1, 2\] is no word in line 1; correct the YAML"),
    ("train phonon documents.yaml", r"documents\.yaml: expected a single document .* in line 6"),
    ("train phonon binary.yaml", r"binary\.yaml: is not a text file in UTF-8"),
    (
        "train phonon good.yaml --store unconverged.h5 --out m.pt",
        rf"unconverged\.h5: .*{FIRST} is not converged",
    ),
    (
        "train electron good.yaml --store unconverged.h5 --out m.pt",
        rf"unconverged\.h5: .*{FIRST} is not conv",
    ),
    (
        "train phonon good.yaml --store reference_only.h5 --out m.pt",
        r"reference_only\.h5: no structures for train",
    ),
    (
        "train electron good.yaml --store reference_only.h5 --out m.pt",
        r"reference_only\.h5: no structures for tr",
    ),
    (
        "train phonon good.yaml --store train_only.h5 --out m.pt",
        r"train_only\.h5: no structures for validation",
    ),
    ("train electron good.yaml --store no_blocks.h5 --out m.pt", r"no_blocks\.h5: no .*with H and S"),
    ("train phonon good.yaml --store no_forces.h5 --out m.pt", r"no_forces\.h5: no .*with forces"),
    ("train phonon good.yaml --store nan_forces.h5 --out m.pt", r"nan_forces\.h5: entry .*not finite"),
    (
        "train phonon good.yaml --store misspelt.h5 --out m.pt",
        r"misspelt\.h5: .*split 'tarin' is unknown; use",
    ),
    (
        "train phonon good.yaml --store store.h5 --store store.h5 --out m.pt",
        r"store\.h5: is named twice",
    ),
    ("train electron good.yaml --store store.h5 --store bn.h5 --out m.pt", r"bn\.h5: basis .*store\.h5"),
    ("train phonon good.yaml --out m.pt --from electron.pt", r"electron\.pt: is a model of kind 'electron'"),
    ("train electron good.yaml --out m.pt --from phonon.pt", r"phonon\.pt: is a model of kind 'phonon'"),
    ("train phonon good.yaml --out m.pt --from phonon_half.pt", r"phonon_half\.pt: is not a complete model"),
    # models
    *[
        (f"{verb} {kind}_{name}.pt {rest}".rstrip(), rf"{kind}_{name}\.pt: {problem}")
        for kind in ("phonon", "electron")
        for name, problem in (
            ("empty", "is not a complete model file .*; copy it again or train again"),
            ("half", "is not a complete model file"),
            ("end", "is not a complete model file"),
            ("flipped", "is damaged: wrong checksum of .*; copy it again"),
            ("newer", "has version 99 of the schema; update mlepi"),
        )
        for verb, rest in (
            ("info", ""),
            ("predict", "ab.xyz o.h5"),
            ("evaluate", "store.h5 --json o.json"),
        )
    ],
    *[
        (f"predict {kind}_{name}.pt ab.xyz o.h5", rf"{kind}_{name}\.pt: {problem}")
        for kind in ("phonon", "electron")
        for name, problem in (
            ("no_architecture", "lacks architecture; train it again"),
            ("other_architecture", "does not fit this version of mlepi .*unheard_of"),
            ("no_weight", "does not fit this version of mlepi .*Missing key"),
        )
    ],
    ("predict foreign.pt ab.xyz o.h5", r"foreign\.pt: is not a model file of mlepi"),
    ("predict text.pt ab.xyz o.h5", r"text\.pt: is not a complete model file"),
    ("predict store.h5 ab.xyz o.h5", r"store\.h5: is not a complete model file"),
    (
        "phonons electron.pt ab.xyz --supercell 2 2 1 --out ph",
        r"electron\.pt: is a model of kind 'electron'; give",
    ),
    # structures for models
    *[
        (f"predict {kind}.pt {source} o.h5", message)
        for kind in ("phonon", "electron")
        for source, message in (
            ("none.xyz", r"none\.xyz: no such file; check the path"),
            ("cut.xyz", r"cut\.xyz: ASE cannot read it"),
            ("boron.xyz", r"boron\.xyz: holds B, which the model does not know; the model was trained on C"),
            ("second.xyz", r"second\.xyz: structure_0001: holds B, which the model does not know"),
            ("nan.xyz", r"nan\.xyz: positions: atom 0 has a coordinate that is not finite"),
            ("store.h5", r"store\.h5: schema is 'mlepi-labels', not 'mlepi-samples'; give a sample file"),
            ("samples_cut.h5", r"samples_cut\.h5: not a complete sample file"),
            ("samples_flipped.h5", r"samples_flipped\.h5: not a complete sample file"),
            ("samples_no_cell.h5", r"samples_no_cell\.h5: not a complete sample file"),
        )
    ],
    ("info samples_no_cell.h5", r"samples_no_cell\.h5: not a complete sample file"),
    ("predict electron.pt near.xyz o.h5", r"near\.xyz: two-centre overlap C-C: distance .* lies below"),
    ("predict electron.pt ab.xyz empty", r"empty: is a folder; name the file to write"),
    *[
        (f"evaluate {kind}.pt {store}.h5{split} --json o.json", rf"{store}\.h5: {message}")
        for kind in ("phonon", "electron")
        for store, split, message in (
            ("store", " --split test", "holds no converged entry of split 'test' .*; choose another"),
            ("all_unconverged", "", "holds no converged entry"),
            ("bn", "", "entry bn_bilayer_prim: holds B, N, which the model does not know")
            if kind == "electron"
            else ("no_forces", "", "holds no converged entry with forces"),
        )
    ],
    (
        "phonons phonon.pt boron.xyz --supercell 2 2 1 --out ph",
        r"boron\.xyz: .*holds B, which the model does not",
    ),
    (
        "phonons phonon.pt second.xyz --supercell 2 2 1 --out ph",
        r"second\.xyz: it holds 2 structures; choose one",
    ),
    ("phonons phonon.pt no_cell.xyz --supercell 2 2 1 --out ph", r"no_cell\.xyz: pbc: .*give a cell"),
    (
        "phonons phonon.pt ab.xyz --supercell 2 2 1 --out ph --displacement -1",
        r"displacement: is -1\.0 Å; give",
    ),
    # sampling
    (
        f"sample aa {SAMPLE} 300",
        r"aa: imaginary modes: 2 of 105 modes .*: 17\.7\di, 17\.7\di cm⁻¹; .*--imaginary",
    ),
    (f"sample aa {SAMPLE} 300 --imaginary floor", r"floor_cm1: is None with imaginary = floor; give"),
    (f"sample phonons {SAMPLE} -5", r"temperature: is -5\.0 K; give a temperature ≥ 0 K"),
    (f"sample phonons {SAMPLE} nan", r"temperature: is nan K"),
    (f"sample phonons {SAMPLE} 300 --seed -1", r"mlepi sample: .*'--seed': -1 is not in the range"),
    (
        f"sample empty {SAMPLE} 300",
        r"empty: has no phonopy_params\.yaml; give a folder made by `mlepi phonons`",
    ),
    (
        f"sample cut_constants {SAMPLE} 300",
        r"cut_constants/phonopy_params\.yaml: is not a complete phonopy file",
    ),
    (f"sample cut_reference {SAMPLE} 300", r"cut_reference/reference\.extxyz: ASE cannot read it"),
    (f"sample cut_report {SAMPLE} 300", r"cut_report/relaxation\.json: is not JSON"),
    ("info cut_constants", r"cut_constants/phonopy_params\.yaml: is not a complete phonopy file"),
    ("info cut_report", r"cut_report/relaxation\.json: is not JSON"),
    # velocities
    *[
        (f"velocity {store}.h5 --static {static}.h5 --json o.json --estimator {rest}", message)
        for store, static, rest, message in (
            (
                "thermal",
                "stretched",
                "operator",
                r"thermal\.h5 with stretched\.h5: .*lattice constants differ",
            ),
            (
                "thermal",
                "stretched",
                "manifold",
                r"thermal\.h5 with stretched\.h5: .*lattice constants differ",
            ),
            (
                "thermal",
                "monolayer",
                "operator",
                r"thermal\.h5 with monolayer\.h5: .*number of layers differs",
            ),
            ("thermal", "store", "operator", r"store\.h5: holds 6 entries; name one"),
            ("thermal", "cut", "operator", r"cut\.h5: not a complete HDF5 file"),
            ("store", "static", "operator", rf"store\.h5: entry {FIRST} is no thermal sample; give samples"),
            ("all_unconverged", "static", "operator", r"all_unconverged\.h5: holds no converged entry"),
            ("two_temperatures", "static", "operator", r"two_temperatures\.h5: .*samples of .* K and .* K"),
            ("thermal", "static", "operator --window 0.1 0.2", r"window: the estimator operator has none"),
            ("thermal", "static", "manifold --window 0.3 0.2", r"velocity window: \[0\.3, 0\.2\] 1/Å; give"),
            (
                "thermal",
                "static",
                "manifold --window 3 20",
                r"thermal\.h5: p0_\+1: velocity window: \|k\| = 20",
            ),
        )
    ],
]


@pytest.mark.parametrize(
    ("arguments", "message"), CASES, ids=[re.sub(r"/\S*/", "", case[0]) for case in CASES]
)
def test_one_line_and_nothing_written(
    arguments: str,
    message: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    before = state(folder)
    code, out, line = run(capsys, arguments)
    assert code == 2, (code, out, line)
    assert out == ""
    assert "\n" not in line
    assert len(line) < 400
    assert re.match(message, line), line
    assert state(folder) == before, "no partial output, no old file touched"


GOOD = [
    ("store.h5", "store"),
    ("electron.pt", "model"),
    ("phonon.pt", "model"),
    ("phonons", "phonons"),
    ("samples.h5", "samples"),
    ("tables.h5", "overlap-tables"),
    ("ab.xyz", "extxyz"),
    (f"{RAW_FILES}/bg_ab_prim.scfout.xz", "scfout"),
    (f"{RAW_FILES}/bg_ab_prim.out.xz", "openmx-out"),
    (f"{RAW_FILES}/bg_ab_prim.Band.xz", "band"),
]


@pytest.mark.parametrize(("file", "kind"), GOOD, ids=[kind for _, kind in GOOD])
def test_info_of_every_kind(
    file: str, kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert run(capsys, f"info {file}")[0] == 0
    code, out, line = run(capsys, f"info {file} --json")
    assert (code, line) == (0, "")
    assert json.loads(out)["kind"] == kind


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("convert middle.scfout o.h5", "middle.scfout: is truncated"),
        ("predict electron.pt boron.xyz o.h5", "boron.xyz: holds B, which the model does not know"),
    ],
)
def test_in_a_process_of_its_own(arguments: str, message: str, folder: Path) -> None:
    code = "from mlepi_core.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments.split()],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(message)
    assert len(done.stderr.splitlines()) == 1
    assert not (folder / "o.h5").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_folder_that_cannot_be_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    tmp_path.chmod(0o555)
    code, out, line = run(capsys, f"convert store.h5 {tmp_path}/o.h5")
    tmp_path.chmod(0o755)
    assert (code, out) == (2, "")
    assert line == f"{tmp_path}/o.h5: its folder cannot be written; choose another place or get permission"

"""Stages of derivatives: dH/du beside finite steps, patterns to label stores, frozen phonons."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from click.testing import CliRunner

from mlepi_core.artefacts import InputError
from mlepi_core.cli.main import mlepi
from mlepi_core.electrons import BlochHamiltonian
from mlepi_core.electrons.displacement_response import Displaced, atom_response, superpose
from mlepi_core.electrons.frozen_phonon import patterns
from mlepi_core.formats.store import LabelStore, StoreWriter
from mlepi_core.inference.electron_derivatives import hamiltonian_derivative
from mlepi_core.nn.hamiltonian import load_hamiltonian_model
from mlepi_core.stages.derivative import DERIVATIVE_COLUMNS, derivative, pattern_derivative, single_atom
from mlepi_core.stages.frozen_phonon import FROZEN_PHONON_COLUMNS, frozen_phonon
from mlepi_core.structures import build_ab, build_supercell, write_structure

DISPLACED = Path(__file__).parents[2] / "resources/bilayer-graphene/phonon-displacements-4x4.h5"


@pytest.fixture(scope="module")
def structure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("structure") / "ab.extxyz"
    write_structure(path, build_ab(lattice_constant=2.474, distance=3.16, cell_height=14.0))
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_steps_are_compared_with_the_exact_derivative(quick_model: Path, structure: Path, tmp_path: Path):
    derivative(quick_model, structure, tmp_path / "d.csv", steps=[1e-3, 1e-4], device="cpu")
    table = rows_of(tmp_path / "d.csv")
    assert tuple(table[0]) == DERIVATIVE_COLUMNS
    assert [(row["quantity"], float(row["step_A"])) for row in table] == [
        ("dH_norm", 0.0),
        ("dH_norm", 1e-4),
        ("dH_norm", 1e-3),
        ("dH_disagreement", 1e-4),
        ("dH_disagreement", 1e-3),
    ]
    norms, (small, large) = [float(row["value"]) for row in table[:3]], [float(r["value"]) for r in table[3:]]
    assert norms[1] == pytest.approx(norms[0], rel=1e-6)
    assert small < 1e-6
    assert large == pytest.approx(100 * small, rel=0.2), "the error of a central difference is quadratic"


def test_displaced_cells_of_dft_are_compared(quick_model: Path, structure: Path, tmp_path: Path):
    rows = derivative(
        quick_model, structure, tmp_path / "d.csv", steps=[1e-3], reference=DISPLACED, device="cpu"
    )
    pairs = [row for row in rows if " " in row["quantity"]]
    assert [row["source"] for row in pairs] == ["dft", "predicted", "predicted"] * 2
    assert [row["step_A"] for row in pairs] == pytest.approx([0.02] * 6, abs=1e-5)
    true, predicted, error = (row["value"] for row in pairs[:3])
    assert true == pytest.approx(49.0, abs=0.2)
    assert abs(predicted - true) / true <= error


def test_pattern_of_a_file_and_of_an_atom_agree(quick_model: Path, structure: Path, tmp_path: Path):
    atoms = build_ab()
    np.save(tmp_path / "p.npy", single_atom(atoms, 2, "y"))
    frame = atoms.copy()
    frame.set_array("displacements", 2 * single_atom(atoms, 2, "y"))
    write_structure(tmp_path / "p.extxyz", frame)
    common = (quick_model, structure)
    norm = pattern_derivative(*common, tmp_path / "a.h5", atom=2, axis="y", device="cpu")
    pattern_derivative(*common, tmp_path / "b.h5", pattern=tmp_path / "p.npy", device="cpu")
    double = pattern_derivative(*common, tmp_path / "c.h5", pattern=tmp_path / "p.extxyz", device="cpu")
    entries = []
    for name in "abc":
        with LabelStore(tmp_path / f"{name}.h5") as store:
            assert store.attrs["quantity"] == "derivative"
            entries.append(store.read("ab"))
    one, same, twice = entries
    assert (one.attrs["quantity"], one.attrs["unit"]) == ("derivative", "eV/angstrom")
    assert np.linalg.norm(one.blocks.hamiltonian) == pytest.approx(norm) == pytest.approx(double / 2)
    for name in ("hamiltonian", "overlap"):
        value = getattr(one.blocks, name)
        assert np.array_equal(getattr(same.blocks, name), value)
        assert np.allclose(getattr(twice.blocks, name), 2 * value, rtol=1e-6, atol=1e-12)


def test_verb(quick_model: Path, structure: Path, tmp_path: Path):
    arguments = ["derivative", str(quick_model), str(structure), str(tmp_path / "d.h5"), "--device", "cpu"]
    done = CliRunner().invoke(mlepi, [*arguments, "--atom", "0", "--axis", "x"])
    assert done.exit_code == 0, done.output
    assert "derivative of H, norm" in done.output
    (tmp_path / "k.txt").write_text("0 0 0\n")
    store, out = str(tmp_path / "d.h5"), str(tmp_path / "out")
    for misuse in (
        ["bands", store, "--kpoints", str(tmp_path / "k.txt"), "--out", out],
        ["convert", store, out, "--to", "store"],
        ["evaluate", str(quick_model), store, "--json", out],
    ):
        refused = CliRunner().invoke(mlepi, misuse)
        assert "holds derivatives of H and S, no Hamiltonians" in str(refused.exception), misuse
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give a file, or --atom and --axis"),
        ({"atom": 0}, "give a file, or --atom and --axis"),
        ({"atom": 0, "axis": "x", "pattern": "p.npy"}, "give a file, or --atom and --axis"),
        ({"atom": 4, "axis": "x"}, "atom: 4 of 4; count from 0 to 3"),
        ({"pattern": "none.npy"}, "none.npy: cannot be read"),
        ({"pattern": "short.npy"}, r"short.npy: has shape \(2, 3\)"),
        ({"pattern": "ab.extxyz"}, "has no array 'displacements'"),
    ],
)
def test_bad_patterns(structure: Path, tmp_path: Path, monkeypatch, options: dict, message: str):
    monkeypatch.chdir(tmp_path)
    np.save("p.npy", np.zeros((4, 3)))
    np.save("short.npy", np.zeros((2, 3)))
    write_structure("ab.extxyz", build_ab())
    with pytest.raises(InputError, match=message):
        pattern_derivative("model.pt", structure, "out.h5", device="cpu", **options)
    assert not Path("out.h5").exists()


@pytest.mark.filterwarnings("ignore:frozen phonon .* no value")  # so short a training has no Dirac cone
def test_frozen_phonons_of_dft(quick_model: Path, structure: Path, tmp_path: Path):
    """PBE in the basis of the data: D² of the layers within 10 % of the published plane-wave values."""
    out = tmp_path / "f.csv"
    frozen_phonon(quick_model, structure, out, reference=DISPLACED, device="cpu")
    table = rows_of(out)
    assert tuple(table[0]) == FROZEN_PHONON_COLUMNS
    names = ["E2g_x", "E2g_y", "A1'"]
    cases = [("bilayer", "layer"), ("bilayer", "all"), ("monolayer", "layer")]
    assert [(r["structure"], r["states"], r["pattern"]) for r in table] == [
        (*case, name) for case in cases for name in names
    ]
    for row in table[:6]:
        published = float(row["coupling_published_eV2_per_A2"])
        assert float(row["coupling_true_eV2_per_A2"]) == pytest.approx(published, rel=0.1)
    assert {row["splitting_true_eV_per_A"] for row in table[6:]} == {""}
    splittings = [float(row["splitting_true_eV_per_A"]) for row in table[:6]]
    assert splittings[0] == pytest.approx(splittings[1], rel=1e-6), "the two E2g modes are equivalent"
    assert splittings[3:] == pytest.approx(splittings[:3], rel=0.02), "layers hybridise, couplings stay"
    finite = [float(row["finite_true_eV_per_A"]) for row in table[:3]]
    assert finite == pytest.approx(splittings[:3], rel=1e-3)


@pytest.mark.filterwarnings("ignore:frozen phonon .* no value")
def test_one_sublattice_gives_no_true_values(quick_model: Path, structure: Path, tmp_path: Path):
    path = tmp_path / "half.h5"
    with LabelStore(DISPLACED) as source, StoreWriter(path, source.basis) as writer:
        for name in source.names[:2]:
            writer.add(source.read(name))
    with pytest.warns(UserWarning, match="no true values, .*half.h5.*no displacement of an atom like"):
        rows = frozen_phonon(quick_model, structure, tmp_path / "f.csv", reference=path, device="cpu")
    assert len(rows) == 9
    assert {row["splitting_true_eV_per_A"] for row in rows} == {None}


def test_displaced_cells_give_the_exact_derivative(quick_model: Path):
    """Images, symmetry and superposition of displaced cells of a network against its exact derivative.

    E2g repeats with the displaced cell, so only the finite displacement is approximate; A1' does not, and the
    network sees farther than half of that cell.
    """
    model = load_hamiltonian_model(quick_model, device="cpu")
    primitive = build_ab(lattice_constant=2.474, distance=3.16, cell_height=14.0)
    ideal, atoms = (build_supercell(primitive, (n, n, 1)) for n in (4, 3))
    move, responses = np.array([2e-4, 0, 3e-4]), {}
    for kappa in (0, 1):
        ends = []
        for sign in (1, -1):
            moved = ideal.copy()
            moved.positions[16 * kappa] += sign * move
            ends.append(model.predict([moved])[0])
        responses[kappa] = atom_response(primitive, ideal, Displaced(16 * kappa, move, *ends), (0, 0, 1, 1))
        assert responses[kappa].asymmetry < 1e-5
    for name, pattern in patterns(atoms, 0).items():
        expected = hamiltonian_derivative(model, atoms, pattern)
        values = superpose(responses, primitive, 3, pattern)
        (dh, ds), (h, s) = (
            BlochHamiltonian.from_atoms(atoms, blocks).matrices((0, 0, 0)) for blocks in (values, expected)
        )
        assert np.linalg.norm(dh - h) < (1e-5 if name != "A1'" else 2e-2) * np.linalg.norm(h)
        assert np.linalg.norm(ds - s) < 1e-5 * np.linalg.norm(s)


def test_bands_without_a_cone_give_no_value(quick_model: Path, structure: Path, tmp_path: Path):
    with pytest.warns(UserWarning, match="no value, a gap of"):
        rows = frozen_phonon(quick_model, structure, tmp_path / "f.csv", device="cpu")
    assert len(rows) == 9
    assert None in {row["splitting_predicted_eV_per_A"] for row in rows}
    assert {row["splitting_true_eV_per_A"] for row in rows} == {None}


def nitride() -> Atoms:
    return build_ab(elements=("B", "N"))


def oblong() -> Atoms:
    return build_supercell(build_ab(), (2, 1, 1))


@pytest.mark.parametrize(
    ("build", "reason"), [(nitride, "not made of carbon"), (oblong, "n x n cell of graphene layers")]
)
def test_no_cone_no_rows(quick_model: Path, tmp_path: Path, build, reason: str):
    write_structure(tmp_path / "s.extxyz", build())
    with pytest.warns(UserWarning, match=reason):
        rows = frozen_phonon(quick_model, tmp_path / "s.extxyz", tmp_path / "f.csv", device="cpu")
    assert rows == []
    assert (tmp_path / "f.csv").read_text() == ",".join(FROZEN_PHONON_COLUMNS) + "\n"

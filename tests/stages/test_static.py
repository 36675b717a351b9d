"""Velocity of static cells: true values through reader and estimators, and those of a network."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from ase import Atoms

from mlepi_core.artefacts import InputError
from mlepi_core.config.observables import VelocitySection
from mlepi_core.formats.blocks import BlockMatrix
from mlepi_core.formats.store import LabelStore, StoreWriter
from mlepi_core.stages.static import STATIC_COLUMNS, read_reference, static_velocity

RESOURCES = Path(__file__).parents[2] / "resources"
RIGID = RESOURCES / "bilayer-graphene/rigid.h5"
BILAYER = RESOURCES / "openmx-raw/bg_ab_prim.scfout.xz"
MONOLAYER = RESOURCES / "openmx-raw/graphene_prim.scfout.xz"
SECTION = VelocitySection(windows=[(0.03, 0.10), (0.03, 0.05)], naive_windows=[(0.05, 0.10)], directions=1)


class ScaledTruth:
    """A model that predicts 1.02 H for the structures of references: every velocity rises by 2 %."""

    def __init__(self, *references: Path) -> None:
        self.known = [read_reference(path) for path in references]

    def predict(self, structures: list[Atoms]) -> list[BlockMatrix]:
        (atoms,) = structures
        (blocks,) = (entry.blocks for entry in self.known if len(entry.atoms) == len(atoms))
        return [blocks.with_values(hamiltonian=1.02 * blocks.hamiltonian)]


@pytest.fixture
def scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The true H, scaled, takes the place of the network."""
    model = ScaledTruth(BILAYER, MONOLAYER)
    monkeypatch.setattr("mlepi_core.nn.hamiltonian.load_hamiltonian_model", lambda *_, **__: model)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def one_entry(source: Path, path: Path, **changes: object) -> Path:
    """Label store at `path` with the only cell of an OpenMX file."""
    from mlepi_core.formats.openmx import read_openmx

    entry, basis = read_openmx(source)
    for name, value in changes.items():
        setattr(entry, name, value)
    with StoreWriter(path, basis) as writer:
        writer.add(entry)
    return path


@pytest.mark.filterwarnings("ignore:.*predicted H. no value")  # so short a training has no Dirac cone
def test_true_values_beside_those_of_a_network(quick_model: Path, tmp_path: Path) -> None:
    """PBE with this basis: 0.863 to 0.864e6 m/s for graphene, 0.855 to 0.866e6 m/s for AB."""
    out = tmp_path / "static_velocity.csv"
    static_velocity(quick_model, [BILAYER, MONOLAYER], out, SECTION, device="cpu")
    table = rows_of(out)
    assert tuple(table[0]) == STATIC_COLUMNS
    cases = [(row["structure"], row["layers"], row["estimator"], row["window_hi_per_A"]) for row in table]
    expected = [("naive", "0.1"), ("manifold", "0.1"), ("manifold", "0.05")]
    expected += [("bilayer", "0.1"), ("bilayer", "0.05"), ("operator", "")]
    assert cases == [("bg_ab_prim", "2", *case) for case in expected] + [
        ("graphene_prim", "1", *case) for case in expected if case[0] != "bilayer"
    ]
    for row in table:
        if row["structure"] == "graphene_prim":
            assert 0.86e6 < float(row["v_true_m_per_s"]) < 0.89e6, row
        elif row["estimator"] != "naive":
            assert 0.85e6 < float(row["v_true_m_per_s"]) < 0.875e6, row
        if row["v_predicted_m_per_s"]:
            difference = float(row["v_predicted_m_per_s"]) / float(row["v_true_m_per_s"]) - 1
            assert float(row["relative_difference"]) == pytest.approx(difference)
        else:
            assert row["relative_difference"] == ""


@pytest.mark.usefixtures("scaled")
@pytest.mark.filterwarnings("error")
def test_both_hamiltonians_go_through_every_estimator(tmp_path: Path) -> None:
    rows = static_velocity("model", [BILAYER, MONOLAYER], tmp_path / "t.csv", SECTION, device="cpu")
    assert len(rows) == 6 + 4
    assert [row["relative_difference"] for row in rows] == pytest.approx([0.02] * len(rows), abs=1e-9)


@pytest.mark.usefixtures("scaled")
def test_store_gives_what_the_raw_file_gives(tmp_path: Path) -> None:
    store = one_entry(BILAYER, tmp_path / "ab.h5")
    first, second = (
        static_velocity("model", [path], tmp_path / "t.csv", SECTION, device="cpu")
        for path in (BILAYER, store)
    )
    for one, other in zip(first, second, strict=True):
        assert one["v_true_m_per_s"] == pytest.approx(other["v_true_m_per_s"], rel=1e-9)


@pytest.mark.usefixtures("scaled")
def test_other_stackings_lack_only_the_bilayer_estimator(tmp_path: Path) -> None:
    """bg_rigid_000 is AA, far from the E_low = 0 at K that `bilayer` assumes."""
    path = tmp_path / "aa.h5"
    with LabelStore(RIGID) as source, StoreWriter(path, source.basis) as writer:
        writer.add(source.read("bg_rigid_000"))
    with pytest.warns(UserWarning, match=r"bg_rigid_000, true H: no value, .*bilayer needs AB stacking"):
        rows = static_velocity("model", [path], tmp_path / "t.csv", SECTION, device="cpu")
    without = {row["estimator"] for row in rows if row["v_true_m_per_s"] is None}
    assert without == {"bilayer"}


def test_without_references_the_table_has_a_header_only(quick_model: Path, tmp_path: Path) -> None:
    assert static_velocity(quick_model, [], tmp_path / "t.csv", SECTION, device="cpu") == []
    assert (tmp_path / "t.csv").read_text() == ",".join(STATIC_COLUMNS) + "\n"


def test_raw_file_without_its_out_file(tmp_path: Path) -> None:
    path = shutil.copy(MONOLAYER, tmp_path)
    assert read_reference(path).atoms.arrays["layer"].tolist() == [0, 0]


def test_other_species_are_refused_by_file(quick_model: Path, tmp_path: Path) -> None:
    path = MONOLAYER.with_name("bn_bilayer_prim.scfout.xz")
    with pytest.raises(InputError, match=r"bn_bilayer_prim\.scfout\.xz: .*which the model does not know"):
        static_velocity(quick_model, [path], tmp_path / "t.csv", SECTION, device="cpu")
    assert not (tmp_path / "t.csv").exists()


def test_refused_references(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"rigid\.h5: holds 48 entries; give a store of the static cell"):
        read_reference(RIGID)
    with pytest.raises(InputError, match=r"is of kind 'band'; give a label store or an OpenMX"):
        read_reference(MONOLAYER.with_name("graphene_prim.Band.xz"))
    with pytest.raises(InputError, match="graphene_prim is not converged"):
        read_reference(one_entry(MONOLAYER, tmp_path / "bad.h5", converged=False))
    with pytest.raises(InputError, match="has no H or S"):
        read_reference(one_entry(MONOLAYER, tmp_path / "no_h.h5", blocks=None))

"""Verb `info`: what it says of every kind of file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.stages.info import format_info, info

RESOURCES = Path(__file__).resolve().parents[2] / "resources"
RAW = RESOURCES / "openmx-raw"
BUNDLE = RESOURCES / "bilayer-graphene"


@pytest.mark.parametrize(
    "path",
    [
        RAW / "bg_ab_prim.scfout.xz",
        RAW / "mos2_soc_prim.scfout.xz",
        RAW / "o2_spin.scfout.xz",
        RAW / "bg_ab_prim.out.xz",
        RAW / "bg_ab_prim.Band.xz",
        BUNDLE / "slips.h5",
    ],
)
def test_is_json_and_text(path):
    content = info(path)
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["path"] == str(path)
    assert f"kind: {content['kind']}" in format_info(content).splitlines()


def test_scfout_gives_labels_as_read():
    content = info(RAW / "bg_ab_prim.scfout.xz")
    assert content["energy_eV"] == pytest.approx(-635.3022821, abs=1e-6)
    assert content["fermi_level_eV"] == pytest.approx(-3.559088633, abs=1e-8)
    assert content["forces_eV_per_A"][3][2] == pytest.approx(0.01004281161, abs=1e-10)
    assert content["converged"] is True


@pytest.mark.parametrize(
    ("stem", "spin"), [("bg_ab_prim", "none"), ("o2_spin", "collinear"), ("mos2_soc_prim", "soc")]
)
def test_spin_is_told(stem, spin):
    content = info(RAW / f"{stem}.scfout.xz")
    assert content["spin"] == spin
    assert f"spin: {spin}" in format_info(content).splitlines()


def test_store():
    content = info(BUNDLE / "twisted-21.79.h5")
    assert content["spin"] == "none"
    assert content["splits"] == {"reference": 1}
    assert content["basis"] == {"C": [0, 0, 1, 1]}
    [entry] = content["entries"]
    assert (entry["name"], entry["n_atoms"], entry["n_layers"]) == ("tbg_21.79_eq", 28, 2)
    assert len(entry["forces_eV_per_A"]) == 28
    assert "forces" not in format_info(content).replace("max_force", "")


def test_model(tmp_path):
    torch = pytest.importorskip("torch")
    model = {"schema": "mlepi-model", "version": 1, "kind": "phonon", "species": ["C"], "code_version": "0"}
    model |= {"architecture": {"layers": 2}, "statistics": {"mean": torch.tensor([1.5])}, "tables": None}
    model |= {"state_dict": {"w": torch.zeros(3, 4)}, "history": [{"step": 1}, {"step": 2}]}
    torch.save(model, tmp_path / "phonon.pt")
    content = info(tmp_path / "phonon.pt")
    assert (content["kind"], content["network"], content["n_parameters"]) == ("model", "phonon", 12)
    assert content["statistics"] == {"mean": [1.5]}
    assert content["last_history_row"] == {"step": 2}
    (tmp_path / "half.pt").write_bytes((tmp_path / "phonon.pt").read_bytes()[:300])
    with pytest.raises(InputError, match="not a complete model file"):
        info(tmp_path / "half.pt")


def test_truncated_store_is_refused(tmp_path):
    path = tmp_path / "cut.h5"
    path.write_bytes((BUNDLE / "twisted-21.79.h5").read_bytes()[:100_000])
    with pytest.raises(InputError, match=r"cut\.h5: not a complete HDF5 file"):
        info(path)


def test_folder_is_refused():
    with pytest.raises(InputError, match="folder"):
        info(BUNDLE)


def test_phonons():
    content = info(BUNDLE / "phonopy_params.yaml.xz")
    assert (content["kind"], content["formula"], content["n_commensurate_q"]) == ("phonons", "C4", 16)
    assert content["imaginary_modes"] == []
    assert content["highest_frequency_cm1"] == pytest.approx(1613, abs=10)

"""Good artefacts of every kind in one folder, and damaged copies of them."""

from __future__ import annotations

import lzma
import shutil
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import torch

from mlepi_core.config.training import ElectronTraining, PhononTraining
from mlepi_core.formats.store import LabelStore, StoreWriter
from mlepi_core.phonons import ImaginaryModesWarning, run_phonons, write_phonons
from mlepi_core.stages.convert import convert
from mlepi_core.stages.overlap import overlap
from mlepi_core.stages.sample import sample
from mlepi_core.stages.train import train
from mlepi_core.structures import build_aa, build_ab, write_structure
from tests.phonons.spring_model import SpringBilayer

ROOT = Path(__file__).parent.parent
DATA = ROOT / "resources" / "bilayer-graphene"
RAW = ROOT / "resources" / "openmx-raw"
SPLITS = ("train", "train", "validation", "train", "validation", "train")
FIRST = "bg_rigid_000"
STEPS = {"steps": 2, "warmup_steps": 1, "batch_size": 2, "validation_every": 1}
SMALL = {"channels": [4, 3, 2], "edge_channels": [3, 2], "head_channels": [4, 3, 2], "head_unnatural": [0, 2]}
CONFIG = """\
run: {name: bad}
labels: {path: store.h5}
training:
  phonon: {steps: 2, warmup_steps: 1, validation_every: 2, checkpoint_every: 2, channels: 4}
  electron: {steps: 2, warmup_steps: 1, validation_every: 2, checkpoint_every: 2}
"""


def make(path: Path) -> None:
    """Write all files into the folder `path`; networks are trained for two steps."""
    _good_files(path)
    _bad_raw_files(path)
    _bad_stores(path)
    _bad_models(path)
    _bad_samples_and_phonons(path)
    _bad_structures(path)
    _bad_configurations(path)
    _velocity_stores(path)


def _good_files(path: Path) -> None:
    with LabelStore(DATA / "rigid.h5") as source, StoreWriter(path / "store.h5", source.basis) as writer:
        for name, split in zip(source.names[::8], SPLITS, strict=False):
            writer.add(replace(source.read(name), split=split))
    stores = [path / "store.h5"]
    overlap(stores, path / "tables.h5", smoothing=1e-16)
    electron = ElectronTraining(**SMALL, **STEPS, radial_hidden=[8], n_radial=6)
    train("electron", electron, stores, path / "electron.pt", tables=path / "tables.h5", device="cpu")
    phonon = PhononTraining(**STEPS, channels=4, radial_hidden=[8], cutoff_intra=3.2, cutoff_inter=4.5)
    train("phonon", phonon, stores, path / "phonon.pt", device="cpu")
    write_phonons(path / "phonons", run_phonons(build_ab(distance=3.2), SpringBilayer(), (3, 3, 1)))
    sample(path / "phonons", (3, 3, 1), 300.0, 1, 1, path / "samples.h5")
    write_structure(path / "ab.xyz", build_ab())
    (path / "k.txt").write_text("0 0 0\n0.5 0 0\n")
    (path / "empty").mkdir()


def _bad_raw_files(path: Path) -> None:
    raw = lzma.decompress((RAW / "bg_ab_prim.scfout.xz").read_bytes())
    for name, cut in (("header", 20), ("start", 1000), ("middle", len(raw) // 2), ("end", len(raw) - 1)):
        (path / f"{name}.scfout").write_bytes(raw[:cut])
    # Before 3.9 the file began with the number of atoms and had no version.
    old = np.array([4, 0, 4, 4, 728, 1], dtype="<i4").tobytes()
    (path / "old.scfout").write_bytes(old + raw[len(old) :])
    (path / "text.scfout").write_text("System.Name  graphene\n" * 200)
    (path / "cut.scfout.xz").write_bytes((RAW / "bg_ab_prim.scfout.xz").read_bytes()[:5000])
    shutil.copy(RAW / "bg_ab_prim.scfout.xz", path / "other.scfout.xz")
    shutil.copy(RAW / "graphene_prim.out.xz", path / "other.out.xz")


def _bad_stores(path: Path) -> None:
    good = (path / "store.h5").read_bytes()
    (path / "cut.h5").write_bytes(good[: len(good) // 2])
    with h5py.File(path / "store.h5") as file:
        chunks = {key: file[FIRST][key].id.get_chunk_info(0) for key in ("hamiltonian", "positions")}
    for key, chunk in chunks.items():
        _flip(path / "store.h5", path / f"flipped_{key}.h5", chunk.byte_offset + chunk.size // 2)
    with h5py.File(path / "foreign.h5", "w") as file:
        file["numbers"] = np.arange(3)
    for name, change in STORE_CHANGES.items():
        shutil.copy(path / "store.h5", path / f"{name}.h5")
        with h5py.File(path / f"{name}.h5", "r+") as file:
            change(file)
    convert([RAW / "bn_bilayer_prim.scfout.xz"], path / "bn.h5")


def _rewritten(key: str, function: Callable[[np.ndarray], np.ndarray]) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        values = function(file[FIRST][key][:])
        del file[FIRST][key]
        file[FIRST][key] = values

    return change


def _in_all(change: Callable[[h5py.Group], None]) -> Callable[[h5py.File], None]:
    return lambda file: [change(file[name]) for name in file]  # type: ignore[return-value]


def _with_nan(values: np.ndarray) -> np.ndarray:
    values.flat[3] = np.nan
    return values


STORE_CHANGES: dict[str, Callable[[h5py.File], None]] = {
    "unconverged": lambda file: file[FIRST].attrs.__setitem__("converged", False),
    "all_unconverged": _in_all(lambda group: group.attrs.__setitem__("converged", False)),
    "reference_only": _in_all(lambda group: group.attrs.__setitem__("split", "reference")),
    "train_only": _in_all(lambda group: group.attrs.__setitem__("split", "train")),
    "misspelt": lambda file: file[FIRST].attrs.__setitem__("split", "tarin"),
    "no_blocks": _in_all(lambda group: [group.__delitem__(key) for key in ("pairs", "offsets")]),
    "no_forces": _in_all(lambda group: group.__delitem__("forces")),
    "nan_forces": _rewritten("forces", _with_nan),
    "nan_hamiltonian": _rewritten("hamiltonian", _with_nan),
    "short_hamiltonian": _rewritten("hamiltonian", lambda values: values[:-1]),
    "short_positions": _rewritten("positions", lambda values: values[:-1]),
    "short_forces": _rewritten("forces", lambda values: values[:-1]),
    "short_layer": _rewritten("layer", lambda values: values[:-1]),
    "no_element": _rewritten("numbers", lambda values: values + 200),
    "no_version": lambda file: file.attrs.__delitem__("version"),
    "newer": lambda file: file.attrs.__setitem__("version", 99),
    "bad_basis": lambda file: file.attrs.__setitem__("basis", "{"),
    "loose": lambda file: file.create_dataset("loose", data=[1, 2]),
}


def _bad_models(path: Path) -> None:
    for kind in ("phonon", "electron"):
        model = path / f"{kind}.pt"
        content = model.read_bytes()
        for name, cut in (("empty", 0), ("half", len(content) // 2), ("end", len(content) - 30)):
            (path / f"{kind}_{name}.pt").write_bytes(content[:cut])
        _flip(model, path / f"{kind}_flipped.pt", _largest_member(model))
        for name, change in MODEL_CHANGES.items():
            changed = torch.load(model, weights_only=True)
            change(changed)
            torch.save(changed, path / f"{kind}_{name}.pt")
    torch.save({"weights": torch.zeros(3)}, path / "foreign.pt")
    (path / "text.pt").write_text("hello")


MODEL_CHANGES: dict[str, Callable[[dict], object]] = {
    "newer": lambda content: content.update(version=99),
    "no_architecture": lambda content: content.pop("architecture"),
    "other_architecture": lambda content: content["architecture"].update(unheard_of=3),
    "no_weight": lambda content: content["state_dict"].pop(sorted(content["state_dict"])[-1]),
}


def _largest_member(path: Path) -> int:
    """Place of a byte in the largest tensor of a model file (much of a small one is padding)."""
    with zipfile.ZipFile(path) as archive:
        member = max(archive.infolist(), key=lambda info: info.file_size)
    header = path.read_bytes()[member.header_offset :][:30]
    names = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    return member.header_offset + 30 + names + member.file_size // 2


def _flip(source: Path, destination: Path, place: int) -> None:
    content = bytearray(source.read_bytes())
    content[place] ^= 0x10
    destination.write_bytes(content)


def _bad_samples_and_phonons(path: Path) -> None:
    good = (path / "samples.h5").read_bytes()
    (path / "samples_cut.h5").write_bytes(good[: len(good) // 2])
    with h5py.File(path / "samples.h5") as file:
        chunk = file["positions"].id.get_chunk_info(0)
    _flip(path / "samples.h5", path / "samples_flipped.h5", chunk.byte_offset + chunk.size // 2)
    shutil.copy(path / "samples.h5", path / "samples_no_cell.h5")
    with h5py.File(path / "samples_no_cell.h5", "r+") as file:
        del file["cell"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImaginaryModesWarning)
        write_phonons(path / "aa", run_phonons(build_aa(distance=3.2), SpringBilayer(), (3, 3, 1)))
    for name, file_name, change in (
        ("cut_constants", "phonopy_params.yaml", lambda text: text[:5000]),
        ("cut_reference", "reference.extxyz", lambda text: text[:250]),
        ("cut_report", "relaxation.json", lambda text: text[:40]),
    ):
        shutil.copytree(path / "phonons", path / name)
        (path / name / file_name).write_text(change((path / "phonons" / file_name).read_text()))


def _bad_structures(path: Path) -> None:
    boron = build_ab()
    boron.numbers[0] = 5
    write_structure(path / "boron.xyz", boron)
    write_structure(path / "second.xyz", [build_ab(), boron])
    write_structure(path / "near.xyz", build_ab(distance=1.0))
    good = (path / "ab.xyz").read_text()
    (path / "cut.xyz").write_text(good[:220])
    (path / "nan.xyz").write_text(good.replace("0.00000000", "nan", 1))
    (path / "no_cell.xyz").write_text("2\n\nC 0 0 0\nC 0 0 1.4\n")


def _bad_configurations(path: Path) -> None:
    texts = {
        "good": CONFIG,
        "unknown": CONFIG + "sampling: {pair: 3}\n",
        "cold": CONFIG + "sampling: {temperatures: [0, -5]}\n",
        "unit": CONFIG + "sampling: {temperatures: [300 K]}\n",
        "no_path": CONFIG + "phonons: {reference: none.yaml}\n",
        "no_store": CONFIG.replace("store.h5", "none.h5"),
        "syntax": CONFIG + "sampling: {pairs: [3}\n",
        "number_key": CONFIG + "sampling: {1: 2}\n",
        "list_key": "? [1, 2]\n: 4\n",
        "documents": CONFIG + "---\na: 1\n",
    }
    for name, text in texts.items():
        (path / f"{name}.yaml").write_text(text)
    (path / "binary.yaml").write_bytes(b"\xff\xfe\x00")


def _velocity_stores(path: Path) -> None:
    """The 1 x 1 cell as its own thermal pair, and as static cell with another lattice constant."""
    convert([RAW / "bg_ab_prim.scfout.xz"], path / "static.h5")
    convert([RAW / "graphene_prim.scfout.xz"], path / "monolayer.h5")
    with LabelStore(path / "static.h5") as store:
        entry, basis = store.read(store.names[0]), store.basis
    for name, temperatures in (("thermal", (300.0, 300.0)), ("two_temperatures", (300.0, 100.0))):
        with StoreWriter(path / f"{name}.h5", basis) as writer:
            for sign, temperature in zip((1, -1), temperatures, strict=True):
                attrs = {"temperature": temperature, "pair": 0, "sign": sign}
                writer.add(replace(entry, name=f"p0_{sign:+d}", attrs=attrs))
    stretched = entry.atoms.copy()
    stretched.set_cell(stretched.cell * [[1.01], [1.01], [1]], scale_atoms=True)
    with StoreWriter(path / "stretched.h5", basis) as writer:
        writer.add(replace(entry, atoms=stretched))

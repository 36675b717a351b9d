"""Make the bundled bilayer-graphene data set from the full label stores of the same calculations.

    python resources/bilayer-graphene/build.py FOLDER_OF_FULL_STORES

Every entry keeps the energy, forces, Fermi level, k grid, engine version and wall time of its source;
H and S stay in float32 as in the source, so that this is a selection and not a conversion. The result
is the same to the byte for the same library versions; SHA256SUMS is written last.
"""

from __future__ import annotations

import argparse
import lzma
import shutil
from pathlib import Path

from mlepi_core.artefacts import InputError, atomic_path
from mlepi_core.formats.store import LabelStore, StoreWriter
from mlepi_core.labels import write_sums

HERE = Path(__file__).resolve().parent
VALENCE_ELECTRONS = 4.0  # of carbon in the pseudopotential C_PBE19

PERTURBED = [f"bg4x4_{index:04d}" for index in [*range(10), *range(10, 14), 18, 19]]

# bundled store: (source store, entries, None for all; the split that every entry must have, None for mixed)
STORES: dict[str, tuple[str, list[str] | None, str | None]] = {
    "perturbed-4x4.h5": ("bilayer-graphene-4x4-a.h5", PERTURBED, None),
    "rigid.h5": ("bilayer-rigid.h5", None, "train"),
    "phonon-displacements-4x4.h5": ("phonons-4x4/displacements.h5", None, "reference"),
    "slips.h5": ("bilayer-slip.h5", None, "reference"),
    "twisted-21.79.h5": ("twisted-21.79.h5", ["tbg_21.79_eq"], "reference"),
}


def build_store(source: Path, destination: Path, names: list[str] | None, split: str | None) -> None:
    """Copy the entries `names` of `source` (None: all) to a new float32 store."""
    with LabelStore(source) as store:
        attrs = {key: store.attrs[key] for key in ("engine", "xc")}
        attrs["note"] = "OpenMX H and S rounded to float32; one of each Hermitian pair"
        with StoreWriter(destination, store.basis, attrs, dtype="float32") as writer:
            for name in names or store.names:
                entry = store.read(name)
                if not entry.converged:
                    raise InputError(source, f"{name} is not converged", "run it again before bundling it")
                if entry.split is None or split not in (None, entry.split):
                    raise InputError(
                        source, f"{name} is {entry.split!r}", f"expected split {split or 'train…'!r}"
                    )
                entry.n_electrons = VALENCE_ELECTRONS * len(entry.atoms)
                writer.add(entry)


def build(source: Path, destination: Path) -> None:
    """Write the stores, the phonopy file, the slip table and their checksums into `destination`."""
    for name, (origin, names, split) in STORES.items():
        build_store(source / origin, destination / name, names, split)
    phonopy = (source / "phonons-4x4/phonopy_params.yaml").read_bytes()
    with atomic_path(destination / "phonopy_params.yaml.xz") as path:
        path.write_bytes(lzma.compress(phonopy, preset=9 | lzma.PRESET_EXTREME))
    with atomic_path(destination / "slip.csv") as path:
        shutil.copyfile(source / "slip.csv", path)
    write_sums(destination, [*STORES, "phonopy_params.yaml.xz", "slip.csv"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder of the full stores")
    parser.add_argument(
        "--out", type=Path, default=HERE, help="folder to write (default: beside this script)"
    )
    arguments = parser.parse_args()
    build(arguments.source, arguments.out)

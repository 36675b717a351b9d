"""Make the bundled boron-nitride and MoS2 data from the full label stores of the same calculations.

    python resources/build_rounded.py FOLDER_OF_FULL_STORES

Everything is copied but H and S, which are rounded to multiples of a power of two so that they compress;
the result is the same to the byte for the same library versions. SHA256SUMS is written last.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mlepi_core.formats.store import LabelStore, StoreWriter
from mlepi_core.labels import write_sums

HERE = Path(__file__).resolve().parent
STEP_H = 2.0**-18  # eV: errors up to 2e-6 eV
STEP_S = 2.0**-23  # errors up to 6e-8
NOTE = (
    "OpenMX H rounded to multiples of 2^-18 eV and S to multiples of 2^-23, both in single precision; "
    "one of each Hermitian pair"
)

# folder: (bundled store, source store)
STORES = {
    "boron-nitride": ("bilayers-3x3.h5", "bn-3x3.h5"),
    "molybdenum-disulfide": ("monolayers-2x2.h5", "mos2-2x2-soc.h5"),
}


def build_store(source: Path, destination: Path) -> None:
    """Copy a store with rounded H (real and imaginary parts alike) and S."""
    with LabelStore(source) as store:
        attrs = {key: store.attrs[key] for key in ("engine", "xc", "spin")} | {"note": NOTE}
        with StoreWriter(destination, store.basis, attrs, dtype="float32") as writer:
            for entry in store:
                blocks = entry.blocks
                entry.blocks = blocks.with_values(
                    hamiltonian=np.round(blocks.hamiltonian / STEP_H) * STEP_H,
                    overlap=np.round(blocks.overlap / STEP_S) * STEP_S,
                )
                writer.add(entry)


def build(source: Path, destination: Path) -> None:
    """Write the stores and the checksum list of each folder below `destination`."""
    for folder, (bundled, origin) in STORES.items():
        (destination / folder).mkdir(parents=True, exist_ok=True)
        build_store(source / origin, destination / folder / bundled)
        write_sums(destination / folder, [bundled])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder of the full stores")
    parser.add_argument(
        "--out", type=Path, default=HERE, help="folder to write (default: beside this script)"
    )
    arguments = parser.parse_args()
    build(arguments.source, arguments.out)

"""Verb `overlap`: two-centre tables with their coverage, from the overlaps of a label store."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlepi_core.artefacts import InputError

if TYPE_CHECKING:
    from mlepi_core.basis.two_centre_fit import PairSample
    from mlepi_core.orbitals import Basis


def overlap(
    stores: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    split: str | None = None,
    hold_out: float | None = None,
    knot_spacing: float = 0.04,
    smoothing: float = 0.0,
    radii: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Fit overlap tables to converged entries and write them to `out`.

    Parameters
    ----------
    stores
        One label store or several of the same basis.
    out
        HDF5 file of tables (`TwoCentreTables.load`).
    split
        Entries to fit; None takes ``train`` where a store marks any entry so, else all of its entries.
    hold_out
        Training entries with a larger rms force (eV/Å) are left out; None: none.
    knot_spacing, smoothing, radii
        See `mlepi_core.basis.two_centre_fit.fit_overlap`; spacing and radii in Å.

    Returns
    -------
    dict
        ``path``, ``n_structures``, ``errors`` on the fitted data, ``pairs``: per species pair its support,
        shortest distance and gaps in Å.

    Raises
    ------
    InputError
        If a store has no overlaps, the bases differ, an overlap is not two-centre or the fit is too coarse.
    """
    from mlepi_core.basis.two_centre_fit import fit_overlap
    from mlepi_core.orbitals import symbol_of

    paths = [stores] if isinstance(stores, (str, os.PathLike)) else list(stores)
    samples, basis = _read(paths, split, hold_out)
    tables = fit_overlap(
        samples,
        basis,
        knot_spacing=knot_spacing,
        smoothing=smoothing,
        radii=radii,
        source=", ".join(os.path.basename(os.fspath(path)) for path in paths),
    )
    tables.save(out)
    pairs = {
        f"{symbol_of(first)}-{symbol_of(second)}": {
            "from_angstrom": table.lower,
            "support_angstrom": table.support,
            "gaps_angstrom": [list(gap) for gap in table.gaps()],
        }
        for (_, first, second), table in tables.tables.items()
    }
    return {
        "path": str(out),
        "n_structures": len(samples),
        "errors": tables.record["errors"],
        "bridges_gaps": tables.record["bridges_gaps"],
        "pairs": pairs,
    }


def _read(
    paths: Sequence[str | os.PathLike[str]], split: str | None, hold_out: float | None
) -> tuple[list[PairSample], Basis]:
    """Samples with overlaps of all stores, and their common basis."""
    from mlepi_core.formats.store import LabelStore
    from mlepi_core.labels import Dataset
    from mlepi_core.labels.selection import select

    if not paths:
        raise InputError("overlap", "no label store given")
    samples: list[PairSample] = []
    basis: Basis | None = None
    for path in paths:
        with LabelStore(path) as store:
            if store.basis is None:
                raise InputError(path, "holds no Hamiltonians or overlaps", "give a store with overlaps")
            if basis is not None and store.basis != basis:
                raise InputError(
                    path,
                    f"basis {store.basis.to_json()} differs from {basis.to_json()} of {paths[0]}",
                    "fit each basis on its own",
                )
            basis = store.basis
            wanted = split or ("train" if "train" in store.splits().values() else None)
        data = Dataset(path)
        samples += [_sample(path, entry) for entry in data.read(select(data, wanted, hold_out))]
    if not samples:
        raise InputError(paths[0], f"has no converged entry of split {split!r}", "choose another split")
    assert basis is not None
    return samples, basis


def _sample(path: str | os.PathLike[str], entry: Any) -> PairSample:
    from mlepi_core.basis.two_centre_fit import PairSample
    from mlepi_core.structures.neighbours import pair_vectors

    if entry.blocks is None or entry.blocks.overlap is None:
        raise InputError(path, f"entry {entry.name} has no overlap", "convert it again from the raw files")
    pairs = entry.blocks.pairs
    vectors = pair_vectors(
        entry.atoms.positions, entry.atoms.cell.array, pairs[:, 0], pairs[:, 1], pairs[:, 2:]
    )
    return PairSample(entry.name, entry.blocks, vectors)

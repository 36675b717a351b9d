"""Verb `convert`: results, stores, DeepH folders, structures into one store, extxyz file or DeepH folders."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlepi_core.artefacts import InputError
from mlepi_core.progress import Progress, silent

if TYPE_CHECKING:
    from mlepi_core.formats.store import LabelEntry
    from mlepi_core.orbitals import Basis

TARGETS = ("store", "deeph", "deeph-legacy", "extxyz")
DTYPES = ("float64", "float32")
_TARGET_OF_SUFFIX = {".h5": "store", ".hdf5": "store", ".xyz": "extxyz", ".extxyz": "extxyz"}
_SOURCE_PATTERNS = ("*.scfout", "*.scfout.xz", "*.scfout.gz", "*.h5", "*.xyz", "*.extxyz")
_ROOT_ATTRS = ("engine", "xc")
_DEEPH = ("deeph", "deeph-legacy")
# Entries of S that symmetry forbids: a wrong order of orbitals gives 0.1, single precision 1e-6.
_AXIAL_TOLERANCE = 1e-3


@dataclass(frozen=True)
class _Source:
    """A file and its kind."""

    path: Path
    kind: str
    name: str
    check_overlap: bool = True


def convert(
    sources: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    destination: str | os.PathLike[str],
    to: str | None = None,
    dtype: str = "float64",
    split: str | None = None,
    names: Sequence[str] = (),
    forces_only: bool = False,
    check_overlap: bool = True,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Convert one or more sources, or folders of them, into one file or into DeepH folders.

    Parameters
    ----------
    sources
        `.scfout` files (with `.out` and `.std` of the same stem beside them), label stores, DeepH folders old
        and new, extxyz or other structure files; a folder stands for all of these below it.
    destination
        File to write; it appears only when everything was read. Of DeepH formats a folder that is empty or
        does not exist: of one entry its DeepH folder, of several a folder for each, by name.
    to
        One of `TARGETS`; by default from the destination's suffix, ``store`` or ``extxyz``.
    dtype
        Type of H and S in a store.
    split
        Split given to every entry; None keeps that of the source.
    names
        Only these entries; empty takes all.
    forces_only
        Leave out energies, H and S: wanted of calculations whose energies have another zero than those of the
        other training structures.
    check_overlap
        Whether overlaps of DeepH folders must have the axial symmetry of two-centre integrals, which tells a
        wrong order or sign of orbitals. Overlaps of PAW programs do not have it.
    progress
        Called with the entries done, their number if known, and the name.

    Returns
    -------
    dict
        ``path``, ``kind``, ``n_structures``, ``unconverged`` (names) and ``without_energy`` (names).

    Raises
    ------
    InputError
        For any source that cannot be read, or if no source has an entry of `names`; nothing is written then.
    """
    from mlepi_core.formats.store import SPLITS

    target = _target(destination, to)
    if dtype not in DTYPES:
        raise InputError("--dtype", f"{dtype!r} is not one of {', '.join(DTYPES)}")
    if split is not None and split not in SPLITS:
        raise InputError("--split", f"{split!r} is not one of {', '.join(SPLITS)}")
    found = _find([sources] if isinstance(sources, (str, os.PathLike)) else sources, Path(destination))
    found = [replace(source, check_overlap=check_overlap) for source in found]
    report: dict[str, Any] = {"path": str(destination), "kind": target, "n_structures": 0}
    report |= {"unconverged": [], "without_energy": []}
    entries = _entries(found, split, blocks=target != "extxyz" and not forces_only)
    if forces_only:
        entries = map(_forces_alone, entries)
    entries = _recorded(_named(entries, names) if names else entries, report, forces_only)
    entries = _counted(entries, len(found), progress)
    if target in _DEEPH:
        _write_folders(Path(destination), target, found, entries)
    elif target == "extxyz":
        from mlepi_core.formats.extxyz import write_extxyz

        write_extxyz(destination, entries)
    else:
        _write_store(destination, found, entries, dtype)
    return report


def _target(destination: str | os.PathLike[str], to: str | None) -> str:
    target = to or _TARGET_OF_SUFFIX.get(Path(destination).suffix.lower())
    if target is None:
        raise InputError(
            destination, "its suffix does not say what to write", f"give --to {'|'.join(TARGETS)}"
        )
    if target not in TARGETS:
        raise InputError("--to", f"{target!r} is not one of {', '.join(TARGETS)}")
    return target


def _find(sources: Sequence[str | os.PathLike[str]], destination: Path) -> list[_Source]:
    """Readable files among the sources and in their folders, but for the destination."""
    from mlepi_core.formats.detect import detect

    files: list[tuple[Path, str]] = []
    for source in map(Path, sources):
        kind = detect(source)
        if source.is_dir():
            if kind in _DEEPH:
                files.append((source, kind))
                continue
            inside = _inside(source)
            old = destination.resolve()
            inside = [path for path in inside if path.resolve() != old and not path.name.startswith(".")]
            if not inside:
                remedy = f"expected {', '.join(_SOURCE_PATTERNS[:1] + _SOURCE_PATTERNS[3:])} files in it"
                raise InputError(source, "holds nothing that can be converted", remedy)
            files += [(path, detect(path)) for path in inside]
        else:
            files.append((source, kind))
    if not files:
        raise InputError("convert", "no source given")
    for path, kind in files:
        if kind not in _READERS:
            raise InputError(
                path,
                f"a file of kind {kind!r} cannot be converted",
                "give .scfout, store, extxyz or DeepH folders",
            )
    names = _names([path for path, _ in files])
    return [_Source(path, kind, name) for (path, kind), name in zip(files, names, strict=True)]


def _inside(folder: Path) -> list[Path]:
    """Files and DeepH folders below a folder; what lies in a DeepH folder belongs to it."""
    from mlepi_core.formats.detect import detect

    files = {path for pattern in _SOURCE_PATTERNS for path in folder.rglob(pattern)}
    folders = {path.parent for path in folder.rglob("info.json") if detect(path.parent) in _DEEPH}
    return sorted({path for path in files if path.parent not in folders} | folders)


def _names(paths: list[Path]) -> list[str]:
    """Stems if they differ, else the folders' names (``a/openmx.scfout`` and ``b/openmx.scfout``: a, b)."""
    from mlepi_core.formats.compressed import plain_name

    stems = [Path(plain_name(path)).stem for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    folders = [path.resolve().parent.name for path in paths]
    if len(set(folders)) == len(folders):
        return folders
    return [f"{folder}_{stem}" for folder, stem in zip(folders, stems, strict=True)]


def _entries(found: list[_Source], split: str | None, *, blocks: bool) -> Iterator[LabelEntry]:
    """All entries one after another, with layers and, if asked for, another split."""
    from mlepi_core.structures.layers import ensure_layers

    for source in found:
        for entry in _READERS[source.kind](source, blocks):
            try:
                entry.atoms = ensure_layers(entry.atoms)
            except InputError as error:
                raise InputError(source.path, f"{entry.name}: {error.problem}", error.remedy) from None
            entry.split = split or entry.split
            yield entry


def _named(entries: Iterator[LabelEntry], names: Sequence[str]) -> Iterator[LabelEntry]:
    """Those of these names; raises at the end if one was missing."""
    missing = dict.fromkeys(names)
    for entry in entries:
        if entry.name in names:
            missing.pop(entry.name, None)
            yield entry
    if missing:
        raise InputError("--entry", f"no source has {', '.join(missing)}", "`mlepi info` lists the entries")


def _read_scfout(source: _Source, blocks: bool) -> Iterator[LabelEntry]:
    from mlepi_core.formats.openmx import read_openmx

    entry, _ = read_openmx(source.path, name=source.name)
    yield entry


def _read_store(source: _Source, blocks: bool) -> Iterator[LabelEntry]:
    from mlepi_core.formats.store import LabelStore

    with LabelStore(source.path) as store:
        for name in store.names:
            yield store.read(name, blocks=blocks)


def _read_structures(source: _Source, blocks: bool) -> Iterator[LabelEntry]:
    from mlepi_core.formats.extxyz import read_extxyz

    yield from read_extxyz(source.path)


def _read_deeph(source: _Source, blocks: bool) -> Iterator[LabelEntry]:
    from mlepi_core.formats.deeph import read_deeph

    entry, basis = read_deeph(source.path, source.kind, source.name)
    if source.check_overlap and entry.blocks.overlap is not None:
        _assert_axial(source.path, entry, basis)
    yield entry


def _assert_axial(path: Path, entry: LabelEntry, basis: Basis) -> None:
    """Refuse overlaps without the symmetry of two-centre integrals: their orbitals are in another order."""
    from mlepi_core.basis.two_centre_fit import PairSample, axial_violation
    from mlepi_core.structures.neighbours import pair_vectors

    pairs, atoms = entry.blocks.pairs, entry.atoms
    vectors = pair_vectors(atoms.positions, atoms.cell.array, *pairs[:, :2].T, pairs[:, 2:])
    violation = axial_violation(PairSample(entry.name, entry.blocks, vectors), basis)
    if violation > _AXIAL_TOLERANCE:
        raise InputError(
            path,
            f"overlaps break the axial symmetry of two-centre integrals by {violation:.1e}",
            "order or signs of the orbitals, or the positions, are not those of the format; PAW overlaps, "
            "which have no such symmetry, need --no-overlap-check",
        )


_READERS: dict[str, Callable[[_Source, bool], Iterator[LabelEntry]]] = {
    "scfout": _read_scfout,
    "store": _read_store,
    "extxyz": _read_structures,
    "structure": _read_structures,
    "deeph": _read_deeph,
    "deeph-legacy": _read_deeph,
}


def _forces_alone(entry: LabelEntry) -> LabelEntry:
    if entry.forces is None:
        raise InputError(entry.name, "has no forces", "take it out, or leave out --forces-only")
    return replace(entry, energy=None, blocks=None)


def _recorded(
    entries: Iterator[LabelEntry], report: dict[str, Any], forces_only: bool
) -> Iterator[LabelEntry]:
    for entry in entries:
        report["n_structures"] += 1
        if entry.converged is False:
            report["unconverged"].append(entry.name)
        if entry.energy is None and not forces_only:
            report["without_energy"].append(entry.name)
        yield entry


def _counted(entries: Iterator[LabelEntry], n_sources: int, progress: Progress) -> Iterator[LabelEntry]:
    """The entries, reported one by one; their number is known if every source is one."""
    for done, entry in enumerate(entries, start=1):
        yield entry
        progress(done, max(done, n_sources), entry.name)


def _write_folders(destination: Path, kind: str, found: list[_Source], entries: Iterator[LabelEntry]) -> None:
    """DeepH folders below a temporary one, which takes the place of `destination` when all are written."""
    from mlepi_core.formats.deeph import write_deeph

    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise InputError(destination, "exists and is not an empty folder", "name another, or delete it")
    basis, _ = _basis_and_attrs(found)
    if basis is None:
        raise InputError("convert", "no source has H or S", "DeepH folders hold these")
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}.") as temporary:
        written = []
        for entry in entries:
            folder = Path(temporary) / entry.name
            folder.mkdir()
            write_deeph(folder, kind, entry, basis)
            written.append(folder)
        whole = written[0] if len(written) == 1 else Path(temporary) / ".all"
        if len(written) > 1:
            whole.mkdir()
            for folder in written:
                shutil.move(folder, whole / folder.name)
        if destination.is_dir():
            destination.rmdir()
        os.replace(whole, destination)


def _write_store(
    destination: str | os.PathLike[str], found: list[_Source], entries: Iterator[LabelEntry], dtype: str
) -> None:
    from mlepi_core.formats.store import StoreWriter

    basis, attrs = _basis_and_attrs(found)
    with StoreWriter(destination, basis, attrs, dtype=dtype) as writer:
        for entry in entries:
            writer.add(entry)


def _basis_and_attrs(found: list[_Source]) -> tuple[Basis | None, dict[str, Any]]:
    """Basis of all sources together, and the root attributes on which they agree."""
    from mlepi_core.formats.deeph import read_deeph
    from mlepi_core.formats.scfout import read_scfout
    from mlepi_core.formats.store import LabelStore
    from mlepi_core.labels.dataset import merge_bases

    basis: Basis | None = None
    described: list[dict[str, Any]] = []
    for source in found:
        if source.kind == "scfout":
            scfout = read_scfout(source.path)
            basis = merge_bases(basis, scfout.basis, source.path)
            described.append({"engine": "openmx", "xc": scfout.settings.settings()["xc"]})
        elif source.kind in _DEEPH:
            basis = merge_bases(basis, read_deeph(source.path, source.kind)[1], source.path)
            described.append({})
        elif source.kind == "store":
            with LabelStore(source.path) as store:
                store.refuse_derivatives()
                basis = merge_bases(basis, store.basis, source.path)
                described.append({key: store.attrs[key] for key in _ROOT_ATTRS if key in store.attrs})
        else:
            described.append({})
    first = described[0]
    return basis, {
        key: first[key] for key in first if all(other.get(key) == first[key] for other in described)
    }

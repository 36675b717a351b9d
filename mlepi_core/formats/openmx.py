"""One OpenMX run as a label entry: H and S in the internal order, energy, forces, Fermi level."""

from __future__ import annotations

import os

import numpy as np

from mlepi_core.artefacts import InputError
from mlepi_core.formats.blocks import BlockMatrix, from_directed
from mlepi_core.formats.compressed import plain_name, sibling
from mlepi_core.formats.openmx_out import HARTREE, OpenmxOut, read_out
from mlepi_core.formats.scfout import Scfout, assert_identity, read_scfout
from mlepi_core.formats.store import LabelEntry
from mlepi_core.orbitals import Basis

# Largest difference between the two stored copies of a block (eV; S: unitless). Real files reach 1.3e-8 eV
# (4.7e-10 Ha) and 1.6e-10, by integration on a grid; a wrong order is off by 1e-2 or more.
HERMITIAN_TOLERANCE = 1e-7
_SPINS = {0: "none", 1: "collinear", 3: "soc"}  # of SpinP_switch
BAND_ENERGY_TOLERANCE = 1e-9  # relative, of 2 Tr(DM H) = Uele, which is printed to 1e-12 Ha


def internal_blocks(scfout: Scfout) -> BlockMatrix:
    """H (eV) and S in the internal order of orbitals, one of each Hermitian pair, with the spin of the file.

    Raises
    ------
    InputError
        If a block has no Hermitian partner, or the two copies differ.
    """
    numbers = scfout.atoms.numbers
    directed = BlockMatrix(
        numbers=numbers,
        counts=scfout.basis.counts(numbers),
        pairs=scfout.pairs,
        offsets=scfout.offsets,
        overlap=scfout.overlap,
        spin=_SPINS[scfout.spin],
    )
    index = _internal_index(scfout)
    hamiltonian = _hamiltonian(scfout, directed)
    directed = directed.with_values(hamiltonian[..., index] * HARTREE, scfout.overlap[index])
    return from_directed(directed, HERMITIAN_TOLERANCE, scfout.path)


def _hamiltonian(scfout: Scfout, directed: BlockMatrix) -> np.ndarray:
    """Entries of H in Ha and the file's order of orbitals, parts as `BlockMatrix` has them."""
    h, imaginary = scfout.hamiltonian, scfout.hamiltonian_imaginary
    if imaginary is None:
        return h if scfout.spin == 1 else h[0]
    uu, dd, ud = h[0] + 1j * imaginary[0], h[1] + 1j * imaginary[1], h[2] + 1j * (h[3] + imaginary[2])
    du = ud[directed.partner_index(scfout.path)].conj()
    return np.stack([uu, ud, du, dd])


def read_openmx(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    std: str | os.PathLike[str] | None = None,
    name: str | None = None,
) -> tuple[LabelEntry, Basis]:
    """One finished OpenMX run as a label entry, and its basis.

    Parameters
    ----------
    path
        The `.scfout` file.
    out, std
        Files with energy and forces, and the standard output; by default those of the same stem
        beside it. Without a `.out` file the entry has H, S and the Fermi level only.
    name
        Name of the entry; by default the stem.

    Raises
    ------
    InputError
        See `read_scfout`, `internal_blocks` and `read_out`; also if `out` belongs to another run.
    """
    scfout = read_scfout(path)
    blocks = internal_blocks(scfout)
    out = out or sibling(path, ".out")
    entry = LabelEntry(
        name=name or plain_name(path).removesuffix(".scfout"),
        atoms=scfout.atoms,
        fermi_level=scfout.fermi_level,
        n_electrons=scfout.n_electrons,
        blocks=blocks,
        attrs={"engine": "openmx", **scfout.settings.settings()},
    )
    if scfout.spin == 1:
        entry.attrs["total_spin"] = scfout.total_spin
    if out is None:
        return entry, scfout.basis
    result = read_out(out, std or sibling(path, ".std"))
    _assert_same_run(scfout, result, out)
    if result.converged:  # before that, DM and H belong to different iterations
        assert_identity(
            path, "2 Tr(DM H)", scfout.band_energy(), f"Ha (Uele of {out})", result.band_energy_ha,
            BAND_ENERGY_TOLERANCE,
        )  # fmt: skip
    entry.energy, entry.forces, entry.converged = result.energy, result.forces, result.converged
    entry.attrs |= {"engine_version": result.version, "scf_iterations": result.scf_iterations}
    if result.wall_s is not None:
        entry.attrs["wall_s"] = result.wall_s
    return entry, scfout.basis


def _internal_index(scfout: Scfout) -> np.ndarray:
    """Index (M) such that ``internal = openmx[index]`` for flat entries."""
    numbers, pairs, offsets = scfout.atoms.numbers, scfout.pairs, scfout.offsets
    index = np.empty(int(offsets[-1]), dtype=np.int64)
    z_i, z_j = numbers[pairs[:, 0]], numbers[pairs[:, 1]]
    for a, b in sorted(set(zip(z_i.tolist(), z_j.tolist(), strict=True))):
        rows, columns = scfout.basis.openmx_permutation(a), scfout.basis.openmx_permutation(b)
        local = (rows[:, None] * len(columns) + columns).ravel()
        starts = offsets[:-1][(z_i == a) & (z_j == b)][:, None]
        index[starts + np.arange(len(local))] = starts + local
    return index


def _assert_same_run(scfout: Scfout, result: OpenmxOut, out: str | os.PathLike[str]) -> None:
    """Raise unless species, positions (printed to 1e-5 Å) and Fermi level are those of `scfout`."""
    remedy = f"give the .out file of the run that wrote {os.path.basename(scfout.path)}"
    if result.symbols != scfout.settings.atom_species():
        raise InputError(out, "belongs to another run: other species", remedy)
    shift = np.linalg.solve(scfout.atoms.cell.T, (result.positions - scfout.atoms.positions).T).T
    worst = np.abs((shift - np.round(shift)) @ scfout.atoms.cell).max()
    if worst > 2e-5:
        raise InputError(out, f"belongs to another run: positions differ by {worst:.1e} Å", remedy)
    if abs(result.fermi_level - scfout.fermi_level) > 1e-8:
        difference = abs(result.fermi_level - scfout.fermi_level)
        raise InputError(out, f"belongs to another run: Fermi levels differ by {difference:.1e} eV", remedy)

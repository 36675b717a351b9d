"""Matrices of two-centre form from splines of the distance.

S_ij(v) = D_a(Q)^T diag_m(f^ab_|m|(d)) D_b(Q), with Q the frame that takes v to the polar axis. Overlaps are
exactly of this form; a Hamiltonian is not, but the form is a useful baseline to learn the difference from.
The idea goes back to Slater and Koster, Phys. Rev. 94, 1498 (1954), doi:10.1103/PhysRev.94.1498.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import torch
from ase import Atoms

from mlepi_core.artefacts import InputError, atomic_path
from mlepi_core.basis.radial_table import RadialTable, radial_functions
from mlepi_core.basis.rotations import edge_frames, wigner_matrices
from mlepi_core.formats.blocks import BlockMatrix, block_offsets, is_canonical
from mlepi_core.orbitals import Basis, symbol_of
from mlepi_core.structures.neighbours import neighbour_pairs, pair_vectors

__all__ = ["RELATIONS", "TwoCentreTables", "overlap_blocks"]

SCHEMA = "mlepi-tables"
VERSION = 1
#: "all" serves every pair; "intra" and "inter" split the pairs by layer.
RELATIONS = ("all", "intra", "inter")


@dataclass(frozen=True)
class TwoCentreTables:
    """Two-centre tables of a basis: radial functions of all species pairs and on-site constants.

    Parameters
    ----------
    quantity
        "overlap" or "hamiltonian".
    basis
        Shells per species.
    tables
        Keyed by (relation, Z_i, Z_j) with Z_i <= Z_j.
    onsite
        Per atomic number the spherical on-site block (n, n), in eV or unitless.
    record
        What the fit was made from and how well it did; JSON-able.
    """

    quantity: str
    basis: Basis
    tables: Mapping[tuple[str, int, int], RadialTable]
    onsite: Mapping[int, np.ndarray]
    record: Mapping[str, Any]

    @property
    def max_support(self) -> float:
        """Largest distance at which any pair of atoms couples, Å."""
        return max((table.support for table in self.tables.values()), default=0.0)

    @property
    def by_relation(self) -> bool:
        """Whether pairs within and between layers have tables of their own."""
        return any(relation != "all" for relation, _, _ in self.tables)

    def table(self, number_i: int, number_j: int, relation: str = "all") -> RadialTable:
        """Radial table of a species pair.

        Raises
        ------
        InputError
            If the fit had no such pair.
        """
        first, second = sorted((int(number_i), int(number_j)))
        if (relation, first, second) not in self.tables:
            raise InputError(
                self._where(first, second, relation),
                "the tables do not hold this pair",
                "fit them from a store that does",
            )
        return self.tables[relation, first, second]

    def pair_supports(self, numbers_i: np.ndarray, numbers_j: np.ndarray) -> np.ndarray:
        """End of support (P,) in Å of pairs of atomic numbers (P,), (P,); the largest of all relations."""
        first, second = np.minimum(numbers_i, numbers_j), np.maximum(numbers_i, numbers_j)
        result = np.zeros(len(first))
        for a, b in {(int(a), int(b)) for a, b in zip(first, second, strict=True)}:
            known = [table.support for (_, z1, z2), table in self.tables.items() if (z1, z2) == (a, b)]
            if not known:
                self.table(a, b)
            result[(first == a) & (second == b)] = max(known)
        return result

    def coverage(self) -> Iterator[dict[str, Any]]:
        """One row per knot interval: pair, relation, from_angstrom, to_angstrom, samples."""
        for (relation, first, second), table in self.tables.items():
            for n, count in enumerate(table.counts.tolist()):
                low = table.lower + n * table.spacing
                yield {
                    "pair": f"{symbol_of(first)}-{symbol_of(second)}",
                    "relation": relation,
                    "from_angstrom": low,
                    "to_angstrom": low + table.spacing,
                    "samples": count,
                }

    def evaluate_torch(
        self, vectors: torch.Tensor, number_i: int, number_j: int, relation: str = "all"
    ) -> torch.Tensor:
        """Blocks (E, n_i, n_j) of one species pair, differentiable in the vectors.

        Parameters
        ----------
        vectors
            (E, 3) from i to j, Cartesian, Å, none of them zero. float64 where accuracy matters.
        number_i, number_j
            Atomic numbers.
        relation
            "all", or "intra" or "inter" for tables fitted by relation.

        Raises
        ------
        InputError
            If the pair is unknown or a distance is not covered.
        """
        if number_i > number_j:
            return self.evaluate_torch(-vectors, number_j, number_i, relation).transpose(1, 2)
        table = self.table(number_i, number_j, relation)
        distances = torch.linalg.vector_norm(vectors, dim=1)
        table.check(distances.detach().cpu().numpy(), self._where(number_i, number_j, relation))
        return _assemble(self.basis, int(number_i), int(number_j), vectors, table.values(distances))

    def evaluate(
        self, vectors: np.ndarray, number_i: int, number_j: int, relation: str = "all"
    ) -> np.ndarray:
        """`evaluate_torch` for NumPy arrays, in float64."""
        with torch.no_grad():
            array = torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float64))
            return self.evaluate_torch(array, number_i, number_j, relation).numpy()

    def entries(
        self, matrix: BlockMatrix, vectors: np.ndarray, intra: np.ndarray | None = None
    ) -> np.ndarray:
        """`entries_torch` for NumPy arrays, in float64."""
        with torch.no_grad():
            array = torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float64))
            return self.entries_torch(matrix, array, intra).numpy()

    def entries_torch(
        self, matrix: BlockMatrix, vectors: torch.Tensor, intra: np.ndarray | None = None
    ) -> torch.Tensor:
        """Flat entries (M,) for the pairs of a block matrix, on-site blocks included; differentiable.

        Parameters
        ----------
        matrix
            Gives numbers, pairs and offsets; its own entries are not read.
        vectors
            (P, 3) x_j + R.L - x_i in Å.
        intra
            (P,) True for pairs within a layer; needed if the tables are by relation.
        """
        if self.by_relation and intra is None:
            raise InputError(
                f"two-centre {self.quantity}", "tables by relation need the relation of each pair"
            )
        result = vectors.new_zeros(int(matrix.offsets[-1]))
        for (number_i, number_j, relation), index in self._groups(matrix, intra):
            if relation == "onsite":
                if number_i not in self.onsite:
                    raise InputError("species", f"{symbol_of(number_i)} has no on-site block in the tables")
                block = torch.from_numpy(self.onsite[number_i]).to(vectors)
                flat = block.reshape(1, -1).expand(len(index), -1)
            else:
                chosen = vectors[torch.from_numpy(index)]
                flat = self.evaluate_torch(chosen, number_i, number_j, relation).flatten(1)
            places = matrix.offsets[index][:, None] + np.arange(flat.shape[1])
            result = result.index_copy(0, torch.from_numpy(places.ravel()), flat.reshape(-1))
        return result

    def _groups(
        self, matrix: BlockMatrix, intra: np.ndarray | None
    ) -> Iterator[tuple[tuple[int, int, str], np.ndarray]]:
        pairs = matrix.pairs
        code = np.zeros(len(pairs), dtype=np.int64)
        if self.by_relation and intra is not None:
            code = np.where(intra, 1, 2)
        code[(pairs[:, 0] == pairs[:, 1]) & (pairs[:, 2:] == 0).all(axis=1)] = len(RELATIONS)
        key = np.stack([matrix.numbers[pairs[:, 0]], matrix.numbers[pairs[:, 1]], code], axis=1)
        for number_i, number_j, label in np.unique(key, axis=0).tolist():
            index = np.flatnonzero((key == (number_i, number_j, label)).all(axis=1))
            yield (number_i, number_j, (*RELATIONS, "onsite")[label]), index

    def _where(self, number_i: int, number_j: int, relation: str) -> str:
        label = "" if relation == "all" else f" ({relation})"
        return f"two-centre {self.quantity} {symbol_of(number_i)}-{symbol_of(number_j)}{label}"

    def to_dict(self) -> dict[str, Any]:
        """Plain containers and tensors, for a model file that loads with ``weights_only=True``."""
        return {
            "quantity": self.quantity,
            "basis": self.basis.to_json(),
            "record": json.dumps(dict(self.record)),
            "onsite": {int(z): torch.from_numpy(block.copy()) for z, block in self.onsite.items()},
            "tables": [
                {
                    "key": [relation, first, second],
                    "lower": table.lower,
                    "spacing": table.spacing,
                    "smoothed": table.smoothed,
                    "coefficients": torch.from_numpy(table.coefficients.copy()),
                    "counts": torch.from_numpy(table.counts.copy()),
                }
                for (relation, first, second), table in self.tables.items()
            ],
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> TwoCentreTables:
        """Inverse of `to_dict`."""
        tables = {
            (str(item["key"][0]), int(item["key"][1]), int(item["key"][2])): RadialTable(
                float(item["lower"]),
                float(item["spacing"]),
                np.asarray(item["coefficients"], dtype=np.float64),
                np.asarray(item["counts"], dtype=np.int64),
                bool(item["smoothed"]),
            )
            for item in content["tables"]
        }
        onsite = {int(z): np.asarray(block, dtype=np.float64) for z, block in content["onsite"].items()}
        basis = Basis.from_json(content["basis"])
        return cls(content["quantity"], basis, tables, onsite, json.loads(content["record"]))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tables as one HDF5 file, atomically."""
        content = self.to_dict()
        with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
            file.attrs.update({"schema": SCHEMA, "version": VERSION, "length_unit": "angstrom"})
            file.attrs.update({key: content[key] for key in ("quantity", "basis")})
            file["record"] = content["record"]  # may exceed the 64 KiB of an attribute
            for number, block in content["onsite"].items():
                file[f"onsite/{number}"] = block.numpy()
            for n, item in enumerate(content["tables"]):
                group = file.create_group(f"tables/{n}")
                group.attrs["key"] = json.dumps(item["key"])
                group.attrs.update({key: item[key] for key in ("lower", "spacing", "smoothed")})
                for key in ("coefficients", "counts"):
                    group[key] = item[key].numpy()

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TwoCentreTables:
        """Read a file of `save`.

        Raises
        ------
        InputError
            If the file is missing, damaged or of another kind.
        """
        try:
            with h5py.File(path, "r") as file:
                if file.attrs.get("schema") != SCHEMA or int(file.attrs["version"]) > VERSION:
                    raise InputError(
                        path, "is not a file of two-centre tables", "make one with `mlepi overlap`"
                    )
                content = {key: file.attrs[key] for key in ("quantity", "basis")}
                content["record"] = file["record"].asstr()[()]
                content["onsite"] = {int(z): data[:] for z, data in file["onsite"].items()}
                content["tables"] = [
                    dict(group.attrs)
                    | {"key": json.loads(group.attrs["key"])}
                    | {key: group[key][:] for key in ("coefficients", "counts")}
                    for group in file["tables"].values()
                ]
        except OSError as error:
            raise InputError(path, f"cannot be read ({error})", "check the path or make it again") from None
        return cls.from_dict(content)


def support_pairs(atoms: Atoms, tables: TwoCentreTables, margin: float = 0.0) -> np.ndarray:
    """Blocks (P, 5) = i, j, R within the support of the tables: one of each Hermitian pair, on-site included.

    Parameters
    ----------
    atoms
        Any structure of the tables' species; R refers to its positions as they are.
    margin
        Added to the support, Å.
    """
    reach = tables.max_support + margin
    i, j, images = neighbour_pairs(atoms.positions, atoms.cell.array, atoms.pbc, reach)
    every = np.arange(len(atoms))
    onsite = np.stack([every, every, *np.zeros((3, len(atoms)), dtype=int)], axis=1)
    pairs = np.concatenate([np.column_stack([i, j, images]), onsite])
    pairs = pairs[is_canonical(pairs)]
    pairs = pairs[within_support(atoms, tables, pairs, margin)]
    return pairs[np.lexsort(pairs.T[::-1])].astype(np.int32)


def within_support(
    atoms: Atoms, tables: TwoCentreTables, pairs: np.ndarray, margin: float = 0.0
) -> np.ndarray:
    """Which of the pairs (P, 5) are closer than the support of their species plus `margin` (Å), (P,)."""
    numbers = atoms.numbers
    vectors = pair_vectors(atoms.positions, atoms.cell.array, pairs[:, 0], pairs[:, 1], pairs[:, 2:])
    supports = tables.pair_supports(numbers[pairs[:, 0]], numbers[pairs[:, 1]])
    return np.linalg.norm(vectors, axis=1) < supports + margin


def overlap_blocks(atoms: Atoms, tables: TwoCentreTables, pairs: np.ndarray | None = None) -> BlockMatrix:
    """Overlaps of a structure from tables alone, no DFT code needed.

    Parameters
    ----------
    atoms
        Any structure of the tables' species; R of the pairs refers to its positions as they are.
    tables
        Tables of the overlap.
    pairs
        Blocks (P, 5) to evaluate; by default those of `support_pairs`.

    Returns
    -------
    BlockMatrix
        With ``overlap``.

    Raises
    ------
    InputError
        For an unknown species or a distance that the tables do not cover.
    """
    if tables.quantity != "overlap":
        raise InputError("two-centre tables", f"hold the {tables.quantity}, not the overlap")
    counts = tables.basis.counts(atoms.numbers)
    if pairs is None:
        pairs = support_pairs(atoms, tables)
    vectors = pair_vectors(atoms.positions, atoms.cell.array, pairs[:, 0], pairs[:, 1], pairs[:, 2:])
    matrix = BlockMatrix(atoms.numbers, counts, pairs, block_offsets(counts, pairs))
    return matrix.with_values(overlap=tables.entries(matrix, vectors))


def _assemble(
    basis: Basis, number_i: int, number_j: int, vectors: torch.Tensor, values: torch.Tensor
) -> torch.Tensor:
    """Blocks (E, n_i, n_j) from radial functions (E, F): D_a^T diag(f) D_b of every shell pair."""
    shells_i, shells_j = basis.shells_of(number_i), basis.shells_of(number_j)
    slices_i, slices_j = basis.shell_slices(number_i), basis.shell_slices(number_j)
    same = number_i == number_j
    column = {key: n for n, key in enumerate(radial_functions(shells_i, shells_j, same))}
    wigner = wigner_matrices(edge_frames(vectors), max(*shells_i, *shells_j))
    blocks = vectors.new_zeros((len(vectors), slices_i[-1].stop, slices_j[-1].stop))
    projectors: dict[tuple[int, int], torch.Tensor] = {}
    for a, l1 in enumerate(shells_i):
        for b, l2 in enumerate(shells_j):
            if (l1, l2) not in projectors:
                projectors[l1, l2] = _projectors(wigner[l1], wigner[l2])
            # f^ba = (-1)^(l1+l2) f^ab for equal species.
            first, second = (b, a) if same and a > b else (a, b)
            sign = (-1) ** (l1 + l2) if same and a > b else 1
            start = column[first, second, 0]
            radial = values[:, None, start : start + min(l1, l2) + 1]
            product = (radial @ projectors[l1, l2]).reshape(len(vectors), 2 * l1 + 1, 2 * l2 + 1)
            blocks[:, slices_i[a], slices_j[b]] = sign * product
    return blocks


def _projectors(wigner_i: torch.Tensor, wigner_j: torch.Tensor) -> torch.Tensor:
    """sum over +-m of D_i[m, x] D_j[m, y] for every |m|: (E, min(l1, l2) + 1, (2 l1 + 1)(2 l2 + 1))."""
    l1, l2 = wigner_i.shape[1] // 2, wigner_j.shape[1] // 2
    parts = []
    for m in range(min(l1, l2) + 1):
        orders = [0] if m == 0 else [-m, m]
        rows_i = wigner_i[:, [l1 + order for order in orders]]
        rows_j = wigner_j[:, [l2 + order for order in orders]]
        parts.append((rows_i.transpose(1, 2) @ rows_j).flatten(1))
    return torch.stack(parts, dim=1)

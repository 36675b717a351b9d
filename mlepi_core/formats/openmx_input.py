"""OpenMX input text, as it stands in the `.dat` file and at the end of every `.scfout` file."""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np

from mlepi_core.artefacts import InputError
from mlepi_core.orbitals import Basis, shells_from_openmx

_ELEMENT = re.compile(r"([A-Z][a-z]?)\d")


class OpenmxInput:
    """Keywords and blocks of an input file; keywords are case-insensitive, ``#`` starts a comment.

    Parameters
    ----------
    lines
        Lines of the input.
    where
        File named in errors.
    """

    def __init__(self, lines: list[str], where: str | os.PathLike[str]) -> None:
        self.where = os.fspath(where)
        self._values: dict[str, str] = {}
        self._blocks: dict[str, list[list[str]]] = {}
        open_block: str | None = None
        for line in lines:
            words = line.split("#", 1)[0].split()
            if not words:
                continue
            key = words[0].lower()
            if open_block is not None:
                if key == open_block + ">":
                    open_block = None
                else:
                    self._blocks[open_block].append(words)
            elif key.startswith("<"):
                open_block = key[1:]
                self._blocks[open_block] = []
            elif len(words) > 1:
                self._values[key] = " ".join(words[1:])

    def value(self, key: str, default: str = "") -> str:
        """Text of a keyword, `default` if it is not given."""
        return self._values.get(key.lower(), default)

    def number(self, key: str, default: float) -> float:
        """Number of a keyword, `default` if it is not given."""
        text = self.value(key)
        try:
            return float(text) if text else default
        except ValueError:
            raise InputError(self.where, f"{key} = {text!r} is not a number") from None

    def block(self, name: str) -> list[list[str]]:
        """Words of each line of a block."""
        try:
            return self._blocks[name.lower()]
        except KeyError:
            raise InputError(self.where, f"the input holds no block {name}", "run OpenMX again") from None

    def species(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Species name → (chemical symbol, shells), from Definition.of.Atomic.Species."""
        table = {}
        for words in self.block("Definition.of.Atomic.Species"):
            if len(words) < 3:
                raise InputError(self.where, f"Definition.of.Atomic.Species: cannot read {' '.join(words)!r}")
            name, orbitals = words[0], words[1]
            match = _ELEMENT.match(orbitals)
            if match is None or words[2] == "E":
                raise InputError(
                    self.where,
                    f"species {name} ({orbitals}, {words[2]}) is not an element",
                    "empty atoms are not supported",
                )
            table[name] = (match.group(1), shells_from_openmx(orbitals))
        return table

    def atom_species(self) -> list[str]:
        """Species name of each atom, in OpenMX's own order (that of the input)."""
        return [words[1] for words in self.block("Atoms.SpeciesAndCoordinates")]

    def symbols_and_basis(self) -> tuple[list[str], Basis]:
        """Chemical symbol of each atom (N) and the shells of every element.

        Raises
        ------
        InputError
            If two species of one element have different shells: shells belong to elements here.
        """
        species = self.species()
        shells: dict[str, tuple[int, ...]] = {}
        symbols = []
        for name in self.atom_species():
            if name not in species:
                raise InputError(self.where, f"atom of species {name!r}, which is not defined")
            symbol, own = species[name]
            if shells.setdefault(symbol, own) != own:
                raise InputError(
                    self.where,
                    f"{symbol} has two bases, {shells[symbol]} and {own}",
                    "use one basis per element",
                )
            symbols.append(symbol)
        return symbols, Basis(shells)

    def settings(self) -> dict[str, Any]:
        """What a label store keeps of the settings: xc, kgrid, cutoff_ry, scf_criterion, temperature_K."""
        xc = self.value("scf.XcType", "LDA")
        if self.value("scf.dftD", "off").lower() == "on":
            xc += f"+D{int(self.number('version.dftD', 2))}"
        if self.value("scf.SpinOrbit.Coupling", "off").lower() == "on":
            xc += ", spin-orbit coupling"
        settings = {
            "xc": xc,
            "cutoff_ry": self.number("scf.energycutoff", 150.0),
            "scf_criterion_ha": self.number("scf.criterion", 1e-6),
            "electronic_temperature_K": self.number("scf.ElectronicTemperature", 300.0),
        }
        grid = self.value("scf.Kgrid").split()
        if len(grid) == 3:
            settings["kgrid"] = np.array([int(n) for n in grid])
        return settings

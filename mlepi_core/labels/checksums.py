"""SHA256SUMS files (the format of ``sha256sum``) beside bundled data."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from mlepi_core.artefacts import InputError, sha256_file, write_text

SUMS_NAME = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def read_sums(folder: str | os.PathLike[str]) -> dict[str, str]:
    """File name → SHA-256 of a folder's SHA256SUMS; empty if there is no such file."""
    path = Path(folder) / SUMS_NAME
    if not path.is_file():
        return {}
    sums = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise InputError(path, f"line {number} is not `<sha256>  <file>`", "make it with sha256sum")
        sums[match.group(2)] = match.group(1)
    return sums


def write_sums(folder: str | os.PathLike[str], names: Iterable[str]) -> None:
    """Write the SHA256SUMS of files in a folder, atomically."""
    folder = Path(folder)
    lines = [f"{sha256_file(folder / name)}  {name}\n" for name in sorted(names)]
    write_text(folder / SUMS_NAME, "".join(lines))


def verify_checksums(files: Iterable[str | os.PathLike[str]], policy: str = "require") -> dict[str, str]:
    """Compare files with the SHA256SUMS of their folders.

    Parameters
    ----------
    files
        Files to check.
    policy
        ``require``: every file must be listed; ``if-present``: those listed are compared.

    Returns
    -------
    dict
        Path → SHA-256 of every file that was compared.

    Raises
    ------
    InputError
        If a file is missing, differs from its checksum or, with ``require``, is not listed.
    """
    if policy not in ("require", "if-present"):
        raise InputError("checksums", f"{policy!r} is neither 'require' nor 'if-present'")
    checked = {}
    for path in map(Path, files):
        if not path.is_file():
            raise InputError(path, "no such file", "check the path")
        expected = read_sums(path.parent).get(path.name)
        if expected is None:
            if policy == "require":
                remedy = f"add it there (sha256sum {path.name}), or set labels.checksums: if-present"
                raise InputError(path, f"is not listed in {path.parent / SUMS_NAME}", remedy)
            continue
        actual = sha256_file(path)
        if actual != expected:
            raise InputError(
                path,
                f"checksum mismatch: SHA-256 {actual[:12]}…, {SUMS_NAME} says {expected[:12]}…",
                "restore the file, or update the sums if the change is meant",
            )
        checked[str(path)] = actual
    return checked

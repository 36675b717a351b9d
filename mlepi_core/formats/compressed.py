"""Plain, xz- and gzip-compressed files read alike, so that raw engine output can be kept small."""

from __future__ import annotations

import gzip
import lzma
import os
import zlib
from pathlib import Path

from mlepi_core.artefacts import InputError

_OPENERS = {".xz": lzma.decompress, ".gz": gzip.decompress}


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Content of a file; ``.xz`` and ``.gz`` are decompressed.

    Raises
    ------
    InputError
        If the file is missing, unreadable or its compressed stream is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(path, "no such file", "check the path")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "check its permissions") from None
    opener = _OPENERS.get(path.suffix)
    if opener is None:
        return data
    try:
        return opener(data)
    except (lzma.LZMAError, EOFError, OSError, zlib.error) as error:
        raise InputError(path, f"damaged compressed file ({error})", "copy it again") from None


def read_text(path: str | os.PathLike[str]) -> str:
    """Content of a text file, decompressed; bytes that are not UTF-8 are replaced."""
    return read_bytes(path).decode("utf-8", errors="replace")


def plain_name(path: str | os.PathLike[str]) -> str:
    """File name without the compression suffix: ``a.scfout.xz`` gives ``a.scfout``."""
    path = Path(path)
    return path.stem if path.suffix in _OPENERS else path.name


def sibling(path: str | os.PathLike[str], suffix: str) -> Path | None:
    """File of the same stem and another suffix beside `path`, plain or compressed; None if there is none."""
    path = Path(path)
    stem = Path(plain_name(path)).stem
    candidates = (path.with_name(stem + suffix + packed) for packed in ("", *_OPENERS))
    return next((candidate for candidate in candidates if candidate.is_file()), None)

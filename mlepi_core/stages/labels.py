"""Stage `labels`: the data files are what their checksum lists say."""

from __future__ import annotations

import os
from collections.abc import Iterable

from mlepi_core.artefacts import InputError, sha256_file, write_json


def verify(
    files: Iterable[str | os.PathLike[str]], out: str | os.PathLike[str], *, policy: str = "require"
) -> None:
    """Compare files with the SHA256SUMS of their folders and write a JSON file of path → SHA-256.

    Parameters
    ----------
    files
        Label stores and other data files.
    out
        JSON file; it is written only if all files are as listed.
    policy
        ``require``: every file must be listed; ``if-present``: those listed are compared.

    Raises
    ------
    InputError
        If there is no file, or one is missing, differs from its list or, with ``require``, is not listed.
    """
    from mlepi_core.labels.checksums import verify_checksums

    paths = [os.fspath(path) for path in files]
    if not paths:
        raise InputError(out, "belongs to no file to verify", "name one of labels.path or labels.reference")
    compared = verify_checksums(paths, policy)
    write_json(out, {path: compared.get(path) or sha256_file(path) for path in sorted(paths)})

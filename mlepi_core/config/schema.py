"""Generated companions of the configuration: `config/schema.json` and `config/README.md`.

Run ``python -m mlepi_core.config.schema config`` after a change of the models; a test compares the files.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlepi_core.artefacts import write_text
from mlepi_core.config.base import Section, unit_of
from mlepi_core.config.settings import Settings

HEAD = """# Configuration

`config.yaml` is the quick run, `test.yaml` the smallest complete run (for the tests), `paper.yaml` the scale
of the paper; `bn.yaml` and `mos2-soc.yaml` train networks on other materials; `ablation.yaml` and
`learning-curves.yaml` compare networks with each other (`study`); `search.yaml` and
`bilayer-graphene.yaml` are how the released networks were found and trained (the phonon network also by
`fine-tune-slips.yaml`), `pretrained.yaml` uses them.
Each file stands alone: `snakemake --configfile config/paper.yaml` uses that file and nothing else, and keys
that a file leaves out have the defaults below. Paths are relative to the working folder. Unknown keys, wrong
types and values out of bounds are refused before any job starts.

This page and `schema.json` are generated from the models in `mlepi_core/config`.

| key | default | unit | meaning |
|---|---|---|---|
"""


def schema_text() -> str:
    """The JSON schema of a configuration file."""
    return json.dumps(Settings.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


def reference_text() -> str:
    """A page with every key, its default, unit and meaning."""
    rows = (
        f"| `{key}` | {default} | {unit} | {text} |" for key, default, unit, text in _rows(Settings(), "")
    )
    return HEAD + "\n".join(rows) + "\n"


def write(folder: Path) -> None:
    """Write both files into `folder`."""
    write_text(folder / "schema.json", schema_text())
    write_text(folder / "README.md", reference_text())


def _rows(section: Section, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _rows(value, f"{prefix}{name}.")
        else:
            yield prefix + name, _default(value), unit_of(field), _cell(field.description or "")


def _default(value: Any) -> str:
    return "–" if value is None else f"`{json.dumps(value, ensure_ascii=False)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    write(Path(sys.argv[1]))

"""The workflow engine's report and ours say the same of every figure."""

from __future__ import annotations

from pathlib import Path

from mlepi_core.analysis.captions import CAPTIONS

FOLDER = Path(__file__).parents[2] / "rules" / "captions"


def test_captions_of_both_reports_agree() -> None:
    texts = {path.stem: path.read_text(encoding="utf-8").strip() for path in FOLDER.glob("*.rst")}
    assert texts == CAPTIONS

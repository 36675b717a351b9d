"""The report page of a run: one self-contained HTML file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml

from mlepi_core import __version__
from mlepi_core.analysis import tables as t
from mlepi_core.analysis.captions import CAPTIONS
from mlepi_core.analysis.caveats import caveats, soft_modes
from mlepi_core.analysis.headline import cards, sentence
from mlepi_core.analysis.origins import origin_tables, origin_texts
from mlepi_core.analysis.page import CSS, TEMPLATE
from mlepi_core.analysis.results import Results, read_results
from mlepi_core.analysis.tables_calibration import calibration_table
from mlepi_core.analysis.tables_derivatives import derivative_table, frozen_phonon_table
from mlepi_core.artefacts import write_text
from mlepi_core.config.settings import Settings
from mlepi_core.provenance import git_state, library_versions


@dataclass(frozen=True)
class PageFigure:
    """A figure of the page: name, data URI, caption."""

    name: str
    source: str
    caption: str


@dataclass(frozen=True)
class Section:
    """A part of the page: texts, figures, tables, a listing, in this order."""

    anchor: str
    title: str
    texts: Sequence[str] = ()
    figures: Sequence[PageFigure] = ()
    tables: Sequence[t.Table] = field(default_factory=list)
    listing: str = ""


def write_report(folder: Path, out: Path, settings: Settings) -> None:
    """Write the page of the run in `folder`.

    Raises
    ------
    InputError
        If a table, figure or file of the run is missing or lacks a column.
    """
    results = read_results(
        folder,
        committee=settings.committee > 1,
        target=bool(settings.sampling.target_error),
        taken=settings.taken_networks,
    )
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    page = environment.from_string(TEMPLATE).render(
        css=jinja2.utils.markupsafe.Markup(CSS),
        run=settings.run.name,
        origin=_origin(),
        sentence=sentence(results),
        cards=cards(results),
        caveats=caveats(results, settings),
        sections=_sections(results, settings),
    )
    write_text(out, page)


def _sections(results: Results, settings: Settings) -> list[Section]:
    tables = results.tables

    def figures(*names: str) -> list[PageFigure]:
        return [PageFigure(name, results.figure(name), CAPTIONS[name]) for name in names]

    held_out = [s for s in ("test", "reference") if (tables["errors"]["split"] == s).any()]
    return [
        Section("velocity", "Fermi velocity", (), figures("velocity"), t.velocity_tables(tables["velocity"])),
        Section(
            "networks",
            "The two networks",
            [
                "Errors against DFT, baselines beside them. The labels' mean force of a cell is removed.",
                *origin_texts(settings, results.origins),
            ],
            figures(
                "learning_curves",
                "parity_phonon",
                "parity_electron",
                *(["calibration"] if settings.committee > 1 else []),
            ),
            [
                *origin_tables(results.origins),
                t.structure_table(tables["errors"], tables["band_errors"]),
                *(t.error_table(tables["errors"], split) for split in held_out),
                t.split_table(tables["errors"]),
                *([calibration_table(tables["calibration"])] if settings.committee > 1 else []),
            ],
        ),
        Section(
            "phonons",
            "Phonons and displacements",
            [soft_modes(results, settings)],
            figures("phonon_bands", "displacements"),
            [
                *t.phonon_tables(tables["phonon_errors"]),
                *relaxation_tables(results.relaxation),
                t.displacement_table(tables["displacements"]),
            ],
        ),
        Section(
            "bands",
            "Electron bands and derivatives",
            (),
            figures("bands"),
            [
                t.band_table(tables["band_errors"]),
                derivative_table(tables["derivative"]),
                *([] if tables["frozen_phonon"].empty else [frozen_phonon_table(tables["frozen_phonon"])]),
            ],
        ),
        *static_sections(tables["static_velocity"]),
        Section(
            "convergence",
            "Convergence",
            (),
            figures("convergence"),
            [
                *([t.precision_table(tables["precision"])] if "precision" in tables else []),
                *([] if tables["estimators"].empty else [t.estimator_table(tables["estimators"])]),
            ],
        ),
        Section("timing", "Time and memory", (), figures("timing"), [t.timing_table(tables["timing"])]),
        Section(
            "data",
            "Data and software",
            ["The manifest of the run (manifest.json) lists the checksums of all its files as well."],
            (),
            [_label_table(results, settings), _version_table()],
        ),
        Section(
            "settings",
            "Settings",
            ["All settings of the run, defaults included; training only of networks that it trains."],
            listing=_listing(settings),
        ),
    ]


def _listing(settings: Settings) -> str:
    unused = {"training": set(settings.taken_networks)}
    content = settings.model_dump(mode="json", exclude=unused)
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def static_sections(table: pd.DataFrame) -> list[Section]:
    """The check of the velocity on static cells, if the run made it."""
    if table.empty:
        return []
    text = (
        "Undisplaced cells with H and S from DFT, and the network's H and S for the same structures, through "
        "the same code. True H tests reader and estimators; the difference is the error of the network."
    )
    return [Section("static", "Static velocity", [text], (), [t.static_velocity_table(table)])]


def relaxation_tables(relaxation: Mapping[str, Any]) -> list[t.Table]:
    """What relaxation did, and how far the force constants violated the sum rules."""
    found = []
    rows = [
        [words, t.significant(float(relaxation[key])), unit]
        for key, words, unit in (
            ("max_force_start_eV_per_A", "largest force before", "eV/Å"),
            ("residual_force_eV_per_A", "largest force after", "eV/Å"),
            ("moved_max_A", "largest movement", "Å"),
            ("energy_change_eV", "change of energy", "eV"),
        )
        if relaxation.get(key) is not None
    ]
    if rows:
        found.append(t.Table("Relaxation under the phonon network", ["quantity", "value", "unit"], rows))
    before, after = relaxation.get("sum_rules_before"), relaxation.get("sum_rules_after")
    if before and after:
        rows = [[*_rule(key), t.significant(before[key]), t.significant(after[key])] for key in before]
        title = f"Violation of the sum rules (imposed: {relaxation.get('sum_rules_imposed', 'none')})"
        found.append(t.Table(title, ["rule", "unit", "before", "after"], rows, 2))
    return found


def _rule(key: str) -> tuple[str, str]:
    """Name and unit of a key such as ``translation_eV_per_A2``."""
    name, _, unit = key.partition("_")
    return name, unit.replace("_per_", "/").replace("A2", "Å²").replace("A", "Å")


def _label_table(results: Results, settings: Settings) -> t.Table:
    """Data files of this configuration; the folder may hold checks of earlier ones."""
    named = [*settings.labels.path, *settings.labels.reference, settings.derivative.reference]
    named += [settings.phonons.reference, settings.phonons.slip_reference, *settings.checks.references]
    prefixes = tuple(os.path.normpath(path) for path in named if path)
    rows = [
        [path, digest[:16]]
        for path, digest in sorted(results.labels.items())
        if os.path.normpath(path).startswith(prefixes)
    ]
    note = "First 16 digits, compared with the SHA256SUMS of the folder before use."
    return t.Table(
        "DFT labels", ["file", "SHA-256"], rows, 2, note if rows else "No list of files was found."
    )


def _version_table() -> t.Table:
    rows = [[name, version] for name, version in library_versions().items()]
    return t.Table("Software", ["library", "version"], rows, 2)


def _origin() -> str:
    state = git_state(Path(__file__).resolve().parent)
    commit = f", commit {state['commit'][:10]}" if state["commit"] else ""
    changed = " with uncommitted changes" if state["dirty"] else ""
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"mlepi {__version__}{commit}{changed}, written {when}"

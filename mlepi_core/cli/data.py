"""Verbs on structures and stores: build, convert, info, overlap, bands, summary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from mlepi_core.cli.options import PATH, device_option, say


@click.command()
@click.argument("kind", type=click.Choice(["ab", "aa", "shift", "twist", "monolayer", "file"]))
@click.argument("paths", type=PATH, nargs=-1, required=True, metavar="[SOURCE] OUT")
@click.option(
    "--size", type=int, nargs=2, default=(1, 1), show_default=True, metavar="N N", help="Repetitions."
)
@click.option("--shift", type=float, nargs=2, metavar="FX FY", help="Shift of the upper layer (kind shift).")
@click.option("--index", type=int, nargs=2, metavar="M R", help="Commensurate twist (kind twist).")
@click.option("--distance", type=float, metavar="D", help="Distance between the layers, Å.")
@click.option("--lattice-constant", type=float, metavar="A", help="In-plane lattice constant, Å.")
@click.option("--cell-height", type=float, metavar="C", help="Length of the out-of-plane cell vector, Å.")
def build(kind: str, paths: tuple[Path, ...], **options: Any) -> None:
    """Build a structure and write it to OUT as extxyz with a `layer` column.

    KIND is a stacking of a graphene bilayer; `file` takes any structure file SOURCE that ASE reads.
    """
    from mlepi_core.stages.structures import build as run

    if len(paths) != 1 + (kind == "file"):
        raise click.UsageError(f"Kind {kind} takes {'SOURCE and OUT' if kind == 'file' else 'OUT only'}.")
    out = paths[-1]
    source = paths[0] if kind == "file" else None
    atoms = run(kind, out, file=source, **options)
    say(f"{out}: {len(atoms)} atoms, {len(set(atoms.arrays['layer']))} layers")


@click.command()
@click.argument("sources", type=PATH, nargs=-1, required=True, metavar="SRC...")
@click.argument("destination", type=PATH, metavar="DST")
@click.option(
    "--to",
    type=click.Choice(["store", "deeph", "deeph-legacy", "extxyz"]),
    help="Format of DST; by default from its suffix.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float64", "float32"]),
    default="float64",
    show_default=True,
    help="Precision of H and S.",
)
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test", "reference"]),
    help="Split of all entries; by default that of the source.",
)
@click.option(
    "--entry", "names", multiple=True, metavar="NAME", help="Only this entry (repeatable); by default all."
)
@click.option("--forces-only", is_flag=True, help="Leave out energies (of another zero), H and S.")
@click.option(
    "--overlap-check/--no-overlap-check",
    default=True,
    show_default=True,
    help="Refuse DeepH folders whose S is not that of atomic orbitals in the format's order.",
)
def convert(
    sources: tuple[Path, ...],
    destination: Path,
    to: str | None,
    dtype: str,
    split: str | None,
    names: tuple[str, ...],
    forces_only: bool,
    overlap_check: bool,
) -> None:
    """Convert files or folders SRC into one file DST; the kind of SRC is detected.

    With --to deeph or deeph-legacy DST is a folder: of one entry its DeepH folder, of several one for each.

    Of an OpenMX run give the .scfout; .out and .std of the same stem are read with it.
    """
    from mlepi_core.progress import terminal
    from mlepi_core.stages.convert import convert as run

    options = {"check_overlap": overlap_check, "progress": terminal("convert")}
    options |= {"dtype": dtype, "split": split, "names": names, "forces_only": forces_only}
    report = run(list(sources), destination, to, **options)
    say(f"{destination}: {report['n_structures']} structures")
    for key, text in (("unconverged", "not converged"), ("without_energy", "without energy")):
        if report.get(key):
            click.echo(f"warning: {text}: {', '.join(report[key])}", err=True)


@click.command()
@click.argument("file", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(file: Path, as_json: bool) -> None:
    """Say what FILE holds: label store, model, phonons (folder), samples, raw results."""
    from mlepi_core.stages.info import format_info
    from mlepi_core.stages.info import info as run

    content = run(file)
    say(json.dumps(content, indent=2) if as_json else format_info(content))


@click.command()
@click.argument("store", type=PATH)
@click.argument("out", type=PATH)
@click.option("--split", help="Entries to fit; by default those of split train, or all.")
def overlap(store: Path, out: Path, split: str | None) -> None:
    """Fit two-centre overlap tables to STORE and write them with their coverage to OUT."""
    from mlepi_core.stages.overlap import overlap as run

    report = run(store, out, split=split)
    say(json.dumps(report, indent=2, default=str))


@click.command()
@click.argument("store", type=PATH)
@click.option("--structure", metavar="NAME", help="Entry of STORE; may be left out if there is only one.")
@click.option(
    "--kpoints", type=PATH, required=True, metavar="K", help="Fractional k, three numbers per line."
)
@click.option("--out", type=PATH, required=True, metavar="CSV", help="ik, kx, ky, kz, band, energy_eV.")
@click.option(
    "--overlap-threshold",
    type=click.FloatRange(min=0),
    help="Leave out combinations of orbitals whose eigenvalue of S is smaller (5e-4).",
)
@device_option
def bands(
    store: Path,
    structure: str | None,
    kpoints: Path,
    out: Path,
    overlap_threshold: float | None,
    device: str,
) -> None:
    """All band energies of one structure of STORE on a list of k points."""
    from mlepi_core.stages.bands import bands as run

    report = run(store, structure, kpoints, out, device=device, overlap_threshold=overlap_threshold)
    say(f"{out}: {report['n_bands']} bands at {report['n_kpoints']} k points of {report['structure']}")


@click.command()
@click.argument("folder", type=PATH)
def summary(folder: Path) -> None:
    """Main results of a finished run in FOLDER (results/NAME) as a short table."""
    from mlepi_core.stages.summary import summary as run

    say(run(folder))


VERBS = (build, convert, info, overlap, bands, summary)

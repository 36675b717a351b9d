"""Verb `anharmonic`: force constants at a temperature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mlepi_core.cli.options import PATH, device_option, say


@click.command()
@click.argument("model", type=PATH)
@click.argument("folder", type=PATH, metavar="DIR")
@click.option("--temperature", type=float, required=True, metavar="T", help="K; 0 is zero-point motion.")
@click.option("--out", type=PATH, required=True, metavar="DIR2", help="Folder for the files.")
@click.option(
    "--pairs",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    metavar="N",
    help="Pairs (u, −u) of a set of samples.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    metavar="S",
    help="Of the random numbers, which all iterations share.",
)
@click.option(
    "--iterations",
    type=click.IntRange(min=1),
    default=40,
    show_default=True,
    metavar="I",
    help="Most iterations.",
)
@click.option(
    "--tolerance",
    "tolerance_cm1",
    type=float,
    default=0.2,
    show_default=True,
    metavar="X",
    help="Largest change of a frequency at the end, cm⁻¹; a tenth of its standard error is enough.",
)
@click.option(
    "--mixing", type=float, default=0.5, show_default=True, help="Part of the way to the fit, up to 1."
)
@click.option(
    "--imaginary",
    type=click.Choice(["absolute", "floor", "refuse"]),
    default="absolute",
    show_default=True,
    help="Imaginary modes on the way; those of the result are listed and warned of.",
)
@click.option("--floor-cm1", type=float, metavar="X", help="Lowest frequency (--imaginary floor), cm⁻¹.")
@click.option(
    "--least-share",
    type=float,
    default=0.5,
    show_default=True,
    help="Samples are reweighted while they are worth this share; 1 computes new forces each time.",
)
@click.option(
    "--sum-rules",
    type=click.Choice(["translational", "rotational"]),
    help="Rules of the fit; by default those of DIR.",
)
@device_option
def anharmonic(model: Path, folder: Path, temperature: float, out: Path, **options: Any) -> None:
    """Force constants at a temperature, self-consistent with the motion they cause, from those in DIR.

    MODEL gives forces at thermal displacements; cell and mean positions stay. DIR2 serves `mlepi sample`.
    """
    from mlepi_core.progress import terminal
    from mlepi_core.stages.anharmonic import anharmonic as run

    result = run(model, folder, temperature, out, progress=terminal("anharmonic"), **options)
    section = result.phonons.report["anharmonic"]
    state = "self-consistent" if result.converged else "NOT self-consistent"
    say(
        f"{out}: {state} at {temperature:g} K after {section['iterations']} iterations, "
        f"{section['force_evaluations']} structures"
    )
    largest = max(result.frequencies, key=lambda row: abs(row["change_cm1"]))
    error = largest["frequency_se_cm1"]
    bar = "" if error is None else f" ± {error:.2g}"
    say(f"largest change of a frequency: {largest['change_cm1']:+.4g}{bar} cm⁻¹, see frequencies.csv")


VERBS = (anharmonic,)

"""Verbs of phonons, thermal averages and derivatives: phonons, sample, velocity, derivative."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mlepi_core.cli.options import PATH, device_option, json_option, say


def estimator_options(*further: str):  # type: ignore[no-untyped-def]
    """`--estimator NAME`, required, with `further` names, and `--window LO HI`."""
    window = click.option(
        "--window", type=float, nargs=2, metavar="LO HI", help="|k − K| in 1/Å; operator has none."
    )
    estimator = click.option(
        "--estimator",
        type=click.Choice(["naive", "manifold", "bilayer", "operator", *further]),
        required=True,
        help="How the velocity is defined.",
    )
    return lambda function: estimator(window(function))


@click.command()
@click.argument("model", type=PATH)
@click.argument("structure", type=PATH)
@click.option(
    "--supercell",
    type=click.IntRange(min=1),
    nargs=3,
    required=True,
    metavar="N N 1",
    help="Cells for the force constants.",
)
@click.option("--out", type=PATH, required=True, metavar="DIR", help="Folder for the files.")
@click.option("--relax/--no-relax", default=True, show_default=True, help="Relax at fixed cell first.")
@click.option("--displacement", type=float, default=0.02, show_default=True, help="Finite displacements, Å.")
@click.option(
    "--method",
    type=click.Choice(["finite_differences", "hessian"]),
    default="finite_differences",
    show_default=True,
    help="How the force constants are computed.",
)
@click.option(
    "--sum-rules",
    type=click.Choice(["none", "translational", "rotational"]),
    default="translational",
    show_default=True,
    help="Rules imposed on the force constants.",
)
@device_option
def phonons(
    model: Path,
    structure: Path,
    supercell: tuple[int, int, int],
    out: Path,
    relax: bool,
    displacement: float,
    method: str,
    sum_rules: str,
    device: str,
) -> None:
    """Force constants of STRUCTURE from the phonon MODEL, written to a folder.

    Imaginary modes are a warning here and a list in `mlepi info DIR`.
    """
    from mlepi_core.stages.phonons import phonons as run

    run(
        model,
        structure,
        supercell,
        out,
        relax=relax,
        displacement=displacement,
        method=method,
        sum_rules=sum_rules,
        device=device,
    )
    say(f"{out}: phonopy_params.yaml, reference.extxyz, relaxation.json")


@click.command()
@click.argument("folder", type=PATH, metavar="DIR")
@click.option(
    "--supercell",
    type=click.IntRange(min=1),
    nargs=3,
    required=True,
    metavar="n n 1",
    help="Cells of the samples.",
)
@click.option("--temperature", type=float, required=True, metavar="T", help="K; 0 is zero-point motion.")
@click.option("--pairs", type=click.IntRange(min=1), required=True, metavar="N", help="Pairs (u, −u).")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    required=True,
    metavar="S",
    help="Same seed, same random numbers at every T.",
)
@click.option("--out", type=PATH, required=True, metavar="FILE", help="Sample file (HDF5).")
@click.option(
    "--imaginary",
    type=click.Choice(["refuse", "drop", "absolute", "floor"]),
    default="refuse",
    show_default=True,
    help="What to do with imaginary modes.",
)
@click.option("--floor-cm1", type=float, metavar="X", help="Lowest frequency (--imaginary floor), cm⁻¹.")
@click.option(
    "--first-pair", type=click.IntRange(min=0), default=0, show_default=True, help="Number of the first pair."
)
@click.option(
    "--scheme",
    type=click.Choice(["antithetic", "plain", "signs", "gauss_hermite", "sobol", "special"]),
    default="antithetic",
    show_default=True,
    help="How the modes are sampled; plain has one displacement instead of a pair.",
)
def sample(
    folder: Path,
    supercell: tuple[int, int, int],
    temperature: float,
    pairs: int,
    seed: int,
    out: Path,
    imaginary: str,
    floor_cm1: float | None,
    first_pair: int,
    scheme: str,
) -> None:
    """Thermal displacements of a supercell from the phonons in DIR."""
    from mlepi_core.stages.sample import sample as run

    samples = run(
        folder,
        supercell,
        temperature,
        pairs,
        seed,
        out,
        imaginary=imaginary,
        floor_cm1=floor_cm1,
        first_pair=first_pair,
        scheme=scheme,
    )
    say(f"{out}: {len(samples)} samples at {temperature:g} K")


@click.command()
@click.argument("store", type=PATH)
@click.option("--static", type=PATH, required=True, metavar="STORE0", help="Store of the undisplaced cell.")
@estimator_options("spectral", "self_energy")
@click.option("--phonons", type=PATH, metavar="DIR", help="Phonons of the samples, for the next two options.")
@click.option("--control-variates", is_flag=True, help="Less scatter: take out what follows the modes.")
@click.option("--temperature", type=float, metavar="T", help="K; reweight the samples to T.")
@json_option
@device_option
def velocity(
    store: Path, static: Path, estimator: str, window: tuple[float, float] | None, out: Path, **options: Any
) -> None:
    """Fermi velocity from the Hamiltonians in STORE, against the static cell."""
    from mlepi_core.stages.velocity import velocity as run

    result = run(store, static, estimator, window, out, **options)
    say(f"{out}: ratio {result['ratio']:.5g}, velocity {result['v_m_per_s']:.6g} m/s")


@click.command(name="two-level")
@click.argument("store", type=PATH)
@click.option("--reference", type=PATH, required=True, metavar="DFT", help="Some of the snapshots from DFT.")
@click.option("--static", type=PATH, required=True, metavar="DFT0", help="Undisplaced cell from DFT.")
@estimator_options()
@click.option(
    "--cost-ratio",
    type=click.FloatRange(min=0, min_open=True),
    metavar="R",
    help="Cost of a DFT snapshot over that of a predicted one, for the best allocation.",
)
@json_option
@device_option
def two_level(
    store: Path,
    reference: Path,
    static: Path,
    estimator: str,
    window: tuple[float, float] | None,
    out: Path,
    **options: Any,
) -> None:
    """Fermi velocity at the level of DFT: predictions in STORE, corrected by a few DFT snapshots."""
    from mlepi_core.stages.two_level import two_level_velocity as run

    result = run(store, reference, static, estimator, window, out, **options)
    say(f"{out}: ratio {result['ratio']:.5g} ± {result['ratio_se']:.2g}")
    if "best_pairs_per_reference" in result:
        say(f"cheapest: {result['best_pairs_per_reference']:.3g} predicted pairs for one of DFT")


@click.command()
@click.argument("model", type=PATH)
@click.argument("structure", type=PATH)
@click.argument("out", type=PATH)
@click.option("--pattern", type=PATH, metavar="FILE", help="Displacements (N, 3) in Å: .npy or extxyz.")
@click.option("--atom", type=int, metavar="I", help="Instead: the only atom that moves, counted from 0.")
@click.option("--axis", type=click.Choice(["x", "y", "z"]), help="Direction of this atom.")
@device_option
def derivative(
    model: Path,
    structure: Path,
    out: Path,
    pattern: Path | None,
    atom: int | None,
    axis: str | None,
    device: str,
) -> None:
    """dH/dR and dS/dR of the electron MODEL along a displacement pattern, exact (no finite steps).

    OUT is a label store: H stands for the derivative in eV/Å, S for that of the overlap in 1/Å.
    """
    from mlepi_core.stages.derivative import pattern_derivative as run

    norm = run(model, structure, out, pattern=pattern, atom=atom, axis=axis, device=device)
    say(f"{out}: derivative of H, norm {norm:.5g} eV/Å")


@click.command()
@click.argument("stores", type=PATH, nargs=-1, required=True, metavar="STORE...")
@click.option("--primitive", type=PATH, required=True, metavar="FILE", help="Undisplaced primitive cell.")
@click.option("--kpoints", type=PATH, metavar="K", help="Fractional primitive k, one per line.")
@click.option(
    "--path",
    type=click.IntRange(min=1),
    metavar="N",
    help="Instead: the path Γ–M–K–Γ with N k on each line.",
)
@click.option("--out", type=PATH, required=True, metavar="CSV", help="A(k, E) with its standard error.")
@click.option("--figure", type=PATH, metavar="STEM", help="Draw A(k, E): STEM.png, .svg, .csv.")
@click.option("--static", type=PATH, metavar="STORE", help="Undisplaced cell: bare bands in the figure.")
@click.option(
    "--window", type=float, nargs=2, default=(-3.0, 3.0), show_default=True, metavar="LO HI", help="eV."
)
@click.option("--points", type=click.IntRange(min=2), default=301, show_default=True, help="Energies.")
@click.option(
    "--width", type=float, default=0.03, show_default=True, metavar="W", help="Broadening of a state, eV."
)
@click.option(
    "--shape",
    type=click.Choice(["lorentzian", "gaussian"]),
    default="lorentzian",
    show_default=True,
    help="W is the half width of a Lorentzian or the standard deviation of a Gaussian.",
)
@click.option(
    "--weights",
    type=click.Choice(["lowdin", "mulliken", "projector"]),
    default="lowdin",
    show_default=True,
    help="Weight of a supercell state at k.",
)
@click.option(
    "--align",
    type=click.Choice(["fermi", "none"]),
    default="fermi",
    show_default=True,
    help="Zero of energy of every snapshot: its Fermi level, or as stored.",
)
def unfold(stores: tuple[Path, ...], **options: Any) -> None:
    """Unfold supercells in STORE onto a primitive cell: mean spectral function A(k, E).

    The entries are snapshots of one temperature; the members of a pair (u, −u) count as one sample.
    """
    from mlepi_core.progress import terminal
    from mlepi_core.stages.unfold import unfold as run

    out = options.pop("out")
    options["progress"] = terminal("unfold")
    options["path_points"] = options.pop("path")
    report = run(list(stores), options.pop("primitive"), options.pop("kpoints"), out, **options)
    say(f"{out}: A(k, E) at {report['n_kpoints']} k, mean of {report['n_samples']} samples")


@click.command()
@click.argument("name")
@click.argument("stores", type=PATH, nargs=-1, required=True, metavar="STORE...")
@click.option("--out", type=PATH, required=True, metavar="FILE", help="HDF5 file with all samples.")
@click.option("--primitive", type=PATH, metavar="FILE", help="Undisplaced primitive cell, for unfolding.")
@click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help="Setting, value as in YAML.")
@click.option("--plugin", "plugins", type=PATH, multiple=True, help="Python file with more observables.")
def observe(
    name: str,
    stores: tuple[Path, ...],
    out: Path,
    primitive: Path | None,
    pairs: tuple[str, ...],
    plugins: tuple[Path, ...],
) -> None:
    """Observable NAME of the snapshots in STORE, with mean and standard error.

    Built in: gap, dos, spectral, gamma1, conductivity.
    """
    import yaml

    from mlepi_core.artefacts import InputError
    from mlepi_core.progress import terminal
    from mlepi_core.stages.observe import observe as run

    settings = {}
    for pair in pairs:
        key, found, value = pair.partition("=")
        if not found:
            raise InputError("--set", f"{pair!r} is not KEY=VALUE", "for instance --set width=0.1")
        settings[key] = yaml.safe_load(value)
    options = {"primitive": primitive, "plugins": plugins, "progress": terminal("observe")}
    report = run(name, list(stores), out, settings, **options)
    for key, result in report.items():
        mean, error = result["mean"], result["standard_error"]
        if isinstance(mean, list):
            say(f"{key}: array in {out}, {result['unit']}, mean of {result['n_samples']} samples")
        else:
            bar = "" if error is None else f" ± {error:.2g}"
            say(f"{key}: {mean:.6g}{bar} {result['unit']}, mean of {result['n_samples']} samples")


@click.command()
@click.argument("run", type=PATH)
@click.option("--sizes", type=PATH, multiple=True, metavar="RUN", help="Run with another sampling cell.")
@click.option("--anharmonic", type=PATH, metavar="RUN", help="Run with anharmonic force constants.")
@click.option("--networks", type=PATH, multiple=True, metavar="RUN", help="Run with other networks.")
@click.option("--out", type=PATH, required=True, metavar="DIR", help="Folder for tables and figures.")
def budget(run: Path, out: Path, **others: Any) -> None:
    """Error budget of the velocity ratio of RUN, a results folder, as far as other runs judge it."""
    from mlepi_core.stages.budget import budget as judge

    table = judge(run, out, **others)
    for row in table.itertuples(index=False):
        bar = "" if row.uncertainty != row.uncertainty else f" ± {row.uncertainty:.1g}"
        say(f"{row.source}, {row.estimator}, {row.temperature_K:g} K: {row.error:+.2g}{bar} ({row.basis})")


VERBS = (phonons, sample, velocity, two_level, derivative, unfold, observe, budget)

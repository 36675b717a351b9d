"""Verbs on the networks: train, evaluate, predict, card."""

from __future__ import annotations

from pathlib import Path

import click

from mlepi_core.cli.options import PATH, device_option, json_option, say

KIND = click.Choice(["phonon", "electron"])


@click.command()
@click.argument("kind", type=KIND)
@click.argument("config", type=PATH)
@click.option(
    "--store", "stores", type=PATH, multiple=True, help="Label store (repeatable); by default labels.path."
)
@click.option("--out", type=PATH, metavar="MODEL", help="By default results/NAME/models/KIND.pt.")
@click.option("--from", "start_from", type=PATH, metavar="MODEL", help="Start from this model's weights.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="By default `device` of CONFIG.")
@click.option("--tensorboard", type=PATH, metavar="DIR", help="Write event files for TensorBoard.")
@click.option("--member", type=int, metavar="M", help="Only this member of the committee; joins nothing.")
@click.option(
    "--lr-range",
    type=float,
    nargs=2,
    metavar="LOW HIGH",
    help="No training: a few steps with a rising learning rate show which rate suits; leaves a CSV only.",
)
@click.option(
    "--lr-steps", type=int, default=100, show_default=True, help="Number of these steps, at least 20."
)
def train(
    kind: str,
    config: Path,
    stores: tuple[Path, ...],
    out: Path | None,
    start_from: Path | None,
    device: str | None,
    tensorboard: Path | None,
    member: int | None,
    lr_range: tuple[float, float] | None,
    lr_steps: int,
) -> None:
    """Train the phonon or the electron network as CONFIG says.

    An interrupted training goes on from its restart file if settings, data and code are the same.
    The members of a committee are trained one after the other, then joined to one model file.
    Under torchrun several processes train one network together.
    """
    from mlepi_core.config import label_files, load_config
    from mlepi_core.progress import terminal
    from mlepi_core.stages.train import learning_rate_range
    from mlepi_core.stages.train_committee import train_committee
    from mlepi_core.training.parallel import joined

    settings = load_config(config)
    results = Path("results") / settings.run.name
    model = out or results / "models" / f"{kind}.pt"
    history = results / "tables" / f"history_{kind}.csv" if out is None else model.with_suffix(".history.csv")
    restart = results / "restart" / kind if out is None else model.parent / "restart"
    section = getattr(settings.training, kind)
    inputs = (kind, section, list(stores) or label_files(settings.labels.path))
    common = {
        "overlap_smoothing": settings.labels.overlap_smoothing,
        "hold_out": settings.labels.hold_out_rms_force,
        "start_from": start_from,
        "device": device or settings.device,
    }
    if lr_range:
        table = model.with_suffix(".lr-range.csv") if out else results / "tables" / f"lr_range_{kind}.csv"
        bar = terminal(f"train_{kind}")
        rate = learning_rate_range(*inputs, table, *lr_range, steps=lr_steps, progress=bar, **common)
        advice = "the loss never falls: try another range" if rate is None else f"learning_rate {rate:.2g}"
        say(f"{table}: {advice}")
        return
    several = settings.committee > 1
    with joined(common["device"]):
        reports = train_committee(
            *inputs,
            model,
            committee=settings.committee,
            restart_dir=restart,
            history_csv=history,
            member=member,
            tensorboard=tensorboard,
            progress=lambda number: terminal(f"train_{kind} {number}" if several else f"train_{kind}"),
            **common,
        )
    unit = "meV/Å" if kind == "phonon" else "meV"
    for number, report in reports.items():
        if report["first"]:
            early = f" of {report['steps']}, stopped early" if report["steps"] < section.steps else ""
            best = f"best at step {report['best_step']}{early}"
            name = f"{model}, member {number}" if several else str(model)
            say(f"{name}: {best}, validation MAE {report['best_value']:.4g} {unit}")


@click.command()
@click.argument("model", type=PATH)
@click.argument("store", type=PATH)
@click.option("--split", help="Entries of this split; by default all converged ones.")
@json_option
@device_option
def evaluate(model: Path, store: Path, split: str | None, out: Path, device: str) -> None:
    """Errors of MODEL on the labels of STORE, as one flat JSON object."""
    from mlepi_core.artefacts import write_json
    from mlepi_core.stages.evaluate import evaluate as run

    write_json(out, run(model, [store], split, device=device))


@click.command()
@click.argument("model", type=PATH)
@click.argument("source", type=PATH, metavar="STRUCTURE|SAMPLES")
@click.argument("out", type=PATH)
@click.option(
    "--dtype",
    type=click.Choice(["float64", "float32"]),
    default="float64",
    show_default=True,
    help="Precision of what is written; networks run in it too.",
)
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=1, show_default=True, help="Structures at once."
)
@device_option
def predict(model: Path, source: Path, out: Path, dtype: str, batch_size: int, device: str) -> None:
    """Predict for a structure that ASE reads, or for all samples of a sample file.

    An electron model writes a label store with H and S, a phonon model extxyz with energy and forces.
    """
    from mlepi_core.progress import terminal
    from mlepi_core.stages.predict import predict as run

    run(model, source, out, device=device, dtype=dtype, batch_size=batch_size, progress=terminal("predict"))
    say(f"{out} written")


@click.command()
@click.argument("model", type=PATH)
@click.option("--errors", type=PATH, required=True, help="Its errors: evaluation/KIND.json of a run.")
@click.option("--phonon-errors", type=PATH, help="Table phonon_errors.csv of a run with this model.")
@click.option("--bands", type=PATH, help="Table band_errors.csv of a run with this model.")
@click.option("--store", "stores", type=PATH, multiple=True, help="Label store of the training (repeatable).")
@click.option(
    "--hold-out", type=float, metavar="F", help="`labels.hold_out_rms_force` of the training, in eV/Å."
)
@click.option("--out", type=PATH, required=True, help="Markdown file.")
def card(
    model: Path,
    errors: Path,
    phonon_errors: Path | None,
    bands: Path | None,
    stores: tuple[Path, ...],
    hold_out: float | None,
    out: Path,
) -> None:
    """Model card of MODEL: data, settings, errors, range of validity.

    The range is that of the training structures in the label stores that are given.
    """
    from mlepi_core.stages.model_card import model_card

    model_card(model, errors, out, phonon_errors=phonon_errors, bands=bands, stores=stores, hold_out=hold_out)
    say(f"{out} written")


VERBS = (train, evaluate, predict, card)

"""Verb `benchmark`: time and memory."""

from __future__ import annotations

from pathlib import Path

import click

from mlepi_core.cli.options import PATH

WHAT = click.Choice(["networks"])


@click.command()
@click.argument("what", type=WHAT)
@click.option("--json", "out", type=PATH, metavar="OUT", help="JSON file for the result.")
@click.option(
    "--sizes",
    metavar="N,N,…",
    help="Atoms of the cells of the cost curve, each 4 n²; by default 64,256,576,1024,2304.",
)
@click.option(
    "--atoms",
    type=click.IntRange(min=4),
    default=64,
    show_default=True,
    help="Atoms of the cell of the comparisons, 4 n².",
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads; by default all usable processors.")
@click.option("--rounds", type=click.IntRange(min=1), help="Timed turns; by default 7, with --quick 3.")
@click.option(
    "--quick", is_flag=True, help="Small cells, few rounds, one setting of each net, no twisted bilayer."
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float64"]),
    default="float32",
    show_default=True,
    help="Precision of the networks.",
)
@click.option(
    "--peers", type=PATH, metavar="VENV", help="Environment with mace-torch; by default .venv-peers if there."
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where networks run; auto takes CUDA if there is a device.",
)
def benchmark(
    what: str,
    out: Path | None,
    sizes: str | None,
    atoms: int,
    threads: int | None,
    rounds: int | None,
    quick: bool,
    dtype: str,
    peers: Path | None,
    device: str,
) -> None:
    """Measure time and memory of the networks, against their peers and against size.

    WHAT is `networks`: the electron net with its SO(2) convolution and with e3nn's tensor product, the
    phonon net and mace-torch, the cost of both against the number of atoms, and the prediction of H for
    11,164 atoms. Tables come as they are ready.
    """
    from mlepi_core.cli.options import say
    from mlepi_core.stages.benchmark import benchmark_networks

    benchmark_networks(
        out,
        sizes=_numbers(sizes),
        atoms=atoms,
        threads=threads,
        rounds=rounds,
        quick=quick,
        device=device,
        dtype=dtype,
        peers=peers,
        say=say,
    )


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no list of whole numbers such as 64,256.", param_hint="--sizes"
        ) from None


VERBS = (benchmark,)

"""Arguments and options that several verbs share."""

from __future__ import annotations

from pathlib import Path

import click

PATH = click.Path(path_type=Path)


def device_option(function):  # type: ignore[no-untyped-def]
    """`--device auto|cpu|cuda`."""
    return click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="Where networks and eigensolvers run; auto takes CUDA if there is a device.",
    )(function)


def json_option(function):  # type: ignore[no-untyped-def]
    """`--json OUT`, required."""
    return click.option(
        "--json", "out", type=PATH, required=True, metavar="OUT", help="JSON file for the result."
    )(function)


def say(text: str) -> None:
    """A line of result on standard output."""
    click.echo(text)

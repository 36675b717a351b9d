"""Entry point of `mlepi`: verbs, version, and errors as one line."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence

import click

from mlepi_core import __version__
from mlepi_core.artefacts import MlepiError
from mlepi_core.cli import anharmonic, benchmark, data, networks, physics

INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="mlepi")
def mlepi() -> None:
    """Electron-phonon interactions from machine-learned forces and Hamiltonians.

    Every verb does what the workflow's rule of that stage does; `mlepi VERB --help` says the rest.
    """


for _module in (data, networks, physics, anharmonic, benchmark):
    for _verb in _module.VERBS:
        mlepi.add_command(_verb)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit: 0 on success, 2 on bad input with one line on standard error."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    warnings.showwarning = _show_warning
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        result = mlepi.main(
            args=None if arguments is None else list(arguments), prog_name="mlepi", standalone_mode=False
        )
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "mlepi"
        return _fail(f"{command}: {' '.join(error.format_message().split())} See `{command} --help`.")
    except (click.Abort, KeyboardInterrupt):
        _fail("mlepi: interrupted")
        return INTERRUPTED
    except MlepiError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename or 'mlepi'}: {error.strerror or error}")
    return result if isinstance(result, int) else 0


def _fail(line: str) -> int:
    click.echo(line, err=True)
    return 2


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    click.echo(f"warning: {message}", err=True)

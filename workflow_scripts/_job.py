"""What all scripts of the rules share: threads, log, progress lines, errors as one line.

Imported before anything heavy, because BLAS libraries read the number of threads when they are loaded.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlepi_core.artefacts import MlepiError
from mlepi_core.config import read_stage_config
from mlepi_core.progress import Progress, lines


@dataclass(frozen=True)
class Run:
    """What a script gets: its part of the configuration, and how it tells how far it is."""

    cfg: dict[str, Any]
    progress: Progress


@contextmanager
def job(snakemake: Any) -> Iterator[Run]:
    """Run the body of a rule's script.

    The full log goes to the rule's log file, about every 20 s a line to the terminal. An error of ours ends
    the job with exit code 2 and its one line at the end of log and terminal; any other one with 1 and its
    traceback in the log.
    """
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(snakemake.threads)
    terminal, name = sys.stderr, _name(snakemake)
    path = Path(snakemake.log[0])
    path.parent.mkdir(parents=True, exist_ok=True)

    with path.open("w", encoding="utf-8", buffering=1) as log, redirect_stdout(log), redirect_stderr(log):
        logging.basicConfig(stream=log, level=logging.INFO, format="%(asctime)s %(message)s", force=True)
        logging.captureWarnings(True)
        try:
            yield Run(read_stage_config(snakemake.params.cfg), lines(name, terminal))
        except MlepiError as error:
            print(error, file=log)
            print(f"[{name}] {error}", file=terminal, flush=True)
            raise SystemExit(2) from None
        except Exception as error:
            traceback.print_exc(file=log)
            print(
                f"[{name}] {type(error).__name__}: {error} (traceback in {path})", file=terminal, flush=True
            )
            raise SystemExit(1) from None


def _name(snakemake: Any) -> str:
    """Rule and wildcards; the first member of a committee goes by its rule alone, as a single model does."""
    named = {key: str(value) for key, value in snakemake.wildcards.items()}
    values = ",".join(value for key, value in named.items() if (key, value) != ("member", "1"))
    return f"{snakemake.rule} {values}" if values else str(snakemake.rule)

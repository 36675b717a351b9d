"""The report page of the run."""

from pathlib import Path

from _job import job

with job(snakemake):
    from mlepi_core.config import read_settings
    from mlepi_core.stages.report import report

    report(Path(snakemake.output[0]).parent, snakemake.output[0], read_settings(snakemake.params.cfg))

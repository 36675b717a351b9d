"""The manifest of the run."""

from pathlib import Path

from _job import job

with job(snakemake):
    from mlepi_core.config import read_settings
    from mlepi_core.stages.manifest import manifest

    manifest(
        Path(snakemake.output[0]).parent,
        sorted(set(snakemake.input)),
        snakemake.output[0],
        read_settings(snakemake.params.cfg),
        labels=sorted(snakemake.input.verified),
    )

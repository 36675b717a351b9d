"""Compare a label file with its checksum list."""

from _job import job

with job(snakemake) as run:
    from mlepi_core.stages.labels import verify

    verify(snakemake.input, snakemake.output[0], policy=run.cfg["labels.checksums"])

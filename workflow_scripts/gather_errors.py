"""Table of the errors of both networks."""

from _job import job

with job(snakemake):
    from mlepi_core.stages.evaluate import gather

    gather(snakemake.input, snakemake.output[0])

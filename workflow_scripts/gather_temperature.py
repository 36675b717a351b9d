"""All blocks of one temperature in one file."""

from _job import job

with job(snakemake):
    from mlepi_core.stages.measure import gather

    gather(snakemake.input, snakemake.output[0])

"""Statistics of the displacements at all temperatures."""

from _job import job

with job(snakemake):
    from mlepi_core.stages.sample import tabulate

    tabulate(snakemake.input.samples, snakemake.output[0])

"""Join the members of a network to one model file, and their histories to one table."""

from _job import job

with job(snakemake):
    from mlepi_core.stages.committee import join

    join(snakemake.input.models, snakemake.input.histories, snakemake.output.model, snakemake.output.history)

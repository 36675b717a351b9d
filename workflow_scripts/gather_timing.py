"""Wall time and memory of the jobs from their benchmark files."""

from _job import job

with job(snakemake):
    from mlepi_core.stages.timing import timing

    timing(snakemake.params.folder, snakemake.output[0])

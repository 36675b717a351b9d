"""How precise every temperature became."""

from _job import job

with job(snakemake):
    from mlepi_core.stages.precision import tabulate_precision

    tabulate_precision(snakemake.input, snakemake.output[0])

"""Confidence intervals at one temperature against the target."""

from _job import job

with job(snakemake) as run:
    from mlepi_core.stages.precision import check_precision

    check_precision(
        snakemake.input.quantities,
        snakemake.input.static,
        snakemake.output[0],
        run.cfg["sampling.target_error"],
        stage=int(snakemake.wildcards.stage),
        max_pairs=run.cfg["sampling.max_pairs"],
    )

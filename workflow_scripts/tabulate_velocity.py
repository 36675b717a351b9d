"""Fermi velocity against temperature, its convergence and the comparison of estimators."""

from _job import job

with job(snakemake) as run:
    from mlepi_core.stages.measure import tabulate

    tabulate(
        snakemake.input.temperatures,
        snakemake.input.static,
        snakemake.output.velocity,
        snakemake.output.details,
        snakemake.output.convergence,
        snakemake.output.estimators,
        run.cfg["velocity"],
        snakemake.input.quasiparticles,
    )

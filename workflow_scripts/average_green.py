"""Velocity of the bands of the averaged Green function."""

from _job import job

with job(snakemake) as run:
    from mlepi_core.stages.quasiparticles import average_green

    average_green(
        snakemake.input.stores,
        snakemake.input.static,
        snakemake.output[0],
        run.cfg["quasiparticles"],
        progress=run.progress,
    )

"""Velocity estimators on stored Hamiltonians."""

from _job import job

with job(snakemake) as run:
    from mlepi_core.stages.measure import measure_store

    measure_store(
        snakemake.input.store,
        snakemake.output[0],
        run.cfg["velocity"],
        device=run.cfg["device"],
        progress=run.progress,
    )

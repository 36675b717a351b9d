"""Velocity of static cells from true and from predicted Hamiltonians."""

from _job import job

with job(snakemake) as run:
    from mlepi_core.stages.static import static_velocity

    static_velocity(
        snakemake.input.model,
        run.cfg["checks.references"],
        snakemake.output[0],
        run.cfg["velocity"],
        device=run.cfg["device"],
    )

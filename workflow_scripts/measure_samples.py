"""Velocity estimators on Hamiltonians that are predicted and not kept."""

from _job import job

with job(snakemake) as run:
    from mlepi_core.stages.measure import measure_samples

    measure_samples(
        snakemake.input.model,
        snakemake.input.samples,
        snakemake.output[0],
        run.cfg["velocity"],
        batch_size=run.cfg["hamiltonians.batch_size"],
        device=run.cfg["device"],
        progress=run.progress,
    )

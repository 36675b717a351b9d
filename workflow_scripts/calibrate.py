"""Spread of a committee beside its true errors on held-out labels."""

from _job import job

with job(snakemake) as run:
    from mlepi_core.stages.calibrate import calibrate

    calibrate(
        snakemake.input.model,
        snakemake.input.stores,
        snakemake.output[0],
        hold_out=run.cfg["labels.hold_out_rms_force"],
        device=run.cfg["device"],
        progress=run.progress,
    )

"""Errors of a trained variant of a network on the labels."""

from _job import job

with job(snakemake) as run:
    from mlepi_core.stages.evaluate import write_errors

    write_errors(
        snakemake.input.model,
        snakemake.input.stores,
        snakemake.output[0],
        hold_out=run.cfg["labels.hold_out_rms_force"],
        device=run.cfg["device"],
        progress=run.progress,
    )

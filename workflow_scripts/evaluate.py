"""Errors of one network on the labels, with its trivial baselines."""

from _job import job

with job(snakemake) as run:
    from mlepi_core.stages.evaluate import tabulate

    tabulate(
        snakemake.input.model,
        snakemake.input.stores,
        snakemake.output.errors,
        snakemake.output.parity,
        snakemake.output.get("gauge"),
        hold_out=run.cfg["labels.hold_out_rms_force"],
        device=run.cfg["device"],
        progress=run.progress,
    )

"""Two-centre tables from the training stores."""

from _job import job

with job(snakemake) as run:
    from mlepi_core.stages.overlap import overlap

    overlap(
        snakemake.input.stores,
        snakemake.output[0],
        smoothing=run.cfg["labels.overlap_smoothing"],
        hold_out=run.cfg["labels.hold_out_rms_force"],
    )

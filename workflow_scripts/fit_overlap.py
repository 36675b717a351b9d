"""Two-centre tables from the training stores."""

from _job import job

with job(snakemake) as run:
    from mlepi_core.stages.overlap import overlap

    smoothing = run.cfg["labels.overlap_smoothing"]
    overlap(snakemake.input.stores, snakemake.output[0], smoothing=smoothing)

"""Table of the calibration of the committees, and all its points."""

from _job import job

with job(snakemake):
    from mlepi_core.stages.calibrate import gather_calibration

    gather_calibration(snakemake.input, snakemake.output.table, snakemake.output.points)

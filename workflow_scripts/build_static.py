"""Ideal supercell of the sampling."""

from _job import job

with job(snakemake) as run:
    from mlepi_core.stages.structures import build

    size = run.cfg["sampling.supercell"][:2]
    build("file", snakemake.output[0], size=size, file=snakemake.input[0])

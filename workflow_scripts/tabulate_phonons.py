"""Phonon bands, differences from DFT and rigid-layer modes."""

from pathlib import Path

from _job import job

with job(snakemake) as run:
    from mlepi_core.stages.phonons import tabulate

    tabulate(
        Path(snakemake.input[0]).parent,
        snakemake.output.bands,
        snakemake.output.errors,
        reference=run.cfg["phonons.reference"],
        slip_reference=run.cfg["phonons.slip_reference"],
        points=run.cfg["phonons.band_points"],
    )

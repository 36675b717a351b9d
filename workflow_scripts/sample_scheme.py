"""Displacements of one scheme at one temperature."""

from pathlib import Path

from _job import job

with job(snakemake) as run:
    from mlepi_core.stages.sample import sample

    sample(
        Path(snakemake.input[0]).parent,
        run.cfg["sampling.supercell"],
        float(snakemake.wildcards.T),
        snakemake.params.units,
        run.cfg["sampling.seed"],
        snakemake.output[0],
        imaginary=run.cfg["sampling.imaginary"],
        floor_cm1=run.cfg["sampling.floor_cm1"],
        scheme=snakemake.wildcards.scheme,
    )

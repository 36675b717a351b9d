"""Relaxed structure and force constants."""

from pathlib import Path

from _job import job

with job(snakemake) as run:
    from mlepi_core.stages.phonons import phonons

    phonons(
        snakemake.input.model,
        snakemake.input.structure,
        run.cfg["phonons.supercell"],
        Path(snakemake.output.force_constants).parent,
        relax=run.cfg["phonons.relax"],
        displacement=run.cfg["phonons.displacement"],
        force_tolerance=run.cfg["phonons.force_tolerance"],
        method=run.cfg["phonons.method"],
        sum_rules=run.cfg["phonons.sum_rules"],
        device=run.cfg["device"],
    )

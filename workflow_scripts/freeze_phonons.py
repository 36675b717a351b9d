"""Splitting of the Dirac cone by frozen phonons, from true and from predicted Hamiltonians."""

from _job import job

with job(snakemake) as run:
    from mlepi_core.stages.frozen_phonon import frozen_phonon

    frozen_phonon(
        snakemake.input.model,
        snakemake.input.structure,
        snakemake.output[0],
        reference=run.cfg["derivative.reference"],
        device=run.cfg["device"],
    )

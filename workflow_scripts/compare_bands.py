"""Bands of the test structures from predicted and from DFT Hamiltonians."""

from _job import job

with job(snakemake) as run:
    from mlepi_core.stages.bands import compare

    compare(
        snakemake.input.model,
        snakemake.input.stores,
        snakemake.output.bands,
        snakemake.output.errors,
        run.cfg["bands"],
        device=run.cfg["device"],
        progress=run.progress,
    )

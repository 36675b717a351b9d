"""Hamiltonians of a structure, or of the first pairs of a sample file."""

from _job import job

with job(snakemake) as run:
    from mlepi_core.stages.predict import predict

    predict(
        snakemake.input.model,
        snakemake.input.source,
        snakemake.output[0],
        device=run.cfg["device"],
        batch_size=run.cfg.get("hamiltonians.batch_size", 1),
        pairs=snakemake.params.get("pairs"),
        progress=run.progress,
    )

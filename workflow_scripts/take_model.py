"""Take a trained model instead of training one."""

from _job import job

with job(snakemake) as run:
    from mlepi_core.stages.models import take

    take(
        snakemake.input[0],
        snakemake.wildcards.kind,
        snakemake.output.model,
        snakemake.output.history,
        snakemake.output.origin,
        committee=run.cfg["committee"],
    )

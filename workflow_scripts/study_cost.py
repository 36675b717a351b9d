"""What a training step of a variant of a network costs."""

from _job import job

with job(snakemake) as run:
    from mlepi_core.stages.cost import cost

    kind = snakemake.wildcards.kind
    cost(
        kind,
        run.cfg[f"training.{kind}"],
        snakemake.input.stores,
        snakemake.output[0],
        tables=snakemake.input.get("tables") or None,
        device=run.cfg["device"],
    )

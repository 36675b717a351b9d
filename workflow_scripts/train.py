"""Train one member of one of the two networks."""

from _job import job

with job(snakemake) as run:
    from mlepi_core.stages.train import train

    kind = snakemake.params.kind
    train(
        kind,
        run.cfg[f"training.{kind}"],
        snakemake.input.stores,
        snakemake.output.model,
        restart_dir=snakemake.params.restart,
        device=run.cfg["device"],
        progress=run.progress,
        history_csv=snakemake.output.history,
        tables=snakemake.input.get("tables"),
        member=int(snakemake.wildcards.member),
    )

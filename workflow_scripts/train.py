"""Train one of the two networks: a member of a committee, or a variant of a study."""

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
        hold_out=run.cfg["labels.hold_out_rms_force"],
        device=run.cfg["device"],
        progress=run.progress,
        history_csv=snakemake.output.history,
        tables=snakemake.input.get("tables") or None,
        member=int(snakemake.wildcards.get("member", 1)),
    )

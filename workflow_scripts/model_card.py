"""The card of one of the two networks."""

from _job import job

with job(snakemake) as run:
    from mlepi_core.stages.model_card import model_card

    model_card(
        snakemake.input.model,
        snakemake.input.errors,
        snakemake.output[0],
        phonon_errors=snakemake.input.get("phonon_errors"),
        bands=snakemake.input.get("bands"),
        stores=snakemake.input.stores,
        hold_out=run.cfg["labels.hold_out_rms_force"],
    )

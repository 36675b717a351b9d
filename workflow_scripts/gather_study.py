"""Tables of a study from the errors, costs and histories of all its trainings."""

from pathlib import Path

from _job import job

with job(snakemake):
    from mlepi_core.config import read_settings
    from mlepi_core.stages.study import gather

    gather(
        read_settings(snakemake.params.cfg),
        Path(snakemake.output.table).parents[1] / "study",
        snakemake.input.stores,
        snakemake.output.table,
        snakemake.output.history,
        snakemake.output.text,
    )

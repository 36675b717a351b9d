"""Reference structure of the run."""

from _job import job

with job(snakemake) as run:
    from mlepi_core.stages.structures import build

    section = run.cfg["structure"]
    build(section.kind, snakemake.output[0], **section.build_options())

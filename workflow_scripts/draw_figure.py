"""One figure as PNG and SVG, with its numbers as CSV."""

from pathlib import Path

from _job import job

with job(snakemake) as run:
    from mlepi_core.stages.figures import figure

    tables = dict(snakemake.input.items())
    figure(snakemake.params.name, tables, Path(snakemake.output.svg).with_suffix(""), run.cfg)

"""Cost of the schemes of sampling relative to plain samples."""

from pathlib import Path

from _job import job

with job(snakemake) as run:
    from mlepi_core.stages.efficiency import compare_schemes

    files = {name: paths for name, paths in snakemake.input.items() if name != "phonons"}
    compare_schemes(
        {name: [paths] if isinstance(paths, str) else list(paths) for name, paths in files.items()},
        Path(snakemake.input.phonons[0]).parent,
        snakemake.output.estimators,
        snakemake.output.values,
    )

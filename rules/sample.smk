# Thermal displacements: whole pairs in blocks, independent of how they are cut into jobs.

SAMPLE_CFG = cfg(
    "sampling.supercell",
    "sampling.seed",
    "sampling.scheme",
    "sampling.imaginary",
    "sampling.floor_cm1",
)


rule sample_block:
    """Displacements at one temperature, one block."""
    input:
        "<results>/phonons/phonopy_params.yaml",
        "<results>/phonons/reference.extxyz",
        "<results>/phonons/relaxation.json",
    output:
        "<results>/samples/T{T}/block{block}.h5",
    log:
        "<logs>/samples/T{T}/block{block}.log",
    benchmark:
        "<benchmarks>/samples/T{T}/block{block}.jsonl"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        cfg=SAMPLE_CFG,
        code=code("sample"),
        pairs=block_pairs,
    script:
        "../workflow_scripts/sample_block.py"


rule tabulate_samples:
    """Statistics of the displacements."""
    input:
        samples=every_block("<results>/samples/T{T}/block{block}.h5"),
    output:
        ensure("<results>/tables/displacements.csv", non_empty=True),
    log:
        "<logs>/tabulate_samples.log",
    benchmark:
        "<benchmarks>/tabulate_samples.jsonl"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        cfg=cfg(),
        code=code("sample"),
    script:
        "../workflow_scripts/tabulate_samples.py"

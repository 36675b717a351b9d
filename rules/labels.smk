# DFT labels: checksums, two-centre tables; the reference structure.


rule verify_labels:
    """Compare a label file with the checksum list of its folder."""
    input:
        label_file,
    output:
        ensure("<results>/labels/verified/{label}.json", non_empty=True),
    log:
        "<logs>/labels/{label}.log",
    benchmark:
        "<benchmarks>/labels/{label}.jsonl"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        cfg=cfg("labels.checksums"),
        code=code("labels"),
        sums=lambda wildcards: sums(label_file(wildcards)),
    script:
        "../workflow_scripts/verify_labels.py"


rule fit_overlap:
    """Fit the two-centre tables of the overlap."""
    input:
        stores=ancient(TRAINING_STORES),
        verified=verified(TRAINING_STORES),
    output:
        "<results>/labels/two_centre.h5",
    log:
        "<logs>/fit_overlap.log",
    benchmark:
        "<benchmarks>/fit_overlap.jsonl"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        cfg=cfg("labels.overlap_smoothing", "labels.hold_out_rms_force"),
        code=code("overlap"),
        sums=sums(TRAINING_STORES),
    script:
        "../workflow_scripts/fit_overlap.py"


rule build_structure:
    """Build the reference structure."""
    input:
        ancient(STRUCTURE_FILES),
    output:
        ensure("<results>/structure/initial.extxyz", non_empty=True),
    log:
        "<logs>/build_structure.log",
    benchmark:
        "<benchmarks>/build_structure.jsonl"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        cfg=cfg("structure"),
        code=code("structures"),
        sums=sums(STRUCTURE_FILES),
    script:
        "../workflow_scripts/build_structure.py"

# Whether a temperature has samples enough. Each stage doubles them; samples are nested, so that nothing is computed
# twice.


checkpoint check_precision:
    """Confidence intervals at one temperature after one stage against the target."""
    input:
        quantities=up_to_stage("<results>/quantities/T{T}/block{block}.h5"),
        static="<results>/quantities/static.h5",
        previous=stage_before,
    output:
        ensure("<results>/precision/T{T}/stage{stage}.json", non_empty=True),
    log:
        "<logs>/check_precision/T{T}/stage{stage}.log",
    benchmark:
        "<benchmarks>/check_precision/T{T}/stage{stage}.jsonl"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        cfg=cfg("sampling.pairs", "sampling.target_error", "sampling.max_pairs"),
        code=code("precision", without=PHONON_CODE),
    script:
        "../workflow_scripts/check_precision.py"


rule tabulate_precision:
    """How precise every temperature became."""
    input:
        last_precision,
    output:
        ensure("<results>/tables/precision.csv", non_empty=True),
    log:
        "<logs>/tabulate_precision.log",
    benchmark:
        "<benchmarks>/tabulate_precision.jsonl"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        cfg=cfg(),
        code=code("precision", without=PHONON_CODE),
    script:
        "../workflow_scripts/tabulate_precision.py"

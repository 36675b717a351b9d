# Schemes of sampling compared with each other: Hamiltonians for the same error.


localrules:
    compare_schemes,


# The rule that tabulates velocities makes a table of this name too, from the pairs of a complete run.
ruleorder: compare_schemes > tabulate_velocity


rule sample_scheme:
    """Displacements of one scheme at one temperature."""
    input:
        "<results>/phonons/phonopy_params.yaml",
        "<results>/phonons/reference.extxyz",
        "<results>/phonons/relaxation.json",
    output:
        "<results>/samples/T{T}/{scheme}.h5",
    log:
        "<logs>/sample_scheme/T{T}/{scheme}.log",
    benchmark:
        "<benchmarks>/sample_scheme/T{T}/{scheme}.jsonl"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        cfg=cfg(
            "sampling.supercell",
            "sampling.seed",
            "sampling.imaginary",
            "sampling.floor_cm1",
        ),
        code=code("sample"),
        units=lambda wildcards: SETTINGS.statistics.units(wildcards.scheme),
    script:
        "../workflow_scripts/sample_scheme.py"


rule measure_scheme:
    """Hamiltonians and velocity for the displacements of one scheme."""
    input:
        model="<results>/models/electron.pt",
        samples="<results>/samples/T{T}/{scheme}.h5",
    output:
        "<results>/quantities/T{T}/{scheme}.h5",
    log:
        "<logs>/measure_scheme/T{T}/{scheme}.log",
    benchmark:
        "<benchmarks>/measure_scheme/T{T}/{scheme}.jsonl"
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=240,
    params:
        cfg=cfg("velocity", "device", "hamiltonians.batch_size"),
        code=code("measure", without=PHONON_CODE),
    script:
        "../workflow_scripts/measure_samples.py"


rule compare_schemes:
    """Evaluations that each scheme needs, relative to plain samples."""
    input:
        **{scheme: of_scheme(scheme) for scheme in SCHEMES},
        phonons=[
            "<results>/phonons/phonopy_params.yaml",
            "<results>/phonons/reference.extxyz",
            "<results>/phonons/relaxation.json",
        ],
    output:
        estimators=ensure("<results>/tables/estimators.csv", non_empty=True),
        values=ensure("<results>/tables/scheme_values.csv", non_empty=True),
    log:
        "<logs>/compare_schemes.log",
    benchmark:
        "<benchmarks>/compare_schemes.jsonl"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        cfg=cfg(),
        code=code("efficiency"),
    script:
        "../workflow_scripts/compare_schemes.py"

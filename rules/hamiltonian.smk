# Predicted Hamiltonians and what is measured on them. With `hamiltonians.keep: all` they are written first and
# measured from the files, so that a change of the observables predicts nothing again; otherwise prediction and
# measurement are one job and only the chosen pairs are written.


rule build_static:
    """Ideal supercell, the static reference."""
    input:
        "<results>/phonons/reference.extxyz",
    output:
        ensure("<results>/structure/static.extxyz", non_empty=True),
    log:
        "<logs>/build_static.log",
    benchmark:
        "<benchmarks>/build_static.jsonl"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        cfg=cfg("sampling.supercell"),
        code=code("structures"),
    script:
        "../workflow_scripts/build_static.py"


rule predict_static:
    """Hamiltonian of the ideal supercell."""
    input:
        model="<results>/models/electron.pt",
        source="<results>/structure/static.extxyz",
    output:
        "<results>/hamiltonians/static.h5",
    log:
        "<logs>/predict_static.log",
    benchmark:
        "<benchmarks>/predict_static.jsonl"
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=30,
    params:
        cfg=cfg("device"),
        code=code("predict", without=PHONON_CODE),
    script:
        "../workflow_scripts/predict.py"


rule predict_block:
    """Hamiltonians to keep at one temperature, one block."""
    input:
        model="<results>/models/electron.pt",
        source="<results>/samples/T{T}/block{block}.h5",
    output:
        "<results>/hamiltonians/T{T}/block{block}.h5",
    log:
        "<logs>/hamiltonians/T{T}/block{block}.log",
    benchmark:
        "<benchmarks>/hamiltonians/T{T}/block{block}.jsonl"
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=240,
    params:
        cfg=cfg("device", "hamiltonians.batch_size"),
        code=code("predict", without=PHONON_CODE),
        pairs=kept_pairs,
    script:
        "../workflow_scripts/predict.py"


rule measure_static:
    """Velocity of the ideal supercell."""
    input:
        store="<results>/hamiltonians/static.h5",
    output:
        "<results>/quantities/static.h5",
    log:
        "<logs>/measure_static.log",
    benchmark:
        "<benchmarks>/measure_static.jsonl"
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        cfg=cfg("velocity", "device"),
        code=code("measure", without=PHONON_CODE),
    script:
        "../workflow_scripts/measure_hamiltonians.py"


if SETTINGS.hamiltonians.keep == "all":

    rule measure_hamiltonians:
        """Velocity at one temperature, one block."""
        input:
            store="<results>/hamiltonians/T{T}/block{block}.h5",
        output:
            "<results>/quantities/T{T}/block{block}.h5",
        log:
            "<logs>/quantities/T{T}/block{block}.log",
        benchmark:
            "<benchmarks>/quantities/T{T}/block{block}.jsonl"
        conda:
            "../envs/networks.yaml"
        threads: 1
        resources:
            mem_mb=4000,
            runtime=240,
        params:
            cfg=cfg("velocity", "device"),
            code=code("measure", without=PHONON_CODE),
        script:
            "../workflow_scripts/measure_hamiltonians.py"

else:

    rule measure_samples:
        """Hamiltonians and velocity at one temperature, one block."""
        input:
            model="<results>/models/electron.pt",
            samples="<results>/samples/T{T}/block{block}.h5",
        output:
            "<results>/quantities/T{T}/block{block}.h5",
        log:
            "<logs>/quantities/T{T}/block{block}.log",
        benchmark:
            "<benchmarks>/quantities/T{T}/block{block}.jsonl"
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


rule average_green:
    """Velocity of the bands of the averaged Green function at one temperature."""
    input:
        stores=averaged_hamiltonians,
        static="<results>/hamiltonians/static.h5",
    output:
        ensure("<results>/quasiparticles/T{T}.json", non_empty=True),
    log:
        "<logs>/average_green/T{T}.log",
    benchmark:
        "<benchmarks>/average_green/T{T}.jsonl"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        cfg=cfg("quasiparticles"),
        code=code("quasiparticles", without=PHONON_CODE),
    script:
        "../workflow_scripts/average_green.py"

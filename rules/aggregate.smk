# Means, errors and tables.


rule gather_temperature:
    """Collect the blocks at one temperature."""
    input:
        per_temperature("<results>/quantities/T{T}/block{block}.h5"),
    output:
        "<results>/quantities/T{T}.h5",
    log:
        "<logs>/gather_temperature/T{T}.log",
    benchmark:
        "<benchmarks>/gather_temperature/T{T}.jsonl"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        cfg=cfg(),
        code=code("measure", without=PHONON_CODE),
    script:
        "../workflow_scripts/gather_temperature.py"


rule tabulate_velocity:
    """Fermi velocity against temperature."""
    input:
        temperatures=expand("<results>/quantities/T{T}.h5", T=TEMPERATURES),
        static="<results>/quantities/static.h5",
        quasiparticles=quasiparticle_files,
    output:
        velocity=ensure("<results>/tables/velocity.csv", non_empty=True),
        details=ensure("<results>/tables/velocity.json", non_empty=True),
        convergence=ensure("<results>/tables/convergence.csv", non_empty=True),
        estimators=ensure("<results>/tables/estimators.csv", non_empty=True),
    log:
        "<logs>/tabulate_velocity.log",
    benchmark:
        "<benchmarks>/tabulate_velocity.jsonl"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        cfg=cfg("velocity"),
        code=code("measure", without=PHONON_CODE),
    script:
        "../workflow_scripts/tabulate_velocity.py"


rule compare_bands:
    """Bands of the test structures from predicted and from DFT Hamiltonians."""
    input:
        model="<results>/models/electron.pt",
        stores=ancient(TRAINING_STORES + REFERENCE_STORES),
        verified=verified(TRAINING_STORES + REFERENCE_STORES),
    output:
        bands=ensure("<results>/tables/bands.csv", non_empty=True),
        errors=ensure("<results>/tables/band_errors.csv", non_empty=True),
    log:
        "<logs>/compare_bands.log",
    benchmark:
        "<benchmarks>/compare_bands.jsonl"
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=60,
    params:
        cfg=cfg("bands", "device"),
        code=code("bands", without=PHONON_CODE),
        sums=sums(TRAINING_STORES + REFERENCE_STORES),
    script:
        "../workflow_scripts/compare_bands.py"


rule derive_hamiltonian:
    """Derivative of the Hamiltonian at the ideal structure."""
    input:
        model="<results>/models/electron.pt",
        structure="<results>/structure/initial.extxyz",
        reference=ancient(DERIVATIVE_REFERENCES),
        verified=verified(DERIVATIVE_REFERENCES),
    output:
        ensure("<results>/tables/derivative.csv", non_empty=True),
    log:
        "<logs>/derive_hamiltonian.log",
    benchmark:
        "<benchmarks>/derive_hamiltonian.jsonl"
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=30,
    params:
        cfg=cfg("derivative", "device"),
        code=code("derivative", without=PHONON_CODE),
        sums=sums(DERIVATIVE_REFERENCES),
    script:
        "../workflow_scripts/derive_hamiltonian.py"


rule freeze_phonons:
    """Splitting of the Dirac cone by frozen phonons from true and from predicted Hamiltonians."""
    input:
        model="<results>/models/electron.pt",
        structure="<results>/structure/initial.extxyz",
        reference=ancient(DERIVATIVE_REFERENCES),
        verified=verified(DERIVATIVE_REFERENCES),
    output:
        ensure("<results>/tables/frozen_phonon.csv", non_empty=True),
    log:
        "<logs>/freeze_phonons.log",
    benchmark:
        "<benchmarks>/freeze_phonons.jsonl"
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=30,
    params:
        cfg=cfg("derivative.reference", "device"),
        code=code("frozen_phonon", without=PHONON_CODE),
        sums=sums(DERIVATIVE_REFERENCES),
    script:
        "../workflow_scripts/freeze_phonons.py"


rule compare_static_velocity:
    """Velocity of static cells from true and from predicted Hamiltonians."""
    input:
        model="<results>/models/electron.pt",
        references=ancient(STATIC_REFERENCES),
        verified=verified(STATIC_REFERENCES),
    output:
        ensure("<results>/tables/static_velocity.csv", non_empty=True),
    log:
        "<logs>/compare_static_velocity.log",
    benchmark:
        "<benchmarks>/compare_static_velocity.jsonl"
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=30,
    params:
        cfg=cfg("checks.references", "velocity", "device"),
        code=code("static", without=PHONON_CODE),
        sums=sums(STATIC_REFERENCES),
    script:
        "../workflow_scripts/compare_static_velocity.py"


rule gather_timing:
    """Wall time and memory of the stages."""
    input:
        "<results>/tables/errors.csv",
        "<results>/tables/velocity.csv",
        "<results>/tables/bands.csv",
        "<results>/tables/derivative.csv",
        "<results>/tables/frozen_phonon.csv",
        "<results>/tables/static_velocity.csv",
        "<results>/tables/phonon_errors.csv",
    output:
        ensure("<results>/tables/timing.csv", non_empty=True),
    log:
        "<logs>/gather_timing.log",
    benchmark:
        "<benchmarks>/gather_timing.jsonl"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        cfg=cfg(),
        code=code("timing"),
        folder=f"{RESULTS}/benchmarks",
    script:
        "../workflow_scripts/gather_timing.py"

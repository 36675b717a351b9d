# The two networks: training and errors on the labels.


rule train_phonon:
    """Train the network of energies and forces."""
    input:
        stores=ancient(TRAINING_STORES),
        verified=verified(TRAINING_STORES),
    output:
        model="<results>/models/phonon.pt",
        history=ensure("<results>/tables/history_phonon.csv", non_empty=True),
    log:
        "<logs>/train_phonon.log",
    benchmark:
        "<benchmarks>/train_phonon.jsonl"
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=720,
    params:
        cfg=cfg("training.phonon", "device"),
        code=code("train", without=ELECTRON_CODE),
        sums=sums(TRAINING_STORES),
        kind="phonon",
        restart=f"{RESULTS}/restart/phonon",
    script:
        "../workflow_scripts/train.py"


rule train_electron:
    """Train the network of Hamiltonians."""
    input:
        stores=ancient(TRAINING_STORES),
        verified=verified(TRAINING_STORES),
        tables="<results>/labels/two_centre.h5",
    output:
        model="<results>/models/electron.pt",
        history=ensure("<results>/tables/history_electron.csv", non_empty=True),
    log:
        "<logs>/train_electron.log",
    benchmark:
        "<benchmarks>/train_electron.jsonl"
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=720,
    params:
        cfg=cfg("training.electron", "device"),
        code=code("train", without=PHONON_CODE),
        sums=sums(TRAINING_STORES),
        kind="electron",
        restart=f"{RESULTS}/restart/electron",
    script:
        "../workflow_scripts/train.py"


rule evaluate_phonon:
    """Errors of energies and forces on the labels."""
    input:
        model="<results>/models/phonon.pt",
        stores=ancient(TRAINING_STORES + REFERENCE_STORES),
        verified=verified(TRAINING_STORES + REFERENCE_STORES),
    output:
        errors=ensure("<results>/evaluation/phonon.json", non_empty=True),
        parity=ensure("<results>/evaluation/phonon_parity.csv", non_empty=True),
    log:
        "<logs>/evaluate_phonon.log",
    benchmark:
        "<benchmarks>/evaluate_phonon.jsonl"
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=60,
    params:
        cfg=cfg("device"),
        code=code("evaluate", without=ELECTRON_CODE),
        sums=sums(TRAINING_STORES + REFERENCE_STORES),
    script:
        "../workflow_scripts/evaluate.py"


rule evaluate_electron:
    """Errors of Hamiltonians on the labels."""
    input:
        model="<results>/models/electron.pt",
        stores=ancient(TRAINING_STORES + REFERENCE_STORES),
        verified=verified(TRAINING_STORES + REFERENCE_STORES),
    output:
        errors=ensure("<results>/evaluation/electron.json", non_empty=True),
        parity=ensure("<results>/evaluation/electron_parity.csv", non_empty=True),
    log:
        "<logs>/evaluate_electron.log",
    benchmark:
        "<benchmarks>/evaluate_electron.jsonl"
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=60,
    params:
        cfg=cfg("device"),
        code=code("evaluate", without=PHONON_CODE),
        sums=sums(TRAINING_STORES + REFERENCE_STORES),
    script:
        "../workflow_scripts/evaluate.py"


rule gather_errors:
    """Table of the errors of both networks."""
    input:
        expand("<results>/evaluation/{kind}.json", kind=["phonon", "electron"]),
    output:
        ensure("<results>/tables/errors.csv", non_empty=True),
    log:
        "<logs>/gather_errors.log",
    benchmark:
        "<benchmarks>/gather_errors.jsonl"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        cfg=cfg(),
        code=code("evaluate", without=[ELECTRON_CODE, PHONON_CODE]),
    script:
        "../workflow_scripts/gather_errors.py"

# The two networks: training and errors on the labels.


rule train_phonon:
    """Train one member of the network of energies and forces; a committee of one is a single model."""
    input:
        stores=ancient(TRAINING_STORES),
        verified=verified(TRAINING_STORES),
    output:
        model="<results>/models/members/phonon_{member}.pt",
        history=ensure("<results>/models/members/phonon_{member}.history.csv", non_empty=True),
    log:
        "<logs>/train_phonon/{member}.log",
    benchmark:
        "<benchmarks>/train_phonon/{member}.jsonl"
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=720,
    params:
        cfg=cfg("training.phonon", "labels.hold_out_rms_force", "device"),
        code=code("train", without=ELECTRON_CODE),
        sums=sums(TRAINING_STORES),
        kind="phonon",
        restart=f"{RESULTS}/restart/phonon",
    script:
        "../workflow_scripts/train.py"


rule train_electron:
    """Train one member of the network of Hamiltonians."""
    input:
        stores=ancient(TRAINING_STORES),
        verified=verified(TRAINING_STORES),
        tables="<results>/labels/two_centre.h5",
    output:
        model="<results>/models/members/electron_{member}.pt",
        history=ensure("<results>/models/members/electron_{member}.history.csv", non_empty=True),
    log:
        "<logs>/train_electron/{member}.log",
    benchmark:
        "<benchmarks>/train_electron/{member}.jsonl"
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=720,
    params:
        cfg=cfg("training.electron", "labels.hold_out_rms_force", "device"),
        code=code("train", without=PHONON_CODE),
        sums=sums(TRAINING_STORES),
        kind="electron",
        restart=f"{RESULTS}/restart/electron",
    script:
        "../workflow_scripts/train.py"


rule join_models:
    """Join the trained members of a network to its model file; of a committee of one it is that of the member."""
    input:
        models=members("<results>/models/members/{kind}_{member}.pt"),
        histories=members("<results>/models/members/{kind}_{member}.history.csv"),
    output:
        model="<results>/models/{kind}.pt",
        history=ensure("<results>/tables/history_{kind}.csv", non_empty=True),
    log:
        "<logs>/join_models/{kind}.log",
    benchmark:
        "<benchmarks>/join_models/{kind}.jsonl"
    wildcard_constraints:
        kind=either(TRAINED),
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        cfg=cfg(),
        code=code("committee", without=[ELECTRON_CODE, PHONON_CODE]),
    script:
        "../workflow_scripts/join_models.py"


rule take_model:
    """Take a network that was trained before, with its history and a note on its origin."""
    input:
        taken_model,
    output:
        model="<results>/models/{kind}.pt",
        history=ensure("<results>/tables/history_{kind}.csv", non_empty=True),
        origin=ensure("<results>/models/{kind}.origin.json", non_empty=True),
    log:
        "<logs>/take_model/{kind}.log",
    benchmark:
        "<benchmarks>/take_model/{kind}.jsonl"
    wildcard_constraints:
        kind=either(TAKEN),
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        cfg=cfg("committee"),
        code=code("models", without=[ELECTRON_CODE, PHONON_CODE]),
        sums=lambda wildcards: sums([taken_model(wildcards)]),
    script:
        "../workflow_scripts/take_model.py"


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
        cfg=cfg("labels.hold_out_rms_force", "device"),
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
        gauge=ensure("<results>/tables/gauge.csv", non_empty=True),
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
        cfg=cfg("labels.hold_out_rms_force", "device"),
        code=code("evaluate", without=PHONON_CODE),
        sums=sums(TRAINING_STORES + REFERENCE_STORES),
    script:
        "../workflow_scripts/evaluate.py"


rule gather_errors:
    """Table of the errors of both networks."""
    input:
        expand("<results>/evaluation/{kind}.json", kind=NETWORKS),
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


rule model_card:
    """Describe a network: data, settings, errors, range of validity."""
    input:
        unpack(card_tables),
        model="<results>/models/{kind}.pt",
        errors="<results>/evaluation/{kind}.json",
        stores=ancient(TRAINING_STORES),
        verified=verified(TRAINING_STORES),
    output:
        ensure("<results>/models/{kind}.md", non_empty=True),
    log:
        "<logs>/model_card/{kind}.log",
    benchmark:
        "<benchmarks>/model_card/{kind}.jsonl"
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        cfg=cfg("labels.hold_out_rms_force"),
        code=code("model_card", without=[ELECTRON_CODE, PHONON_CODE]),
        sums=sums(TRAINING_STORES),
    script:
        "../workflow_scripts/model_card.py"


rule calibrate_phonon:
    """Spread of a committee's forces beside their true errors on held-out labels."""
    input:
        model="<results>/models/phonon.pt",
        stores=ancient(TRAINING_STORES + REFERENCE_STORES),
        verified=verified(TRAINING_STORES + REFERENCE_STORES),
    output:
        ensure("<results>/evaluation/phonon_calibration.csv", non_empty=True),
    log:
        "<logs>/calibrate_phonon.log",
    benchmark:
        "<benchmarks>/calibrate_phonon.jsonl"
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=60,
    params:
        cfg=cfg("labels.hold_out_rms_force", "device"),
        code=code("calibrate", without=ELECTRON_CODE),
        sums=sums(TRAINING_STORES + REFERENCE_STORES),
    script:
        "../workflow_scripts/calibrate.py"


rule calibrate_electron:
    """Spread of a committee's Hamiltonians beside their true errors on held-out labels."""
    input:
        model="<results>/models/electron.pt",
        stores=ancient(TRAINING_STORES + REFERENCE_STORES),
        verified=verified(TRAINING_STORES + REFERENCE_STORES),
    output:
        ensure("<results>/evaluation/electron_calibration.csv", non_empty=True),
    log:
        "<logs>/calibrate_electron.log",
    benchmark:
        "<benchmarks>/calibrate_electron.jsonl"
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=60,
    params:
        cfg=cfg("labels.hold_out_rms_force", "device"),
        code=code("calibrate", without=PHONON_CODE),
        sums=sums(TRAINING_STORES + REFERENCE_STORES),
    script:
        "../workflow_scripts/calibrate.py"


rule gather_calibration:
    """Table of the calibration of both committees, and all its points."""
    input:
        expand("<results>/evaluation/{kind}_calibration.csv", kind=NETWORKS),
    output:
        table=ensure("<results>/tables/calibration.csv", non_empty=True),
        points=ensure("<results>/evaluation/calibration.csv", non_empty=True),
    log:
        "<logs>/gather_calibration.log",
    benchmark:
        "<benchmarks>/gather_calibration.jsonl"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        cfg=cfg(),
        code=code("calibrate", without=[ELECTRON_CODE, PHONON_CODE]),
    script:
        "../workflow_scripts/gather_calibration.py"

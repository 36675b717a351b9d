# A study: variants of the networks, each trained with several seeds, their errors and costs in common tables.
import re


wildcard_constraints:
    variant="|".join(sorted({re.escape(name) for _, name in VARIANTS})),
    seed=r"[0-9]+",


rule train_study:
    """Train a variant of a network with one seed."""
    input:
        stores=ancient(TRAINING_STORES),
        verified=verified(TRAINING_STORES),
        tables=study_overlaps,
    output:
        model="<results>/study/{kind}/{variant}/seed{seed}/model.pt",
        history=ensure("<results>/study/{kind}/{variant}/seed{seed}/history.csv", non_empty=True),
    log:
        "<logs>/train_study/{kind}/{variant}/seed{seed}.log",
    benchmark:
        "<benchmarks>/train_study/{kind}/{variant}/seed{seed}.jsonl"
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=720,
    params:
        cfg=study_cfg("labels.hold_out_rms_force", "device"),
        code=study_code("train"),
        sums=sums(TRAINING_STORES),
        kind="{kind}",
        restart=f"{RESULTS}/restart/study/{{kind}}/{{variant}}/seed{{seed}}",
    script:
        "../workflow_scripts/train.py"


rule evaluate_study:
    """Errors of a trained variant on the labels."""
    input:
        model="<results>/study/{kind}/{variant}/seed{seed}/model.pt",
        stores=ancient(TRAINING_STORES + REFERENCE_STORES),
        verified=verified(TRAINING_STORES + REFERENCE_STORES),
    output:
        ensure("<results>/study/{kind}/{variant}/seed{seed}/errors.json", non_empty=True),
    log:
        "<logs>/evaluate_study/{kind}/{variant}/seed{seed}.log",
    benchmark:
        "<benchmarks>/evaluate_study/{kind}/{variant}/seed{seed}.jsonl"
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=60,
    params:
        cfg=cfg("labels.hold_out_rms_force", "device"),
        code=study_code("evaluate"),
        sums=sums(TRAINING_STORES + REFERENCE_STORES),
    script:
        "../workflow_scripts/evaluate_study.py"


# It takes all cores, so that on one machine nothing runs beside it; what it measures uses one.
rule study_cost:
    """Parameters, operations, time and memory of a training step of a variant."""
    input:
        stores=ancient(TRAINING_STORES),
        verified=verified(TRAINING_STORES),
        tables=study_overlaps,
    output:
        ensure("<results>/study/{kind}/{variant}/cost.json", non_empty=True),
    log:
        "<logs>/study_cost/{kind}/{variant}.log",
    benchmark:
        "<benchmarks>/study_cost/{kind}/{variant}.jsonl"
    conda:
        "../envs/networks.yaml"
    threads: lambda wildcards: workflow.cores or 1
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=30,
    params:
        cfg=study_cfg("device"),
        code=study_code("cost"),
        sums=sums(TRAINING_STORES),
    script:
        "../workflow_scripts/study_cost.py"


rule gather_study:
    """Tables of a study."""
    input:
        every_variant("cost.json"),
        every_training("errors.json"),
        every_training("history.csv"),
        stores=ancient(TRAINING_STORES),
        verified=verified(TRAINING_STORES),
    output:
        table=ensure("<results>/tables/study.csv", non_empty=True),
        history=ensure("<results>/tables/study_history.csv", non_empty=True),
        text=ensure("<results>/tables/study.md", non_empty=True),
    log:
        "<logs>/gather_study.log",
    benchmark:
        "<benchmarks>/gather_study.jsonl"
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        cfg=cfg("study", "training", "labels.hold_out_rms_force"),
        code=code("study", without=[ELECTRON_CODE, PHONON_CODE]),
        sums=sums(TRAINING_STORES),
    script:
        "../workflow_scripts/gather_study.py"

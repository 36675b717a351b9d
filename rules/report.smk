# The report page and the manifest of the run.


localrules:
    write_report,
    write_manifest,


rule write_report:
    """Write the report page."""
    input:
        figure_files,
        tables=table_files,
        velocity_details="<results>/tables/velocity.json",
        relaxation="<results>/phonons/relaxation.json",
        origins=origins,
    output:
        ensure("<results>/report.html", non_empty=True),
    log:
        "<logs>/write_report.log",
    benchmark:
        "<benchmarks>/write_report.jsonl"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        cfg=cfg(*ALL_SECTIONS),
        code=code("report"),
    script:
        "../workflow_scripts/write_report.py"


rule write_manifest:
    """Write the manifest: configuration, versions, checksums."""
    input:
        figure_files,
        table_files,
        "<results>/report.html",
        "<results>/tables/velocity.json",
        "<results>/models/phonon.pt",
        "<results>/models/electron.pt",
        ["<results>/labels/two_centre.h5"] if "electron" in TRAINED else [],
        "<results>/phonons/phonopy_params.yaml",
        "<results>/phonons/reference.extxyz",
        "<results>/quantities/static.h5",
        expand("<results>/quantities/T{T}.h5", T=TEMPERATURES),
        verified=verified(DATA_FILES),
    output:
        ensure("<results>/manifest.json", non_empty=True),
    log:
        "<logs>/write_manifest.log",
    benchmark:
        "<benchmarks>/write_manifest.jsonl"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        cfg=cfg(*ALL_SECTIONS),
        code=code("manifest"),
    script:
        "../workflow_scripts/write_manifest.py"

# Harmonic phonons of the reference structure.


rule compute_phonons:
    """Relax the structure and compute its force constants."""
    input:
        model="<results>/models/phonon.pt",
        structure="<results>/structure/initial.extxyz",
    output:
        force_constants=ensure("<results>/phonons/phonopy_params.yaml", non_empty=True),
        reference=ensure("<results>/phonons/reference.extxyz", non_empty=True),
        relaxation=ensure("<results>/phonons/relaxation.json", non_empty=True),
    log:
        "<logs>/compute_phonons.log",
    benchmark:
        "<benchmarks>/compute_phonons.jsonl"
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=60,
    params:
        cfg=cfg(
            *(
                f"phonons.{key}"
                for key in ("supercell", "method", "displacement", "relax", "force_tolerance", "sum_rules")
            ),
            "device",
        ),
        code=code("phonons", without=ELECTRON_CODE),
    script:
        "../workflow_scripts/compute_phonons.py"


rule tabulate_phonons:
    """Phonon bands and their difference from DFT."""
    input:
        "<results>/phonons/phonopy_params.yaml",
        "<results>/phonons/reference.extxyz",
        "<results>/phonons/relaxation.json",
        reference=ancient(PHONON_REFERENCES),
        verified=verified(PHONON_REFERENCES),
    output:
        bands=ensure("<results>/tables/phonon_bands.csv", non_empty=True),
        errors=ensure("<results>/tables/phonon_errors.csv", non_empty=True),
    log:
        "<logs>/tabulate_phonons.log",
    benchmark:
        "<benchmarks>/tabulate_phonons.jsonl"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        cfg=cfg("phonons.reference", "phonons.slip_reference", "phonons.band_points"),
        code=code("phonons", without=ELECTRON_CODE),
        sums=sums(PHONON_REFERENCES),
    script:
        "../workflow_scripts/tabulate_phonons.py"

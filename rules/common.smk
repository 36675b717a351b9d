# Input functions and helpers for params; no rules.
import json
from pathlib import Path

from mlepi_core.artefacts import sha256_file
from mlepi_core.config import label_files, stage_config
from mlepi_core.labels.checksums import read_sums
from mlepi_core.provenance import code_digest


def given(*paths):
    """Those paths that the configuration names."""
    return [path for path in paths if path]


RESULTS = f"results/{SETTINGS.run.name}"
TEMPERATURES = [f"{temperature:g}" for temperature in SETTINGS.sampling.temperatures]
STAGES = range(len(SETTINGS.sampling.stage_pairs))
TRAINING_STORES = label_files(SETTINGS.labels.path)
REFERENCE_STORES = label_files(SETTINGS.labels.reference)
PHONON_REFERENCES = given(SETTINGS.phonons.reference, SETTINGS.phonons.slip_reference)
DERIVATIVE_REFERENCES = given(SETTINGS.derivative.reference)
STATIC_REFERENCES = SETTINGS.checks.references
STRUCTURE_FILES = given(SETTINGS.structure.file)
DATA_FILES = sorted(
    {*TRAINING_STORES, *REFERENCE_STORES, *PHONON_REFERENCES, *DERIVATIVE_REFERENCES, *STATIC_REFERENCES}
)
NETWORKS = sorted(SETTINGS.training.networks, reverse=True)
TRAINED = SETTINGS.trained_networks
TAKEN = {kind: getattr(SETTINGS.models, kind) for kind in SETTINGS.taken_networks}
STUDY = SETTINGS.run.target == "study"
STATISTICS = SETTINGS.run.target == "statistics"
SCHEMES = SETTINGS.statistics.compared
VARIANTS = {(variant.network, variant.name): variant for variant in SETTINGS.study.variants}
MEMBERS = range(1, SETTINGS.committee + 1)
ALL_SECTIONS = sorted(type(SETTINGS).model_fields)
ELECTRON_CODE, PHONON_CODE = "*.electron*", "*.phonon*"

# Tables for readers.
TABLES = [
    "errors",
    "gauge",
    "phonon_bands",
    "phonon_errors",
    "displacements",
    "bands",
    "band_errors",
    "derivative",
    "frozen_phonon",
    "static_velocity",
    "velocity",
    "convergence",
    "estimators",
    "timing",
]

# Figures: the tables that each one reads, the configuration that it uses, its place in Snakemake's own report.
FIGURES = {
    "learning_curves": {
        "input": {kind: f"<results>/tables/history_{kind}.csv" for kind in NETWORKS},
        "category": "Networks",
    },
    "parity_phonon": {
        "input": {
            "parity": "<results>/evaluation/phonon_parity.csv",
            "errors": "<results>/tables/errors.csv",
        },
        "category": "Networks",
    },
    "parity_electron": {
        "input": {
            "parity": "<results>/evaluation/electron_parity.csv",
            "errors": "<results>/tables/errors.csv",
        },
        "category": "Networks",
    },
    "phonon_bands": {
        "input": {
            "bands": "<results>/tables/phonon_bands.csv",
            "errors": "<results>/tables/phonon_errors.csv",
        },
        "cfg": ["figures.phonons"],
        "category": "Phonons",
    },
    "displacements": {
        "input": {"displacements": "<results>/tables/displacements.csv"},
        "category": "Phonons",
    },
    "bands": {
        "input": {"bands": "<results>/tables/bands.csv", "errors": "<results>/tables/band_errors.csv"},
        "cfg": ["figures.bands"],
        "category": "Electrons",
    },
    "velocity": {
        "input": {"velocity": "<results>/tables/velocity.csv"},
        "cfg": ["figures.velocity"],
        "category": "Electrons",
    },
    "convergence": {
        "input": {"convergence": "<results>/tables/convergence.csv"},
        "category": "Electrons",
    },
    "timing": {
        "input": {"timing": "<results>/tables/timing.csv"},
        "category": "Run",
    },
}

# Only a run with a target has a precision to tell.
if SETTINGS.sampling.target_error:
    TABLES.append("precision")

# A single model has no spread to calibrate.
CALIBRATION = ["calibration"] if SETTINGS.committee > 1 else []
TABLES += CALIBRATION
FIGURES |= {
    name: {
        "input": {
            "points": "<results>/evaluation/calibration.csv",
            "calibration": "<results>/tables/calibration.csv",
        },
        "category": "Networks",
    }
    for name in CALIBRATION
}

# A study has tables and figures of its own and makes no others.
STUDY_TABLES = ["study.csv", "study_history.csv", "study.md"]
STUDY_FIGURES = {
    "ablation": {
        "input": {"study": "<results>/tables/study.csv"},
        "category": "Study",
    },
    "learning_curve_cells": {
        "input": {"study": "<results>/tables/study.csv"},
        "category": "Study",
    },
    "learning_curve_time": {
        "input": {"history": "<results>/tables/study_history.csv"},
        "category": "Study",
    },
}
if not SETTINGS.compares_train_cells:
    del STUDY_FIGURES["learning_curve_cells"]
if STUDY:
    FIGURES |= STUDY_FIGURES

# Of these a run that ends with the networks makes those of the networks that it trains.
NETWORK_TABLES = {"phonon": [], "electron": ["gauge", "bands", "band_errors"]}
NETWORK_FIGURES = {"phonon": ["parity_phonon"], "electron": ["parity_electron", "bands"]}


def cfg(*keys):
    """The named parts of the configuration as canonical text: a change of them reruns the rule."""
    return stage_config(SETTINGS, *keys)


def code(*stages, without=()):
    """Digest of the stages' code and of the helper of all scripts: a change of it reruns the rule."""
    helper = Path(workflow.basedir) / "workflow_scripts" / "_job.py"
    return code_digest(*(f"mlepi_core.stages.{stage}" for stage in stages), without=without, files=[helper])


def sums(paths):
    """SHA-256 of data files, as their lists state them (`verify_labels` compares): new content reruns the rule."""
    return json.dumps({path: checksum(Path(path)) for path in sorted(paths)})


def checksum(path):
    """SHA-256 that the list in a file's folder states, else of the file itself."""
    return read_sums(path.parent).get(path.name) or sha256_file(path)


def label_key(path):
    """Name of a data file below the results: its path without the parts that lead out of a folder."""
    return Path(path).as_posix().replace("../", "").lstrip("/")


def label_file(wildcards):
    """The data file behind a name of `label_key`."""
    return [path for path in DATA_FILES if label_key(path) == wildcards.label]


def verified(paths):
    """Proofs that data files are as listed. New content makes them anew, a touch does not.

    These are no `ancient` inputs: the planner looks at the params of a job only if no job before it runs, and then
    relies on the times of its inputs.
    """
    return [f"<results>/labels/verified/{label_key(path)}.json" for path in sorted(set(paths))]


def members(pattern):
    """Files of all members of a network's committee, member 1 first."""
    return [pattern.replace("{member}", str(member)) for member in MEMBERS]


def either(kinds):
    """Pattern of the wildcard `kind` of a rule for some networks; of none for no network."""
    return "|".join(kinds) or "none"


def taken_model(wildcards):
    """Model file that the configuration names instead of training this network."""
    return TAKEN[wildcards.kind]


def origins(wildcards):
    """Where the networks come from that the run has not trained."""
    return expand("<results>/models/{kind}.origin.json", kind=TAKEN)


def card_tables(wildcards):
    """Tables that a network's card shows beside its errors."""
    if wildcards.kind == "electron":
        return {"bands": "<results>/tables/band_errors.csv"}
    return {} if SETTINGS.networks_only else {"phonon_errors": "<results>/tables/phonon_errors.csv"}


def study_cfg(*keys):
    """Those parts of the configuration, and the section of its network as the job's variant has it.

    Other variants are not in it, so that only those are trained again whose own settings change.
    """

    def text(wildcards):
        variant = VARIANTS[wildcards.kind, wildcards.variant]
        settings = SETTINGS.trained_as(variant, int(wildcards.get("seed", 0)))
        return stage_config(settings, f"training.{wildcards.kind}", *keys)

    return text


def study_code(stage):
    """Digest of a stage's code for the job's network alone."""
    digests = {"phonon": code(stage, without=ELECTRON_CODE), "electron": code(stage, without=PHONON_CODE)}
    return lambda wildcards: digests[wildcards.kind]


def study_overlaps(wildcards):
    """Two-centre tables, which only the network of Hamiltonians needs."""
    return "<results>/labels/two_centre.h5" if wildcards.kind == "electron" else []


def every_variant(name):
    """A file of all variants of the study."""
    return [f"<results>/study/{kind}/{variant}/{name}" for kind, variant in VARIANTS]


def every_training(name):
    """A file of all trainings of the study."""
    return [path for seed in SETTINGS.study.seeds for path in every_variant(f"seed{seed}/{name}")]


def last_stage(temperature):
    """Number of the stage at which a temperature has samples enough; jobs that decide it run first."""
    for stage in STAGES if SETTINGS.sampling.target_error else []:
        result = checkpoints.check_precision.get(T=temperature, stage=stage).output[0]
        if json.loads(Path(result).read_text(encoding="utf-8"))["finished"]:
            return stage
    return 0


def blocks_of(temperature):
    """Numbers of the blocks that the results at a temperature rest on."""
    return range(SETTINGS.sampling.n_blocks(last_stage(temperature)))


def per_temperature(pattern):
    """Files of one temperature, one for each block."""

    def files(wildcards):
        return expand(pattern, T=wildcards.T, block=blocks_of(wildcards.T))

    return files


def every_block(pattern):
    """Files of all temperatures and blocks."""

    def files(wildcards):
        return [path for T in TEMPERATURES for path in expand(pattern, T=T, block=blocks_of(T))]

    return files


def up_to_stage(pattern):
    """Files of one temperature, one for each block until the end of a stage."""

    def files(wildcards):
        blocks = range(SETTINGS.sampling.n_blocks(int(wildcards.stage)))
        return expand(pattern, T=wildcards.T, block=blocks)

    return files


def stage_before(wildcards):
    """Result of the stage before, which asked for this one.

    It is no data of the job. It is newer than means that were made under an earlier target: without it the
    planner would take those for finished and not look for a file that nobody needs but them.
    """
    stage = int(wildcards.stage)
    return [f"<results>/precision/T{{T}}/stage{stage - 1}.json"] if stage else []


def last_precision(wildcards):
    """The last comparison with the target at every temperature."""
    return [f"<results>/precision/T{T}/stage{last_stage(T)}.json" for T in TEMPERATURES]


def block_pairs(wildcards):
    """First pair of a block and the number of its pairs."""
    return SETTINGS.sampling.block_pairs(int(wildcards.block))


def kept_limit():
    """Number of pairs at each temperature whose Hamiltonians are kept; of a subset pairs of the first stage."""
    subset = min(SETTINGS.hamiltonians.subset, SETTINGS.sampling.pairs)
    limit = {"all": SETTINGS.sampling.stage_pairs[-1], "subset": subset, "none": 0}
    return limit[SETTINGS.hamiltonians.keep]


def kept_pairs(wildcards):
    """Number of pairs of a block whose Hamiltonians are kept."""
    first, count = block_pairs(wildcards)
    return max(0, min(count, kept_limit() - first))


def kept_hamiltonians(wildcards):
    """Stores of predicted Hamiltonians that the run keeps, of the first stage.

    Those of later stages, kept with `keep: all`, are made because observables are measured on them. To ask for
    them here would make one temperature wait for the other: all its stages would run before any other begins.
    """
    return expand("<results>/hamiltonians/T{T}/block{block}.h5", T=TEMPERATURES, block=kept_blocks())


def kept_blocks():
    """Blocks of the first stage with pairs whose Hamiltonians are kept."""
    first = range(SETTINGS.sampling.n_blocks())
    return [block for block in first if SETTINGS.sampling.block_pairs(block)[0] < kept_limit()]


def averaged_hamiltonians(wildcards):
    """Kept Hamiltonians of one temperature that the averaged Green function is made of."""
    return expand("<results>/hamiltonians/T{T}/block{block}.h5", T=wildcards.T, block=kept_blocks())


def quasiparticle_files(wildcards):
    """Velocities from the averaged Green function, if they are wanted."""
    wanted = TEMPERATURES if SETTINGS.quasiparticles.estimators else []
    return expand("<results>/quasiparticles/T{T}.json", T=wanted)


def of_scheme(scheme):
    """Quantities of one scheme at all temperatures."""
    return expand("<results>/quantities/T{T}/{scheme}.h5", T=TEMPERATURES, scheme=scheme)


def table_files(wildcards):
    """All tables for readers."""
    if STUDY:
        return expand("<results>/tables/{name}", name=STUDY_TABLES)
    if STATISTICS:
        return expand("<results>/tables/{name}.csv", name=["estimators", "scheme_values"])
    return expand("<results>/tables/{name}.csv", name=TABLES)


def figure_files(wildcards):
    """All figures in both formats with their numbers."""
    names = STUDY_FIGURES if STUDY else [] if STATISTICS else FIGURES
    return expand("<results>/figures/{name}.{kind}", name=names, kind=["png", "svg", "csv"])


def study_files(wildcards):
    """Tables and figures of a study."""
    return [*table_files(wildcards), *figure_files(wildcards)]


def default_files(wildcards):
    """What is made when nothing is asked for."""
    if STUDY:
        return study_files(wildcards)
    if STATISTICS:
        return table_files(wildcards)
    return network_files(wildcards) if SETTINGS.networks_only else run_files(wildcards)


def network_files(wildcards):
    """Models, tables and figures of the networks alone.

    In a complete run the card of the phonon network shows phonons: it belongs to the target `all`.
    """
    cards = [kind for kind in NETWORKS if kind == "electron" or SETTINGS.networks_only]
    tables = ["errors", *CALIBRATION, *(name for kind in NETWORKS for name in NETWORK_TABLES[kind])]
    figures = [
        "learning_curves",
        *CALIBRATION,
        *(name for kind in NETWORKS for name in NETWORK_FIGURES[kind]),
    ]
    return [
        *expand("<results>/models/{kind}.pt", kind=NETWORKS),
        *expand("<results>/models/{kind}.md", kind=cards),
        *expand("<results>/tables/{name}.csv", name=tables),
        *expand("<results>/figures/{name}.{kind}", name=figures, kind=["png", "svg", "csv"]),
    ]


def run_files(wildcards):
    """Everything that a complete run makes."""
    return [
        "<results>/report.html",
        "<results>/manifest.json",
        *expand("<results>/models/{kind}.md", kind=NETWORKS),
        *table_files(wildcards),
        *figure_files(wildcards),
        *kept_hamiltonians(wildcards),
    ]

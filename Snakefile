# From DFT labels to temperature-dependent electronic properties with error bars.
# Here: the configuration, the parts and the named targets. Stages stand in rules/, science in mlepi_core/.
import os
import sys

from snakemake.exceptions import WorkflowError

try:
    from mlepi_core.artefacts import MlepiError
    from mlepi_core.config import read_yaml, validate
    from mlepi_core.config.cost import cost_text
except ImportError as error:
    raise WorkflowError(
        f"mlepi_core cannot be imported by {sys.executable} ({error}). "
        "Run `make install`, then `. .venv/bin/activate`, and start snakemake again."
    ) from None

# A file given with --configfile stands alone: the quick run is not merged into it.
if not workflow.config_settings.configfiles:

    configfile: "config/config.yaml"


try:
    CONFIG_FILES = [os.path.relpath(path) for path in workflow.configfiles]
    for path in CONFIG_FILES:
        read_yaml(path)  # refuses repeated keys, which the engine's reader does not see
    SETTINGS = validate(config, ", ".join(CONFIG_FILES))
except MlepiError as error:
    raise WorkflowError(str(error)) from None

if workflow.is_main_process:
    print(cost_text(SETTINGS), file=sys.stderr)


pathvars:
    results=f"results/{SETTINGS.run.name}",
    logs=f"results/{SETTINGS.run.name}/logs",
    benchmarks=f"results/{SETTINGS.run.name}/benchmarks",


wildcard_constraints:
    label=r".+",
    T=r"[0-9.e+]+",
    block=r"[0-9]+",
    stage=r"[0-9]+",
    scheme=r"[a-z_]+",
    member=r"[0-9]+",
    kind="phonon|electron",


localrules:
    all,
    networks,
    tables,
    figures,
    report,
    verify_labels,
    build_structure,
    join_models,
    take_model,
    model_card,
    gather_errors,
    gather_calibration,
    gather_timing,
    check_precision,
    tabulate_precision,
    gather_study,


include: "rules/common.smk"
include: "rules/labels.smk"
include: "rules/train.smk"
include: "rules/phonons.smk"
include: "rules/sample.smk"
include: "rules/hamiltonian.smk"
include: "rules/aggregate.smk"
include: "rules/precision.smk"
include: "rules/figures.smk"
include: "rules/study.smk"


if STATISTICS:

    include: "rules/statistics.smk"


if not (STUDY or STATISTICS):

    include: "rules/report.smk"


rule all:
    default_target: True
    input:
        default_files,


rule networks:
    input:
        network_files,


rule tables:
    input:
        table_files,


rule figures:
    input:
        figure_files,


rule report:
    input:
        "<results>/report.html",

"""Configuration: files in the repository, messages, canonical form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import jsonschema
import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.config import (
    ConfigError,
    Settings,
    label_files,
    load_config,
    read_settings,
    read_stage_config,
    read_yaml,
    schema,
    stage_config,
    validate,
)
from mlepi_core.config.cost import cost_text, estimate
from mlepi_core.config.models import ModelsSection
from mlepi_core.config.sampling import SOBOL_REPLICATES, Scheme
from mlepi_core.sampling import SCHEMES, schemes

FILES = ("config", "test", "paper", "bn", "mos2-soc", "pretrained", "ablation", "learning-curves")


def settings(root: Path, **sections: object) -> Settings:
    return validate(sections, "x.yaml", root=root)


def mistakes(root: Path, **sections: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        validate(sections, "x.yaml", root=root)
    return caught.value.mistakes


@pytest.mark.parametrize("name", ["bilayer-graphene", "search", "fine-tune-slips"])
def test_files_for_data_that_are_not_bundled_are_valid(root: Path, name: str) -> None:
    raw = read_yaml(root / "config" / f"{name}.yaml")
    raw["labels"] |= {
        key: read_yaml(root / "config" / "config.yaml")["labels"][key] for key in ("path", "reference")
    }
    assert validate(raw, name, root=root).run.name == name


@pytest.mark.parametrize("name", FILES)
def test_shipped_files_are_valid(root: Path, name: str) -> None:
    path = root / "config" / f"{name}.yaml"
    assert load_config(path, root=root).run.name in ("quick", *FILES)


@pytest.mark.parametrize("name", ["schema.json", "README.md"])
def test_generated_companions_are_in_step(root: Path, tmp_path: Path, name: str) -> None:
    schema.write(tmp_path)
    hint = "run: python -m mlepi_core.config.schema config"
    assert (root / "config" / name).read_text() == (tmp_path / name).read_text(), hint


def test_schema_accepts_good_and_refuses_unknown_keys() -> None:
    validator = jsonschema.Draft202012Validator(json.loads(schema.schema_text()))
    good = Settings().model_dump(mode="json")
    assert not list(validator.iter_errors(good))
    assert list(validator.iter_errors(good | {"temperature": 3}))
    assert list(validator.iter_errors(good | {"sampling": {"temperatures": [-1.0]}}))


def test_every_field_is_described() -> None:
    def walk(section: type, path: str) -> None:
        for name, field in section.model_fields.items():
            assert field.description, f"{path}{name}"
            if isinstance(field.annotation, type) and issubclass(
                field.annotation, type(Settings()).__mro__[1]
            ):
                walk(field.annotation, f"{path}{name}.")

    walk(Settings, "")


def test_paper_has_the_scale_of_the_paper(root: Path) -> None:
    paper = load_config(root / "config/paper.yaml", root=root)
    assert paper.sampling.temperatures == [0, 60, 120, 180, 240, 300]
    assert 2 * paper.sampling.pairs == 500
    assert paper.sampling.supercell == (6, 6, 1)
    assert paper.hamiltonians.keep == "all"


@pytest.mark.parametrize(
    ("sections", "line"),
    [
        ({"sampling": {"temperatures": [0, -5]}}, "sampling.temperatures[1] = -5: must be ≥ 0 K"),
        ({"sampling": {"temperatures": []}}, "sampling.temperatures = []: must have at least 1 items"),
        (
            {"sampling": {"temperatures": [300, "3e2"]}},
            "sampling.temperatures = [300, '3e2']: 300 K stands in the list more than once",
        ),
        ({"sampling": {"temperatures": ["warm"]}}, "sampling.temperatures[0] = warm: must be a number"),
        ({"sampling": {"temperatures": 300}}, "sampling.temperatures = 300: must be a list"),
        ({"sampling": {"temperature": 1}}, "sampling.temperature: unknown key; did you mean temperatures?"),
        ({"sampling": {"pairs": 2.5}}, "sampling.pairs = 2.5: must be an integer"),
        (
            {"sampling": {"block_size": 7}},
            "sampling.block_size = 7: must be even, so that a block holds whole pairs",
        ),
        ({"phonons": {"displacement": 2}}, "phonons.displacement = 2: must be ≤ 0.1 Å"),
        ({"phonons": {"displacement": float("nan")}}, "phonons.displacement = nan: must be a finite number"),
        ({"phonons": {"reference": "no.yaml"}}, "phonons.reference = no.yaml: no such file"),
        ({"checks": {"references": ["no.xz"]}}, "checks.references[0] = no.xz: no such file"),
        ({"labels": {"path": "no.h5"}}, "labels.path[0] = no.h5: no such file or folder"),
        ({"device": "gpu"}, "device = gpu: must be one of auto, cpu, cuda"),
        ({"structure": "hexagonal"}, "structure.kind = hexagonal: must be one of ab, aa, shift, twist, file"),
        ({"structure": {"kind": "twist"}}, "structure: kind twist needs the key index"),
        ({"structure": {"shift": [0, 0.1]}}, "structure: key shift belongs to kind shift, but kind is ab"),
        (
            {"velocity": {"windows": [[0.1, 0.05]]}},
            "velocity.windows[0] = [0.1, 0.05]: the first number must be smaller",
        ),
        ({"figures": 3}, "figures = 3: must be a section of keys and values"),
        ({"run": {"name": "a/b"}}, "run.name = a/b: may hold letters"),
        ({"committee": 0}, "committee = 0: must be ≥ 1"),
    ],
)
def test_one_line_names_the_place(root: Path, sections: dict[str, object], line: str) -> None:
    found = mistakes(root, **sections)
    assert len(found) == 1
    assert found[0].startswith(f"x.yaml: {line}"), found[0]
    assert "\n" not in found[0]


def test_all_mistakes_are_listed(root: Path) -> None:
    found = mistakes(root, sampling={"pairs": 0, "seeds": 1}, figures={"dpi": "x"})
    assert len(found) == 3


def test_floor_belongs_to_its_policy(root: Path) -> None:
    assert "floor_cm1 is needed" in mistakes(root, sampling={"imaginary": "floor"})[0]
    assert settings(root, sampling={"imaginary": "floor", "floor_cm1": 20}).sampling.floor_cm1 == 20


def test_yaml_numbers_that_are_strings(root: Path, tmp_path: Path) -> None:
    """YAML 1.1 reads 1e-3 as a text; only the validated object knows it is a number."""
    path = tmp_path / "c.yaml"
    path.write_text("phonons: {force_tolerance: 1e-3}\n")
    assert read_yaml(path)["phonons"]["force_tolerance"] == "1e-3"
    assert load_config(path, root=root).phonons.force_tolerance == 1e-3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run: {name: a\nx: [", "line"),
        ("run: {name: a}\nrun: {name: b}\n", "key run is given twice in line 2"),
        ("- 1\n", "must hold sections"),
    ],
)
def test_broken_yaml(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_yaml(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_config(tmp_path / "none.yaml")


def test_label_folders_become_their_stores(tmp_path: Path) -> None:
    for name in ("b.h5", "a.h5", "notes.txt"):
        (tmp_path / name).write_text("")
    assert label_files([".", "b.h5"], tmp_path) == ["./a.h5", "./b.h5", "b.h5"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no *.h5 file" in mistakes(tmp_path, labels={"path": "empty"})[0]


class TestStageConfig:
    """The text that decides whether a stage runs again."""

    def test_spelling_does_not_matter(self, root: Path) -> None:
        one = settings(root, phonons={"displacement": "2e-2", "supercell": [6, 6, 1]}, sampling={"pairs": 16})
        two = settings(root, sampling={"pairs": 16.0}, phonons={"supercell": (6, 6, 1), "displacement": 0.02})
        assert stage_config(one, "phonons", "sampling") == stage_config(two, "sampling", "phonons")

    def test_only_the_named_parts_matter(self, root: Path) -> None:
        one, two = settings(root), settings(root, sampling={"temperatures": [5], "seed": 3})
        assert stage_config(one, "training.phonon") == stage_config(two, "training.phonon")
        assert stage_config(one, "sampling.seed") != stage_config(two, "sampling.seed")
        assert stage_config(one, "sampling.pairs") == stage_config(two, "sampling.pairs")

    def test_reads_back(self, root: Path) -> None:
        made = settings(root, training={"electron": {"seed": 9}}, device="cpu")
        text = stage_config(made, "training.electron", "device", "sampling.floor_cm1")
        parts = read_stage_config(text)
        assert parts["training.electron"] == made.training.electron
        assert parts["device"] == "cpu"
        assert parts["sampling.floor_cm1"] is None
        assert read_settings(stage_config(made, *Settings.model_fields)) == made

    def test_no_machine_in_it(self, root: Path) -> None:
        text = stage_config(load_config(root / "config/config.yaml", root=root), *Settings.model_fields)
        assert str(root) not in text


def test_blocks_cover_all_pairs_once(root: Path) -> None:
    for pairs, block_size in ((16, 16), (17, 10), (3, 1000), (250, 100)):
        sampling = settings(root, sampling={"pairs": pairs, "block_size": block_size}).sampling
        blocks = [sampling.block_pairs(b) for b in range(sampling.n_blocks())]
        covered = [first + k for first, count in blocks for k in range(count)]
        assert covered == list(range(pairs))
        assert all(2 * count <= block_size for _, count in blocks)


def test_stages_double_the_pairs_and_cut_no_block(root: Path) -> None:
    target = {"velocity_manifold": {"relative": 0.01}}
    given = {"pairs": 40, "max_pairs": 200, "block_size": 60, "target_error": target}
    sampling = settings(root, sampling=given).sampling
    assert sampling.stage_pairs == [40, 80, 160, 200]
    for stage, pairs in enumerate(sampling.stage_pairs):
        blocks = [sampling.block_pairs(b) for b in range(sampling.n_blocks(stage))]
        assert [first + k for first, count in blocks for k in range(count)] == list(range(pairs))
        assert all(2 * count <= 60 for _, count in blocks)


def test_samples_of_scheme_plain_fill_a_block(root: Path) -> None:
    sampling = settings(root, sampling={"scheme": "plain", "pairs": 10, "block_size": 4}).sampling
    assert [sampling.block_pairs(b) for b in range(sampling.n_blocks())] == [(0, 4), (4, 4), (8, 2)]


@pytest.mark.parametrize(
    ("sampling", "line"),
    [
        ({"target_error": {"velocity_manifold": {"relative": 0.1}}}, "max_pairs is needed with target_error"),
        ({"max_pairs": 64}, "max_pairs is needed with target_error, and only then"),
        (
            {"pairs": 8, "max_pairs": 64, "target_error": {"velocity_manifold": {"relative": 0.1}}},
            "pairs must be 32 at least",
        ),
        (
            {"pairs": 64, "max_pairs": 128, "target_error": {"velocity_manifold": {}}},
            "give either relative or absolute",
        ),
        (
            {"pairs": 64, "max_pairs": 128, "target_error": {"gap": {"absolute": 0.1}}},
            "gap is no observable of this run: velocity_naive, velocity_manifold",
        ),
        ({"scheme": "sobol", "pairs": 20}, "pairs must be multiples of 8"),
        ({"scheme": "special"}, "must be one of antithetic, plain, signs, gauss_hermite, sobol"),
    ],
)
def test_targets_and_schemes_that_do_not_fit(root: Path, sampling: dict[str, object], line: str) -> None:
    (found,) = mistakes(root, sampling=sampling)
    assert line in found


def test_schemes_are_those_of_the_sampler() -> None:
    assert {"special", *get_args(Scheme)} == set(SCHEMES)
    assert SOBOL_REPLICATES == schemes.SOBOL_REPLICATES


def test_cost_grows_with_the_run(root: Path) -> None:
    quick, paper = (load_config(root / f"config/{name}.yaml", root=root) for name in ("config", "paper"))
    small, large = estimate(quick), estimate(paper)
    assert large.jobs > small.jobs
    assert large.disk_gb > 10 * small.disk_gb
    assert large.gpu_hours > 20 * small.gpu_hours
    assert large.samples == 3000
    assert "3000 samples of 6×6×1 cells" in cost_text(paper)


def test_cost_counts_the_members_of_a_committee(root: Path) -> None:
    quick = load_config(root / "config/config.yaml")
    single, three = estimate(quick), estimate(quick.model_copy(update={"committee": 3}))
    assert three.network_core_hours == pytest.approx(3 * single.network_core_hours)
    assert three.other_core_hours == single.other_core_hours
    # two more trainings of each network; calibration of each, its table and its figure
    assert three.jobs - single.jobs == 4 + 4


def test_networks_that_are_taken_cost_no_training(root: Path) -> None:
    quick = load_config(root / "config/config.yaml")
    files = {kind: f"config/{kind}.pt" for kind in ("phonon", "electron")}
    both, one = (
        quick.model_copy(update={"models": ModelsSection(**values)})
        for values in (files, {"electron": files["electron"]})
    )
    assert both.trained_networks == []
    assert one.trained_networks == both.taken_networks[:1] == ["phonon"]
    hours = [estimate(chosen).network_core_hours for chosen in (both, one, quick)]
    assert hours == sorted(hours)
    assert hours[0] < 0.5 * hours[2]
    assert estimate(quick).jobs - estimate(both).jobs == 2
    only = quick.training.model_copy(update={"networks": ["electron"]})
    alone = both.model_copy(update={"training": only})
    assert estimate(alone).network_core_hours == 0


def test_a_model_of_a_network_that_the_run_leaves_out(root: Path) -> None:
    (mistake,) = mistakes(root, models={"phonon": "config/config.yaml"}, training={"networks": ["electron"]})
    assert mistake == "x.yaml: models.phonon is given, but training.networks leaves this network out"


def test_missing_models_and_labels_are_named_with_a_remedy(root: Path) -> None:
    found = mistakes(root, models={"phonon": "none.pt"}, labels={"path": "none.h5", "reference": "no"})
    remedies = [
        f"no such file or folder; put the data there, or set labels.{key} to where they are"
        for key in ("path", "reference")
    ]
    assert found == [
        "x.yaml: models.phonon = none.pt: no such file",
        f"x.yaml: labels.path[0] = none.h5: {remedies[0]}",
        f"x.yaml: labels.reference[0] = no: {remedies[1]}",
    ]


def test_statistics_compare_with_plain_samples() -> None:
    section = validate(
        {"statistics": {"schemes": ["signs", "plain"], "evaluations": 64}}, "x.yaml"
    ).statistics
    assert section.compared == ["plain", "signs"]
    assert (section.units("plain"), section.units("signs")) == (64, 32)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"evaluations": 72}, "x.yaml: statistics.evaluations = 72: must be a multiple of 16"),
        ({"schemes": ["special"]}, "x.yaml: statistics.schemes[0] = special: must be one of"),
        ({"schemes": ["signs", "signs"]}, "a scheme stands in the list more than once"),
    ],
)
def test_bad_statistics(values: dict, line: str) -> None:
    with pytest.raises(ConfigError) as error:
        validate({"statistics": values}, "x.yaml")
    assert line in str(error.value)

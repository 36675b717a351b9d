"""The documentation: links, names of verbs and files, configurations and the Python example."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
PAGE_NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES]

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
VERB = re.compile(r"(?:^|[\s`(&])mlepi ([a-z][a-z-]*)\b", re.MULTILINE)
#: Code spans that begin like this name a file or folder of the repository.
FOLDERS = (
    "config/",
    "docs/",
    "envs/",
    "mlepi_core/",
    "profiles/",
    "resources/",
    "rules/",
    "tests/",
    "workflow_scripts/",
)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return FENCE.sub("", text_of(page))


def blocks(page: Path, language: str) -> list[str]:
    return [body for kind, body in FENCE.findall(text_of(page)) if kind == language]


def anchors(page: Path) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text_of(page)), re.MULTILINE)
    kept = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in kept}


def broken_links(page: Path) -> Iterator[str]:
    for target in LINK.findall(prose(page)):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        missing_anchor = anchor and path.suffix == ".md" and path.is_file() and anchor not in anchors(path)
        if not path.exists() or missing_anchor:
            yield target


@pytest.mark.parametrize("page", PAGES, ids=PAGE_NAMES)
def test_links_resolve(page: Path) -> None:
    assert not list(broken_links(page))


def test_every_page_is_reached_from_the_contents() -> None:
    linked = {
        (DOCS / target.partition("#")[0]).resolve() for target in LINK.findall(text_of(DOCS / "index.md"))
    }
    assert {
        path.name for path in DOCS.glob("*.md") if path.name != "index.md" and path not in linked
    } == set()


@pytest.mark.parametrize("page", PAGES, ids=PAGE_NAMES)
def test_verbs_exist(page: Path) -> None:
    from mlepi_core.cli.main import mlepi

    used = set(VERB.findall(text_of(page)))
    assert used <= set(mlepi.commands), sorted(used - set(mlepi.commands))


def test_every_verb_and_option_is_documented() -> None:
    from mlepi_core.cli.main import mlepi

    text = text_of(DOCS / "cli.md")
    assert [verb for verb in mlepi.commands if f"\n## {verb}\n" not in text] == []
    options = {
        name: {o for p in c.params for o in p.opts if o.startswith("--")}
        for name, c in mlepi.commands.items()
    }
    for line in re.findall(r"^mlepi .+$|&& mlepi .+$", text, re.MULTILINE):
        verb = line.split("mlepi ", 1)[1].split()[0]
        unknown = set(re.findall(r"(?<= )--[a-z0-9-]+", line)) - options[verb]
        assert not unknown, f"{line}: {sorted(unknown)}"


@pytest.mark.parametrize("page", PAGES, ids=PAGE_NAMES)
def test_named_files_exist(page: Path) -> None:
    spans = [span for span in SPAN.findall(prose(page)) if span.startswith(FOLDERS)]
    names = {span.split()[0] for span in spans if not re.search(r"[*<>{}…]", span)}
    assert not sorted(name for name in names if not (ROOT / name).exists())


def test_named_modules_and_functions_exist() -> None:
    import importlib

    for page in PAGES:
        for name in re.findall(r"`(mlepi_core(?:\.\w+)+)`", prose(page)):
            module, _, last = name.rpartition(".")
            try:
                importlib.import_module(name)
            except ModuleNotFoundError:
                assert hasattr(importlib.import_module(module), last), f"{page.name}: {name}"


@pytest.mark.parametrize("page", PAGES, ids=PAGE_NAMES)
def test_configurations_are_valid(page: Path) -> None:
    from mlepi_core.config import Settings

    for block in blocks(page, "yaml"):
        Settings.model_validate(yaml.safe_load(block))


def test_named_targets_of_make_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    for page in PAGES:
        used = set(re.findall(r"(?:^|`|&& )make ([a-z-]+)", text_of(page), re.MULTILINE))
        assert used <= targets, f"{page.name}: {sorted(used - targets)}"


def test_no_result_is_left_open() -> None:
    """Numbers of the quick run are filled in from a real run."""
    open_places = [
        f"{page.name}: {note}" for page in PAGES for note in re.findall(r"<!-- NUMBER.*?-->", text_of(page))
    ]
    assert not open_places, "\n".join(open_places)


@pytest.fixture(scope="module")
def small_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder like the repository after a run, with networks trained for a few steps."""
    from mlepi_core.config import load_config
    from mlepi_core.stages.train import train

    folder = tmp_path_factory.mktemp("example")
    (folder / "resources").symlink_to(ROOT / "resources")
    settings = load_config(ROOT / "config" / "test.yaml", root=ROOT)
    stores = [ROOT / path for path in settings.labels.path]
    for kind in ("phonon", "electron"):
        out = folder / "results" / "quick" / "models" / f"{kind}.pt"
        section = getattr(settings.training, kind)
        train(kind, section, stores, out, device="cpu")
    return folder


def test_python_example_runs(
    small_models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(small_models)
    example = "\n".join(blocks(DOCS / "python.md", "python"))
    names: dict[str, object] = {"__name__": "__main__"}
    exec(compile(example, "docs/python.md", "exec"), names)
    assert names["difference"] < 1e-5  # eV, bands of the true H and S against OpenMX's own
    assert 0.8e6 < names["v_dft"] < 0.95e6  # m/s, PBE with this basis
    assert "largest force" in capsys.readouterr().out

"""Where results come from: digests of code, versions, state of the repository."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import platform
import subprocess
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from mlepi_core.artefacts import InputError

PACKAGE = "mlepi_core"
LIBRARIES = ("numpy", "scipy", "h5py", "ase", "phonopy", "torch", "e3nn", "snakemake")


def code_digest(*modules: str, without: str | Iterable[str] = (), files: Iterable[str | Path] = ()) -> str:
    """Digest of the code that the named modules run.

    It covers the modules of this package that they import, directly or not, also inside functions,
    as syntax trees without docstrings: comments, layout and documentation do not change it. A name
    imported from a package stands for the module that defines it; the other modules which that
    package re-exports do not enter (packages of this project do nothing else when imported).

    Parameters
    ----------
    modules
        Dotted names, for example ``"mlepi_core.stages.train"``.
    without
        Patterns of modules that the closure does not follow, such as ``"*.electron*"``: code that the
        stage imports but does not run for this purpose.
    files
        Further source files, for example the helper of the workflow's scripts.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    skipped = (without,) if isinstance(without, str) else tuple(without)
    todo, seen = list(modules), set()
    while todo:
        name = todo.pop()
        if name in seen or (name not in modules and any(fnmatchcase(name, part) for part in skipped)):
            continue
        seen.add(name)
        todo.extend(_imports(name))
    text = [f"{name} {_tree_hash(_source(name))}" for name in sorted(seen)]
    text += [f"{Path(file).name} {_tree_hash(Path(file))}" for file in files]
    return hashlib.sha256("\n".join(text).encode()).hexdigest()[:16]


def imported_modules(name: str) -> frozenset[str]:
    """Modules of this package that module `name` imports, names resolved to the defining modules."""
    return _imports(name)


def _below(name: str, parents: tuple[str, ...]) -> bool:
    return any(name == parent or name.startswith(parent + ".") for parent in parents)


@cache
def _source(name: str) -> Path:
    """File of a module of this package, found without importing it."""
    root = Path(__file__).resolve().parent.parent
    path = root.joinpath(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    raise InputError(name, f"there is no such module in {PACKAGE}")


def _is_module(name: str) -> bool:
    try:
        _source(name)
    except InputError:
        return False
    return True


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=path.name)


@cache
def _tree_hash(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=path.name)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            _drop_docstring(node)
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _drop_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    first = node.body[0] if node.body else None
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        node.body = node.body[1:]


@cache
def _imports(name: str) -> frozenset[str]:
    return frozenset(_found(name))


def _found(name: str) -> Iterator[str]:
    for node in _running_nodes(_tree(_source(name))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _below(alias.name, (PACKAGE,)))
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(name, node)
            if _below(base, (PACKAGE,)):
                for alias in node.names:
                    yield from _definers(base, alias.name)


def _running_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING:``, which never run."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from _running_nodes(child)


def _absolute(name: str, node: ast.ImportFrom) -> str:
    """Absolute name of the module in ``from X import …``, relative imports resolved."""
    if not node.level:
        return node.module or ""
    is_package = _source(name).name == "__init__.py"
    parts = name.split(".")
    parts = parts[: len(parts) - node.level + is_package]
    return ".".join(parts + ([node.module] if node.module else []))


def _definers(base: str, attribute: str) -> Iterator[str]:
    """Modules that `attribute` of `base` stands for: a submodule, the source of a re-export, or `base`."""
    if _is_module(f"{base}.{attribute}"):
        yield f"{base}.{attribute}"
    elif _source(base).name != "__init__.py":
        yield base
    elif (source := _reexported(base, attribute)) is not None:
        yield from _definers(source, attribute)
    elif _is_lazy(base):
        yield from (f"{base}.{path.stem}" for path in sorted(_source(base).parent.glob("[!_]*.py")))
    else:
        yield base


def _reexported(package: str, attribute: str) -> str | None:
    """Module of this project from which a package takes `attribute`: by an import, or by a table of homes.

    The table is a dict of names and submodules at the top of a package that loads them on first use.
    """
    for node in _tree(_source(package)).body:
        if isinstance(node, ast.ImportFrom):
            source = _absolute(package, node)
            if attribute in (alias.name for alias in node.names) and _below(source, (PACKAGE,)):
                return source
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                if (
                    isinstance(key, ast.Constant)
                    and key.value == attribute
                    and isinstance(value, ast.Constant)
                ):
                    home = f"{package}.{str(value.value).removeprefix(package).lstrip('.')}"
                    return home if _is_module(home) else None
    return None


def _is_lazy(package: str) -> bool:
    return any(
        isinstance(node, ast.FunctionDef) and node.name == "__getattr__"
        for node in _tree(_source(package)).body
    )


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that results depend on, without importing them."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def git_state(folder: str | Path = ".") -> dict[str, str | bool | None]:
    """Commit of `folder` and whether tracked files differ from it; both None outside a repository."""
    commit = _git(folder, "rev-parse", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no") if commit else None
    return {"commit": commit or None, "dirty": bool(changes) if changes is not None else None}


def _git(folder: str | Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None

"""The house rules: which room may import which, and which modules stay light."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {"stream", "models", "edge", "cloud"}
MAY_IMPORT = {
    "stream": {"stream"},
    "models": {"models", "stream"},
    "edge": {"edge", "models", "stream"},
    "cloud": {"cloud", "models", "stream"},
}
MODELS_MAY_TAKE_FROM_STREAM = {"stream.errors", "stream.config", "stream.geometry", "stream.home"}
LIGHT = [ROOT / "videodisco.py", *(ROOT / "edge" / "cli").glob("*.py")]
COMMANDS = {"run.py", "probe.py", "cameras.py", "checks.py", "bench.py", "config.py", "__init__.py", "videodisco.py"}


def modules(room: str) -> Iterator[Path]:
    return (ROOT / room).rglob("*.py")


def imports(path: Path, *, top_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("room", [room for room in MAY_IMPORT if (ROOT / room).is_dir()])
def test_imports_point_one_way(room: str) -> None:
    for path in modules(room):
        ours = {name.split(".")[0] for name in imports(path)} & ROOMS
        assert ours <= MAY_IMPORT[room], f"{path.relative_to(ROOT)} imports {ours - MAY_IMPORT[room]}"


def test_models_take_only_the_ground_from_stream() -> None:
    for path in modules("models"):
        taken = {name for name in imports(path) if name.split(".")[0] == "stream"}
        assert taken <= MODELS_MAY_TAKE_FROM_STREAM, f"{path.relative_to(ROOT)} imports {taken}"


@pytest.mark.parametrize("path", [path for path in LIGHT if path.name in COMMANDS], ids=lambda path: path.name)
def test_commands_import_nothing_heavy_before_they_run(path: Path) -> None:
    allowed = {"typer", "typer.exceptions", "edge", "edge.cli", "models", "stream.errors"}
    import sys

    heavy = {name for name in imports(path, top_only=True) if name.split(".")[0] not in sys.stdlib_module_names}
    assert heavy <= allowed, f"{path.name} imports {heavy - allowed} at its top"


def test_every_package_is_installed() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(project["tool"]["setuptools"]["packages"])
    there = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for room in ROOMS
        if (ROOT / room).is_dir()
        for path in (ROOT / room).rglob("__init__.py")
    }
    assert there - listed <= {"models.build"}, "the maintainer's build tool alone stays out"

"""The house rules: which room may import which, and which modules stay light."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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
# What turns a file into something that runs, and who may call it; the plain loop is no part of the product.
LOADERS = {
    "InferenceSession": {"models/runtime.py", "edge/bench/plain_loop.py"},
    "compile_model": {"models/openvino.py"},
}
LIGHT = [
    ROOT / "videodisco.py",
    ROOT / "models" / "cli.py",
    ROOT / "cloud" / "cli.py",
    *(ROOT / "edge" / "cli").glob("*.py"),
]
COMMANDS = {
    "run.py",
    "serve.py",
    "dataset.py",
    "probe.py",
    "quantize.py",
    "cameras.py",
    "checks.py",
    "bench.py",
    "config.py",
    "cli.py",
    "__init__.py",
    "videodisco.py",
}


@dataclass(frozen=True, slots=True)
class Call:
    """A call in a file: the last name of what is called, whether that is all of it, and what is handed over."""

    name: str
    is_plain: bool
    line: int
    places: int
    keywords: frozenset[str | None]


@dataclass(frozen=True, slots=True)
class Source:
    """What the rules want to know of a file: the modules that it imports (at its top, anywhere, by ``import`` when it
    is run and not for type checkers alone), and what it calls."""

    top: frozenset[str]
    anywhere: frozenset[str]
    run: frozenset[str]
    calls: Sequence[Call]


@functools.cache
def source(path: Path) -> Source:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    branches = (node for node in nodes if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    typing_only = [node for branch in branches for statement in branch.body for node in ast.walk(statement)]
    at_run = (node for node in nodes if isinstance(node, ast.Import) and node not in typing_only)
    return Source(
        frozenset(imported(path, tree.body)),
        frozenset(imported(path, nodes)),
        frozenset(imported(path, at_run)),
        [call_of(node) for node in nodes if isinstance(node, ast.Call)],
    )


def imported(path: Path, nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module or ""


def call_of(node: ast.Call) -> Call:
    called = node.func
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    keywords = frozenset(keyword.arg for keyword in node.keywords)
    return Call(name, isinstance(called, ast.Name), node.lineno, len(node.args), keywords)


def modules(room: str) -> Iterator[Path]:
    return (ROOT / room).rglob("*.py")


@pytest.mark.parametrize("room", [room for room in MAY_IMPORT if (ROOT / room).is_dir()])
def test_imports_point_one_way(room: str) -> None:
    for path in modules(room):
        ours = {name.split(".")[0] for name in source(path).anywhere} & ROOMS
        assert ours <= MAY_IMPORT[room], f"{path.relative_to(ROOT)} imports {ours - MAY_IMPORT[room]}"


def test_models_take_only_the_ground_from_stream() -> None:
    for path in modules("models"):
        taken = {name for name in source(path).anywhere if name.split(".")[0] == "stream"}
        assert taken <= MODELS_MAY_TAKE_FROM_STREAM, f"{path.relative_to(ROOT)} imports {taken}"


@pytest.mark.parametrize("path", [path for path in LIGHT if path.name in COMMANDS], ids=lambda path: path.name)
def test_commands_import_nothing_heavy_before_they_run(path: Path) -> None:
    allowed = {"typer", "typer.exceptions", "edge", "edge.cli", "models", "cloud", "stream.errors"}
    heavy = {name for name in source(path).top if name.split(".")[0] not in sys.stdlib_module_names}
    assert heavy <= allowed, f"{path.name} imports {heavy - allowed} at its top"


HEAVY = {"av", "cv2", "onnxruntime", "supervision", "scipy", "mlflow", "aiohttp", "numpy", "matplotlib", "torch"}


@pytest.mark.parametrize(
    "statement",
    ["import edge.config", "import videodisco; videodisco.main(['run', '--help'])"],
    ids=["configuration", "help"],
)
def test_nothing_heavy_is_imported_to_read_a_configuration_or_to_help(statement: str) -> None:
    """By nobody, however far down: what one of them imports at its top counts as well."""
    code = f"import sys; {statement}; print(sorted({HEAVY} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[]"


def test_supervision_is_imported_in_one_place() -> None:
    """Imported as it is, it takes half a second more to the first detection, and 40 MB."""
    comparisons = {"edge/bench/plain_loop.py", "edge/bench/peer_ultralytics.py"}
    for path in product_files():
        place = path.relative_to(ROOT).as_posix()
        found = source(path).run & {"supervision", "trackers"}
        assert not found or place in comparisons, f"{place} imports {found}: take it from stream.vision"


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


def test_a_newcomer_finds_every_room_in_the_guide() -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rooms = [path.parent for room in sorted(ROOMS) for path in (ROOT / room).rglob("__init__.py")]
    assert [room.relative_to(ROOT).as_posix() for room in rooms if f"`{room.name}/`" not in guide] == []


def product_files() -> Iterator[Path]:
    return (path for room in ROOMS if (ROOT / room).is_dir() for path in modules(room) if "build" not in path.parts)


def test_models_are_loaded_through_the_gate_alone() -> None:
    """One gate looks at a file, hashes it and asks the trust policies; nothing may load a model around it."""
    for path in product_files():
        place = path.relative_to(ROOT).as_posix()
        called = {call.name for call in source(path).calls}
        for loader, allowed in LOADERS.items():
            assert loader not in called or place in allowed, f"{place} calls {loader}"
        assert "ModelFile" not in called or place == "models/catalogue.py", f"{place} makes a ModelFile itself"
        loads = "models.runtime" in source(path).anywhere
        assert not loads or "content_of" in called, f"{place} opens sessions over other bytes than were admitted"
        unadmitted = {name for name in called if name.endswith("_unadmitted")}
        assert not unadmitted or place.startswith("models/shelf/"), f"{place} calls {unadmitted}"


def test_who_looks_for_a_model_says_whom_it_trusts() -> None:
    for path in product_files():
        if "models.catalogue" not in source(path).anywhere:
            continue
        for call in source(path).calls:
            stated = call.places > 1 or "trust" in call.keywords
            of_catalogue = call.name == "find" and call.is_plain
            assert stated or not of_catalogue, f"{path.relative_to(ROOT)}:{call.line} finds a model without trust"

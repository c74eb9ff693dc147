"""The house rules: which room may import which, and which modules stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
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
    allowed = {"typer", "typer.exceptions", "edge", "edge.cli", "models", "cloud", "stream.errors"}
    heavy = {name for name in imports(path, top_only=True) if name.split(".")[0] not in sys.stdlib_module_names}
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


def runtime_imports(path: Path) -> set[str]:
    """All that running the file may import: without what is there for type checkers alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = [
        node
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for statement in branch.body
        for node in ast.walk(statement)
    ]
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import) and node not in typing_only]
    return {alias.name for node in nodes for alias in node.names}


def test_supervision_is_imported_in_one_place() -> None:
    """Imported as it is, it takes half a second more to the first detection, and 40 MB."""
    comparisons = {"edge/bench/plain_loop.py", "edge/bench/peer_ultralytics.py"}
    for path in product_files():
        place = path.relative_to(ROOT).as_posix()
        found = runtime_imports(path) & {"supervision", "trackers"}
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


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """The last name of everything a file calls."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            yield name, node


def product_files() -> Iterator[Path]:
    return (path for room in ROOMS if (ROOT / room).is_dir() for path in modules(room) if "build" not in path.parts)


def test_models_are_loaded_through_the_gate_alone() -> None:
    """One gate looks at a file, hashes it and asks the trust policies; nothing may load a model around it."""
    for path in product_files():
        place = path.relative_to(ROOT).as_posix()
        called = {name for name, _ in calls(path)}
        for loader, allowed in LOADERS.items():
            assert loader not in called or place in allowed, f"{place} calls {loader}"
        assert "ModelFile" not in called or place == "models/catalogue.py", f"{place} makes a ModelFile itself"
        loads = "models.runtime" in imports(path)
        assert not loads or "content_of" in called, f"{place} opens sessions over other bytes than were admitted"
        unadmitted = {name for name in called if name.endswith("_unadmitted")}
        assert not unadmitted or place.startswith("models/shelf/"), f"{place} calls {unadmitted}"


def test_who_looks_for_a_model_says_whom_it_trusts() -> None:
    for path in product_files():
        if "models.catalogue" not in imports(path):
            continue
        for name, call in calls(path):
            stated = len(call.args) > 1 or any(keyword.arg == "trust" for keyword in call.keywords)
            of_catalogue = name == "find" and isinstance(call.func, ast.Name)
            assert stated or not of_catalogue, f"{path.relative_to(ROOT)}:{call.lineno} finds a model without trust"

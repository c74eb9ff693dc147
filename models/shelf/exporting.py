"""An Ultralytics .pt made into a model of the shelf, by its own package, in a process of the Python that has it.

A .pt is a Python pickle: loading it runs what is in it. That happens in that other process alone, with the rights of
whoever started this; what comes out of it is a file like any other, looked through and tried out before it is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.catalogue import AUTO, bundled_names
from models.shelf import store, ultralytics_export
from models.shelf.adding import Added, add
from models.shelf.manifest import SourceCard
from stream.errors import ModelError, UsageError

WALL_S = 900.0
"""A large network on a slow machine takes some minutes."""

SAID_CHARACTERS = 400
"""Of what was wrong in the other process."""

LICENCE_WORDS = (
    "ultralytics and what it exports are under the AGPL-3.0, by Ultralytics: whoever uses them, over a network too,",
    "takes that licence's duties on, or buys another from Ultralytics",
)


@dataclass(frozen=True, slots=True)
class Wish:
    """Weights to be exported. ``name`` empty is the file's own; ``python`` None is the one that runs this."""

    weights: Path
    name: str = ""
    image_size: int | None = None
    python: Path | None = None
    replace: bool = False


def export(wish: Wish) -> Added:
    """Export weights in the process of another Python, and put what comes out of it on the shelf.

    Raises:
        UsageError: there is no such file, or no such Python, or it has no ultralytics.
        ModelError: the name is taken, the weights cannot be exported, or the export is refused.
        OutputError: the shelf cannot be written.
    """
    name = wish.name or _name_of(wish.weights)
    store.check_name(name, [AUTO, *bundled_names()])
    if store.has(name) and not wish.replace:
        raise ModelError(f"another model is called {name!r}: choose another --name, or --replace it")
    _check(wish.weights)
    with tempfile.TemporaryDirectory(prefix="export-") as folder:
        # Ultralytics writes beside the weights: a copy keeps it from a file of the user's own.
        weights = Path(shutil.copyfile(wish.weights, Path(folder) / f"{name}.pt"))
        answer = _exported(wish, weights)
        source = SourceCard(
            location=f"exported here by ultralytics {answer['version']} from {wish.weights.absolute()}",
            sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
        )
        return add(Path(folder) / answer["exported"], name, source=source, replace=wish.replace)


def _name_of(weights: Path) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", weights.stem.lower()).strip("._-")


def _check(weights: Path) -> None:
    if not weights.is_file():
        raise UsageError(
            f"there is no file {weights}: Ultralytics' own weights are fetched by its package:"
            f" python -c \"from ultralytics import YOLO; YOLO('{weights.name}')\""
        )
    with weights.open("rb") as file:
        begins = file.read(2)
    if begins not in (b"PK", b"\x80\x02"):
        raise UsageError(f"{weights} is no PyTorch file; for an ONNX file say models add")


def _exported(wish: Wish, weights: Path) -> dict[str, Any]:
    """What the other process answers; its words about its own progress are only worth something when it fails."""
    python = str(wish.python or sys.executable)
    asked = json.dumps({"weights": str(weights), "image_size": wish.image_size})
    source = Path(ultralytics_export.__file__).read_text(encoding="utf-8")
    # Neither the network nor a package it thinks it should install: exporting takes what is there.
    environment = {**os.environ, "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
    try:
        done = subprocess.run(
            [python, "-c", source, asked],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=WALL_S,
            cwd=weights.parent,
            env=environment,
        )
    except OSError as exc:
        raise UsageError(
            f"{python} cannot be started: {exc.strerror}; --python names the Python of an environment"
        ) from exc
    except subprocess.TimeoutExpired as exc:
        raise ModelError(f"{wish.weights} was not exported within {WALL_S / 60:.0f} minutes") from exc
    answer = _answer(done.stdout)
    if "missing" in answer:
        raise UsageError(_way_out(python, answer["missing"], wish.weights))
    if "exported" not in answer:
        said = answer.get("problem") or (done.stderr or done.stdout).strip()[-SAID_CHARACTERS:] or "it said nothing"
        said = said.replace(str(weights), wish.weights.name)
        raise ModelError(f"{wish.weights} cannot be exported: {_one_line(said)}")
    return answer


def _answer(output: str) -> dict[str, Any]:
    try:
        return dict(json.loads(output.strip().rpartition("\n")[2]))
    except (ValueError, TypeError):
        return {}


def _way_out(python: str, missing: str, weights: Path) -> str:
    return (
        f"{python} has no {missing}, and nothing else can read {weights.name}: make an environment that has it"
        " (python3 -m venv ultralytics; ultralytics/bin/pip install ultralytics onnx) and add --python"
        " ultralytics/bin/python. It takes several GB and is under the AGPL-3.0, which is why it is no part of"
        " VideoDisco"
    )


def _one_line(said: str) -> str:
    """Without its pictograms."""
    plain = "".join(" " if unicodedata.category(sign) in ("So", "Mn") else sign for sign in said)
    return " ".join(plain.split())[:SAID_CHARACTERS]

"""Programs that are measured from outside, as processes: one after the other, several times round."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edge.bench import launcher
from models.catalogue import bundled_names, find
from models.trust.policy import ANY_MODEL
from stream.errors import VideoDiscoError
from stream.home import HOME_VARIABLE
from stream.locks import is_held

FOLDER = "{folder}"
"""Stands in a command for a folder that is made for one turn and removed after it."""

OURS = (sys.executable, "-m", "videodisco")


@dataclass(frozen=True, slots=True)
class Model:
    """A model as programs are told of it: ``word`` is what our own take, ``path`` what all take."""

    name: str
    word: str
    path: Path

    @classmethod
    def of(cls, word: str) -> Model:
        """The model that a user means by ``word``; it may lie on a shelf that programs with a home of their own do not
        see. Raises ModelError."""
        found = find(word, ANY_MODEL)
        path = found.path.absolute()
        return cls(found.name, found.name if found.name in bundled_names() else str(path), path)


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. ``model`` is the one it looks with, on ``device``; ``records`` and ``tracks`` say what else it does:
    the bound that it is held against depends on them. A ``watched`` file tells by its first byte when the first result
    was there."""

    name: str
    command: tuple[str, ...]
    model: str = ""
    device: str = ""
    records: bool = False
    tracks: bool = False
    watched: str = ""

    @property
    def is_ours(self) -> bool:
        return self.command[: len(OURS)] == OURS


@dataclass(frozen=True, slots=True)
class Turn:
    """One run of a program: ``seconds`` of the whole process, start and end included.

    ``steady_fps`` counts from the first frame's result to the last one's; ``loop_fps`` from before the model is opened
    until the outputs are closed, imports left out. None where the program or the system does not tell.
    """

    seconds: float
    cpu_s: float | None
    memory_mb: float | None
    first_s: float | None = None
    frames: int | None = None
    steady_fps: float | None = None
    loop_fps: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """A program with all its turns."""

    program: Program
    turns: list[Turn] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """As the plain values of a record: for each figure its value in each turn."""
        turns = [asdict(turn) for turn in self.turns]
        told = {name: [turn[name] for turn in turns] for name in (turns[0] if turns else ())}
        program = self.program
        about: dict[str, Any] = {"name": program.name, "model": program.model, "device": program.device}
        about |= {"records": program.records, "tracks": program.tracks, "ours": program.is_ours}
        return about | {name: values for name, values in told.items() if None not in values}


def ours(
    name: str, clip: Path, model: Model, device: str, *options: str, tracks: bool = True, watched: str = ""
) -> Program:
    """``videodisco run`` with these options."""
    same = ("--quiet", "--project", FOLDER, "--name", "run", "--model", model.word, "--device", device)
    command = (*OURS, "run", str(clip), *same, *options)
    records = "--save" in options
    return Program(f"videodisco {name}", command, model.name, device, records, tracks, watched)


def in_turns(programs: Sequence[Program], turns: int) -> list[Measured]:
    """Run all of them ``turns`` times round, so that a busy moment hits them all alike.

    Raises:
        VideoDiscoError: one of them fails.
    """
    measured = [Measured(program) for program in programs]
    for _ in range(turns):
        for each in measured:
            each.turns.append(run_once(each.program))
    return measured


def run_once(program: Program) -> Turn:
    """Run it in a folder of its own, with a home of its own: nothing that was measured or kept before has a say.

    Raises:
        VideoDiscoError: it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _run_in(Path(folder), program)


def output_of(program: Program, name: str) -> dict[str, Any]:
    """The JSON file of this name that a program leaves in its folder. Raises VideoDiscoError."""
    with tempfile.TemporaryDirectory() as folder:
        _run_in(Path(folder), program)
        left: dict[str, Any] = json.loads((Path(folder) / name).read_text(encoding="utf-8"))
        return left


def _run_in(folder: Path, program: Program) -> Turn:
    watched, *command = (part.replace(FOLDER, str(folder)) for part in (program.watched, *program.command))
    report = folder / "report.json"
    done = subprocess.run(
        [sys.executable, launcher.__file__, str(report), watched, "--", *command],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, HOME_VARIABLE: str(folder / "home")},
    )
    took: dict[str, Any] = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {"code": None}
    _wait_for_courier(folder / "home")
    if took.pop("code") != 0:
        raise VideoDiscoError(f"{program.name} failed: {done.stderr.strip()[-500:]}")
    return Turn(**took, **_told(folder / "run" / "summary.json", done.stdout))


def _told(summary: Path, output: str) -> dict[str, Any]:
    """What a run of ours writes into its summary, and what others print as their last three words: the frames, the
    seconds from the first to the last, and those of the loop with what opens and closes it."""
    if summary.exists():
        told = json.loads(summary.read_text(encoding="utf-8"))
        if any("seconds" not in source for source in told["sources"]):
            return {}  # cameras have no end of their own
        seconds = sum(source["seconds"] for source in told["sources"])
        return {"frames": told["frames"], "steady_fps": told["steady_fps"], "loop_fps": told["frames"] / seconds}
    try:
        frames, steady_s, loop_s = map(float, output.split()[-3:])
    except ValueError:
        return {}
    return {"frames": int(frames), "steady_fps": (frames - 1) / steady_s, "loop_fps": frames / loop_s}


def _wait_for_courier(home: Path) -> None:
    """Until what a run left to MLflow's courier is delivered: the next program shall have the machine for itself."""
    while is_held(home / "mlflow" / "courier.lock"):
        time.sleep(0.1)

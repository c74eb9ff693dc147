"""The whole command beside a plain loop on the same clip: wall time of processes, start-up included, in turns."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.catalogue import find
from models.trust.policy import ANY_MODEL
from stream.errors import VideoDiscoError
from stream.telemetry.locks import is_held

PLAIN_MODEL = "nanodet-g-416"


@dataclass(frozen=True, slots=True)
class Contender:
    """A program to time; ``{folder}`` in its arguments stands for a fresh folder."""

    name: str
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """Wall seconds of each turn; and of our programs the frames a second from the first to the last frame."""

    name: str
    seconds: tuple[float, ...]
    steady_fps: tuple[float, ...] = ()

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)

    @property
    def median_steady_fps(self) -> float | None:
        return statistics.median(self.steady_fps) if self.steady_fps else None


def contenders(clip: Path) -> list[Contender]:
    """The plain loop first, then ours in the ways that people run it."""
    plain = ("-m", "edge.bench.plain_loop", str(clip), str(find(PLAIN_MODEL, ANY_MODEL).path), "{folder}/plain.mp4")
    ours = ("-m", "videodisco", "run", str(clip), "--quiet", "--project", "{folder}")
    return [
        Contender("plain loop, float, recording", plain),
        Contender("videodisco, float, recording", (*ours, "--save", "--no-mlflow", "--model", PLAIN_MODEL)),
        Contender("videodisco, recording", (*ours, "--save", "--no-mlflow")),
        Contender("videodisco, recording and MLflow", (*ours, "--save")),
        Contender("videodisco, recording, MLflow waited for", (*ours, "--save", "--mlflow-wait")),
        Contender("videodisco, detections only", (*ours, "--no-mlflow")),
    ]


def compare(programs: Sequence[Contender], turns: int) -> list[Measured]:
    """Run the programs one after the other, ``turns`` times round, so that a busy moment hits them all alike."""
    seconds: dict[str, list[float]] = {program.name: [] for program in programs}
    steady: dict[str, list[float]] = {program.name: [] for program in programs}
    for _ in range(turns):
        for program in programs:
            took_s, steady_fps = _run(program)
            seconds[program.name].append(took_s)
            steady[program.name] += [] if steady_fps is None else [steady_fps]
    return [Measured(name, tuple(values), tuple(steady[name])) for name, values in seconds.items()]


def _run(program: Contender) -> tuple[float, float | None]:
    with tempfile.TemporaryDirectory() as folder:
        arguments = [sys.executable, *(part.replace("{folder}", folder) for part in program.arguments)]
        begun_s = time.monotonic()
        done = subprocess.run(
            arguments, capture_output=True, text=True, check=False, env={**os.environ, "VIDEODISCO_HOME": folder}
        )
        elapsed_s = time.monotonic() - begun_s
        _wait_for_courier(Path(folder))
        summary = Path(folder) / "run" / "summary.json"
        steady_fps = json.loads(summary.read_text(encoding="utf-8"))["steady_fps"] if summary.exists() else None
    if done.returncode != 0:
        raise VideoDiscoError(f"{program.name} failed with code {done.returncode}: {done.stderr.strip()[-500:]}")
    return elapsed_s, steady_fps


def _wait_for_courier(home: Path) -> None:
    """Until what a run left to MLflow's courier is delivered: the next program shall have the machine for itself."""
    while is_held(home / "mlflow" / "courier.lock"):
        time.sleep(0.1)

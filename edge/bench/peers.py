"""The same model and file through what people use otherwise, installed in an environment of its own."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge.bench import peer_ultralytics
from stream.errors import UsageError, VideoDiscoError


@dataclass(slots=True)
class Peer:
    """A program, with its frames a second from the first frame to the last in each turn."""

    name: str
    arguments: tuple[str, ...]
    is_ours: bool = False
    records: bool = False
    fps: list[float] = field(default_factory=list)

    @property
    def median_fps(self) -> float:
        return statistics.median(self.fps)


def peers(python: Path, clip: Path, model: Path) -> list[Peer]:
    """Ultralytics without and with recording, supervision's loop, and ours in the same two ways.

    Raises:
        UsageError: the environment has no Ultralytics.
    """
    has_it = subprocess.run([python, "-c", "import ultralytics, supervision"], capture_output=True, check=False)
    if has_it.returncode != 0:
        raise UsageError(f"{python} has no ultralytics and supervision; make bench-peers sets such an environment up")
    script = (str(python), peer_ultralytics.__file__)
    theirs = {
        "ultralytics predict": "predict",
        "ultralytics predict save=True": "save",
        "supervision.process_video": "process_video",
    }
    run = (sys.executable, "-m", "videodisco", "run", str(clip), "--model", str(model), "--no-mlflow", "--quiet")
    same = ("--tracker", "off", "--conf", str(peer_ultralytics.CONFIDENCE), "--project", "{folder}", "--name", "run")
    return [
        *(
            Peer(name, (*script, way, str(clip), str(model), "{folder}"), records=way != "predict")
            for name, way in theirs.items()
        ),
        Peer("videodisco run", (*run, *same), is_ours=True),
        Peer("videodisco run --save", (*run, *same, "--save"), is_ours=True, records=True),
    ]


def race(programs: Sequence[Peer], turns: int) -> None:
    """Run them one after the other, ``turns`` times round, so that a busy moment hits them all alike."""
    for _ in range(turns):
        for program in programs:
            program.fps.append(_fps(program))


def against(programs: Sequence[Peer], program: Peer) -> float:
    """How many times as fast as Ultralytics' own prediction, with recording where it records."""
    base = next(each for each in programs if each.records is program.records)
    return program.median_fps / base.median_fps


def _fps(program: Peer) -> float:
    with tempfile.TemporaryDirectory() as folder:
        arguments = [part.replace("{folder}", folder) for part in program.arguments]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=folder)
        if done.returncode != 0:
            raise VideoDiscoError(f"{program.name} failed with code {done.returncode}: {done.stderr.strip()[-500:]}")
        if program.is_ours:
            summary = json.loads((Path(folder) / "run" / "summary.json").read_text(encoding="utf-8"))
            return float(summary["steady_fps"])
    frames, seconds = done.stdout.split()[-2:]
    return (int(frames) - 1) / float(seconds)

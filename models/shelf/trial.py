"""A model's first run: in a process of its own with limits on memory and time, which may die of it.

A graph can be well-formed and still ask for a hundred gigabytes or never come to an end. Nobody can tell by looking at
it, so before a model goes on the shelf it is run once where that does no harm; how fast it was is kept for its card.

    python -m models.shelf.trial NAME < model.onnx
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream.errors import ModelError, OutputError
from stream.home import home

if TYPE_CHECKING:
    from models.session import Session

MEMORY_BYTES = 3 << 30
"""Besides the model itself: a float model at 640x640 takes some 300 MB with everything imported."""
CPU_S = 60
WALL_S = 180.0
MEASURED_S = 0.5
MOST_RUNS = 50
FALLBACK_PX = 640

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Measured:
    """How long one picture took on one thread of this machine, the middle of ``runs``."""

    width: int
    height: int
    milliseconds: float
    runs: int

    def __str__(self) -> str:
        return f"{self.milliseconds:.1f} ms a picture of {self.width}x{self.height} on one thread of this machine"


def run(name: str, content: bytes) -> Measured:
    """Try a model out.

    Raises:
        ModelError: it fails, or takes more memory or time than a detector should.
    """
    memory_bytes = MEMORY_BYTES + 6 * len(content)
    # These very modules, wherever they are, and none of the working directory.
    command = [sys.executable, "-P", "-m", "models.shelf.trial", name, str(memory_bytes)]
    paths = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths}
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=WALL_S, check=False, env=environment)
    except subprocess.TimeoutExpired as exc:
        raise ModelError(f"{name} is refused: a trial run did not end within {WALL_S:.0f} s") from exc
    answer = _answer(done.stdout)
    if "problem" in answer:
        raise ModelError(str(answer["problem"]))
    if done.returncode or not answer:
        raise ModelError(
            f"{name} is refused: a trial run took more than {CPU_S} s of processor time "
            f"or {memory_bytes / 1e9:.1f} GB of memory, or crashed"
        )
    return _measured(answer)


def keep(sha256: str, measured: Measured) -> None:
    """Remember a measurement; where it cannot be written it is not worth a word."""
    with contextlib.suppress(OSError, OutputError):
        folder = home() / "measured"
        folder.mkdir(exist_ok=True)
        (folder / f"{sha256}.json").write_text(json.dumps(asdict(measured)), encoding="ascii")


def kept(sha256: str) -> Measured | None:
    """The measurement of a model on this machine, if there is one."""
    try:
        return _measured(json.loads((home() / "measured" / f"{sha256}.json").read_text(encoding="ascii")))
    except (OSError, ValueError, TypeError, LookupError, OutputError):
        return None


def main(name: str, memory_bytes: int) -> None:
    """The child: read a model from stdin, run it, print what was measured or what is wrong."""
    content = sys.stdin.buffer.read()
    _limit(memory_bytes)
    from models.session import open_unadmitted

    try:
        session = open_unadmitted(name, content, None)
        size = session.spec.imgsz or (FALLBACK_PX, FALLBACK_PX)
        height, width = session.spec.input.height or size[0], session.spec.input.width or size[1]
        answer = asdict(_measure(open_unadmitted(name, content, (height, width)), height, width))
    except ModelError as exc:
        answer = {"problem": str(exc)}
    print(json.dumps(answer))  # noqa: T201 - what the parent reads


def _measure(session: Session, height: int, width: int) -> Measured:
    import numpy as np

    picture = np.zeros((height, width, 3), np.uint8)
    session.run(picture)
    times_s: list[float] = []
    until_s = time.monotonic() + MEASURED_S
    while not times_s or (time.monotonic() < until_s and len(times_s) < MOST_RUNS):
        begun_s = time.perf_counter()
        session.run(picture)
        times_s.append(time.perf_counter() - begun_s)
    return Measured(width, height, round(statistics.median(times_s) * 1e3, 2), len(times_s))


def _limit(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))


def _measured(told: Mapping[str, Any]) -> Measured:
    return Measured(int(told["width"]), int(told["height"]), float(told["milliseconds"]), int(told["runs"]))


def _answer(output: bytes) -> dict[str, Any]:
    lines = output.splitlines()
    try:
        return dict(json.loads(lines[-1])) if lines else {}
    except (ValueError, TypeError):
        return {}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

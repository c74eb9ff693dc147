"""Running ``videodisco`` as a user does: a process of its own, its words and its exit code."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

TIMEOUT_S = 100


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The one line it complained with; it must not be a traceback."""
        assert "Traceback" not in self.err, self.err
        lines = [line for line in self.err.splitlines() if line.startswith("videodisco: ")]
        assert len(lines) == 1, self.err
        return lines[0].removeprefix("videodisco: ")


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "videodisco", *map(str, arguments)]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The test's own environment: plain output, and warnings said rather than raised in the child."""
    return {**os.environ, "NO_COLOR": "1", "COLUMNS": "200", **(extra or {})}


def videodisco(*arguments: str | Path, cwd: Path, extra: Mapping[str, str] | None = None) -> Ended:
    """Run a command to its end in the folder ``cwd``."""
    done = subprocess.run(
        command(*arguments), cwd=cwd, env=environment(extra), capture_output=True, text=True, timeout=TIMEOUT_S
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def in_process(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Ended:
    """The same in this process and its folder, for what is over sooner than an interpreter starts."""
    from videodisco import main

    interval_s = sys.getswitchinterval()
    capsys.readouterr()
    try:
        code = main([str(each) for each in arguments])
    finally:
        sys.setswitchinterval(interval_s)
        gc.unfreeze()
    said = capsys.readouterr()
    return Ended(code, said.out, said.err)


def predictions(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's predictions.jsonl."""
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return found

"""Runs that are cut short: signals, kills, full disks. What was written stays whole."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from tests import clips
from tests.clips import Clip
from tests.commands import command, environment, predictions, summary, videodisco

pytestmark = pytest.mark.slow

PLAIN = ("--no-mlflow", "--quiet")
PATIENCE_S = 60.0


def begun(cwd: Path, *arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("run", *arguments),
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_lines(path: Path, lines: int) -> None:
    """Until the run is well under way."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not path.exists() or path.read_bytes().count(b"\n") < lines:
        assert time.monotonic() < deadline_s, "the run does not get going"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Long enough to be interrupted: 4,000 frames."""
    clip = Clip(frames=4000, width=320, height=240, gop=25)
    return clips.write_clip(tmp_path_factory.mktemp("long") / "long.mp4", clip)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_finishes_the_files(long: Path, tmp_path: Path, number: signal.Signals, code: int) -> None:
    process = begun(tmp_path, long, "--save", *PLAIN)
    folder = tmp_path / "runs" / "run"
    wait_for_lines(folder / "predictions.jsonl", 100)
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code
    assert "Traceback" not in out + err
    lines = predictions(folder)
    recorded = clips.decode(folder / "annotated.mp4")
    assert 100 <= len(lines) < 4000
    assert len(recorded) == len(lines)
    assert [time for time, _ in recorded] == [Fraction(frame, 25) for frame in range(len(lines))]
    assert summary(folder)["complete"] is False
    assert summary(folder)["sources"][0]["state"] == "stopped"


def test_a_killed_run_leaves_a_recording_that_plays_up_to_the_last_second(long: Path, tmp_path: Path) -> None:
    process = begun(tmp_path, long, "--save", *PLAIN)
    folder = tmp_path / "runs" / "run"
    wait_for_lines(folder / "predictions.jsonl", 300)
    process.kill()
    process.communicate(timeout=PATIENCE_S)
    lines = (folder / "predictions.jsonl").read_bytes().splitlines(keepends=True)
    whole = [json.loads(line) for line in lines if line.endswith(b"\n")]
    recorded = clips.decode(folder / "annotated.mp4")
    # Lines are flushed each second of the clock, pictures each second of video: neither is far behind the other.
    assert len(recorded) > 150
    assert [line["frame"] for line in whole] == list(range(len(whole)))
    assert [time for time, _ in recorded] == [Fraction(frame, 25) for frame in range(len(recorded))]


KILLED_MIDWAY = """
import os, signal, sys
from stream.sinks.jsonl import PredictionsSink
from videodisco import main

write = PredictionsSink.write

def write_and_die(sink, result):
    write(sink, result)
    if result.frame.source == "long.mp4" and result.frame.index == 50:
        sink._file.flush()
    if result.frame.source == "long.mp4" and result.frame.index == 80:
        os.kill(os.getpid(), signal.SIGKILL)

PredictionsSink.write = write_and_die
sys.exit(main(sys.argv[1:]))
"""


def test_what_was_killed_can_be_resumed(long: Path, tmp_path: Path) -> None:
    short = clips.write_clip(tmp_path / "short.mp4", Clip(frames=30))
    arguments = ("run", short, long, "--end", "10", *PLAIN[:1])
    killed = [sys.executable, "-c", KILLED_MIDWAY, *map(str, arguments)]
    done = subprocess.run(killed, cwd=tmp_path, env=environment(), capture_output=True, timeout=100, check=False)
    assert done.returncode == -signal.SIGKILL
    folder = tmp_path / "runs" / "run"
    assert len((folder / "predictions.jsonl").read_bytes().splitlines()) >= 81
    resumed = videodisco(*arguments, "--resume", cwd=tmp_path)
    assert resumed.code == 0, resumed.err
    assert "1 skipped" in resumed.out
    frames = [(line["source"], line["frame"]) for line in predictions(folder)]
    assert frames == [("short.mp4", n) for n in range(30)] + [("long.mp4", n) for n in range(250)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of two megabytes."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("this sandbox mounts no file systems")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_fills_up(vtest_clip: Path, small_disk: Path, tmp_path: Path) -> None:
    done = videodisco("run", vtest_clip, "--save", "--project", small_disk, *PLAIN, cwd=tmp_path)
    assert done.code == 5
    assert "Traceback" not in done.err
    assert re.search(r"cannot write .*: no space left on device; free some space", done.err)
    folder = small_disk / "run"
    lines = (folder / "predictions.jsonl").read_bytes()
    assert lines.endswith(b"\n"), "no torn line"
    frames = [json.loads(line)["frame"] for line in lines.splitlines()]
    assert frames == list(range(len(frames)))
    recorded = clips.decode(folder / "annotated.mp4")
    assert len(recorded) > 50, "what was recorded before plays"

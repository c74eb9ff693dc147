"""Runs that collect pictures to learn from and ask the cloud, as a user switches that on."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.commands import command, environment, videodisco

pytestmark = pytest.mark.slow

PATIENCE_S = 90.0


def configuration(folder: Path, **more: Any) -> Path:
    content = {
        "dataset": {"enabled": True, "what": "crops", "sampling_strategies": [{"name": "all", "type": "random"}]},
        "escalation": {"enabled": True, "policy": {"confidence_high": 1.0, "min_sharpness": 0, "settle_s": 0.2}},
        "mlflow": {"enabled": False},
        "defaults": {"motion": "off"},
        **more,
    }
    path = folder / "c.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def something_was_asked(folder: Path) -> bool:
    path = folder / "runs" / "run" / "decisions.jsonl"
    written = path.read_text(encoding="utf-8").rpartition("\n")[0] if path.exists() else ""
    return any(json.loads(line)["decision"] != "refuse" for line in written.splitlines())


def kept_pictures(folder: Path) -> list[Path]:
    return list((folder / "runs" / "dataset").rglob("*.jpg"))


def assert_all_is_there(folder: Path) -> None:
    assert something_was_asked(folder), "something was worth a question"
    kept = kept_pictures(folder)
    assert kept
    (manifest,) = (folder / "runs" / "dataset").rglob("*.db")
    with sqlite3.connect(manifest) as connection:
        (count,) = connection.execute("SELECT count(*) FROM samples").fetchone()
    assert count == len(kept)
    summary = json.loads((folder / "runs" / "run" / "summary.json").read_text(encoding="utf-8"))
    lines = (folder / "runs" / "run" / "decisions.jsonl").read_text(encoding="utf-8").splitlines()
    decisions = [json.loads(line)["decision"] for line in lines]
    assert summary["escalation"]["would_send"] == decisions.count("would_send") > 0
    assert summary["escalation"]["decided"] == len(decisions)
    assert summary["dataset"]["kept"] == summary["dataset"]["holds"]["samples"] == count
    assert len(summary["dataset"]["holds"]["digest"]) == 64


def test_a_run_keeps_pictures_and_reports_what_it_would_have_asked(bikes_clip: Path, tmp_path: Path) -> None:
    ended = videodisco("run", bikes_clip, "--config", configuration(tmp_path, end_s=2), cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert_all_is_there(tmp_path)
    assert "the cloud would have been asked about" in ended.out
    assert "pictures were kept for the data set" in ended.out


def test_so_does_one_that_watches_a_camera(bikes_clip: Path, tmp_path: Path) -> None:
    """For as long as this machine needs to look at something often enough to ask about it."""
    config = configuration(tmp_path, realtime=True)
    with subprocess.Popen(
        command("run", bikes_clip, "--config", config, "--loop"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            deadline_s = time.monotonic() + PATIENCE_S
            while not (something_was_asked(tmp_path) and kept_pictures(tmp_path)):
                assert running.poll() is None
                assert time.monotonic() < deadline_s
                time.sleep(0.1)
            running.send_signal(signal.SIGINT)
            _, said = running.communicate()
        finally:
            running.kill()
    assert running.returncode == 130, said
    assert_all_is_there(tmp_path)

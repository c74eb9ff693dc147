"""Runs that collect pictures to learn from and ask the cloud, as a user switches that on."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
import yaml

from tests.commands import videodisco

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("realtime", [False, True], ids=["as a file", "as a camera"])
def test_a_run_keeps_pictures_and_reports_what_it_would_have_asked(
    bikes_clip: Path, tmp_path: Path, realtime: bool
) -> None:
    config = tmp_path / "c.yaml"
    content = {
        "dataset": {"enabled": True, "what": "crops", "sampling_strategies": [{"name": "all", "type": "random"}]},
        "escalation": {"enabled": True, "policy": {"confidence_high": 1.0, "min_sharpness": 0, "settle_s": 0.2}},
        "mlflow": {"enabled": False},
        "realtime": realtime,
        "end_s": 6,
    }
    config.write_text(yaml.safe_dump(content), encoding="utf-8")
    ended = videodisco("run", bikes_clip, "--config", config, "--motion", "off", cwd=tmp_path)
    assert ended.code == 0, ended.err
    lines = (tmp_path / "runs" / "run" / "decisions.jsonl").read_text(encoding="utf-8").splitlines()
    assert any(json.loads(line)["decision"] != "refuse" for line in lines), "something was worth a question"
    kept = list((tmp_path / "runs" / "dataset").rglob("*.jpg"))
    assert kept
    (manifest,) = (tmp_path / "runs" / "dataset").rglob("*.db")
    with sqlite3.connect(manifest) as connection:
        (count,) = connection.execute("SELECT count(*) FROM samples").fetchone()
    assert count == len(kept)

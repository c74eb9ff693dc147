"""What a run writes down of itself besides its results."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import cast

from edge.config import RunSettings
from edge.detector import OnnxDetector
from edge.run_folder import RunFolder
from edge.run_log import RunLog
from stream.config import build
from stream.frame import ModelIdentity


def test_the_moment_of_a_swap_is_written_as_in_all_files(tmp_path: Path) -> None:
    settings = build(RunSettings, {"mlflow": {"enabled": False}}, origin="a test")
    log = RunLog(settings, RunFolder(tmp_path, "hash"), cast("OnnxDetector", None))
    log.swapped("gate", ModelIdentity("old", "1", "aa"), ModelIdentity("new", "2", "bb"), "it was asked for")
    (line,) = map(json.loads, (tmp_path / "swaps.jsonl").read_text(encoding="utf-8").splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    assert (line["camera"], line["from"]["name"], line["to"]["name"]) == ("gate", "old", "new")

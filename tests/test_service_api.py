"""The whole interface under a fuzzer: no 5xx but those documented, no hang, documented answers only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import clips
from tests.clips import Clip
from tests.conftest import missing
from tests.service_runs import Serving

# Moving pictures never end, and WebSockets are no plain requests. A configuration, a camera and a line through a
# picture can be wrong in more ways than a schema can say; numbers stand for truth values there, as in YAML. Where a
# list goes on is nothing to be made up. In a form
# null is a text like any other, and so is every picture.
_CONFIGURATION = """
[[operations]]
include-path-regex = "live"
enabled = false

[[operations]]
include-method = "GET"
include-path-regex = "cameras/{name}"
parameters = { name = "yard" }

[[operations]]
include-name = ["GET /events", "GET /recordings"]
checks.positive_data_acceptance.enabled = false

[[operations]]
include-name = ["PUT /config", "POST /cameras", "PATCH /cameras/{name}"]
checks.positive_data_acceptance.enabled = false
checks.negative_data_rejection.enabled = false

[[operations]]
include-name = ["POST /detect", "POST /v1/vision/detection"]
checks.positive_data_acceptance.enabled = false
checks.negative_data_rejection.enabled = false
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_fuzzer_meets_documented_answers_only(tmp_path: Path) -> None:
    try:
        import schemathesis
    except ImportError:
        missing("schemathesis", "install the dev extra")
    clip = clips.write_clip(tmp_path / "yard.mp4", Clip(frames=50))
    (tmp_path / "schemathesis.toml").write_text(_CONFIGURATION)
    content = {
        # what its pictures show is not the question
        "cameras": {"yard": {"source": str(clip), "loop": True, "detect_fps": 1}},
        "serve": {"http": {"limits": {"requests_per_minute": 0}}},
    }
    with Serving(tmp_path, content) as service:
        schemathesis.openapi.from_dict(service.get("/openapi.json").json).validate()
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{service.url}/openapi.json"]
        command += ["--phases", "coverage,fuzzing", "--max-examples", "5", "--seed", "7", "--no-color"]
        command += ["--request-timeout", "60", "--generation-database", "none"]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
        assert ended.returncode == 0, ended.stdout[-8000:]
        assert service.get("/healthz").status == 200

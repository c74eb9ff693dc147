"""What README and docs/http.md tell people to type works as it is printed there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.service_runs import WAIT_S, Serving, encoded, frame_of, until

pytestmark = pytest.mark.slow

HOME = Path(__file__).parent.parent
PAGES = (HOME / "README.md", HOME / "docs" / "http.md")
PRINTED = "http://127.0.0.1:8080"

# As printed, but that a refusal is a failure, and nothing else is said.
_SHELL = 'set -e; curl() { command curl --silent --show-error --fail-with-body --max-time 60 "$@"; }; '


def examples() -> list[str]:
    """All commands of the pages that begin with curl, with the lines that continue them."""
    blocks = [block for page in PAGES for block in re.findall(r"(?s)```\w*\n(.*?)```", page.read_text())]
    return [found.strip() for block in blocks for found in re.findall(r"(?m)^curl (?:.*\\\n)*.*$", block)]


EXAMPLES = examples()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, bikes_clip: Path) -> Iterator[Serving]:
    if shutil.which("curl") is None:
        missing("curl", "install curl")
    gate = {"source": str(bikes_clip), "loop": True, "motion": "off"}
    content = {"cameras": {"gate": gate}, "serve": {"images": {"deadline_s": WAIT_S}}}
    with Serving(tmp_path_factory.mktemp("serve"), content) as running:
        until(lambda: running.get("/cameras/gate").json["age_ms"] is not None)
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, bikes_clip: Path) -> Path:
    """Where somebody has the pictures that the examples name."""
    found = tmp_path_factory.mktemp("pictures")
    picture = frame_of(bikes_clip, 100)
    for name in ("street.jpg", "one.jpg", "two.png"):
        (found / name).write_bytes(encoded(picture, Path(name).suffix))
    return found


def test_there_are_examples_of_each_kind() -> None:
    asked = {re.sub(r"\?.*", "", address) for each in EXAMPLES for address in re.findall(rf"{PRINTED}(/[^\s']*)", each)}
    assert {"/detect", "/cameras", "/cameras/gate/snapshot.jpg", "/cameras/gate/recording", "/events"} <= asked
    assert all(PRINTED in each for each in EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_works_as_printed(
    example: str, service: Serving, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # how fast this machine is just now is not the question
    monkeypatch.setattr("edge.swap.is_too_slow", lambda new_s, old_s: False)
    monkeypatch.setattr("edge.cameras.swaps.is_too_slow", lambda new_s, old_s: False)
    monkeypatch.setattr("edge.service.live.SNAPSHOT_WITHIN_S", WAIT_S)
    before = set(folder.iterdir())
    command = ["bash", "-c", _SHELL + example.replace(PRINTED, service.url)]
    environment = {"PATH": "/usr/bin:/bin", "VIDEODISCO_TOKEN": "unused-where-nobody-asks"}
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    made = set(folder.iterdir()) - before
    assert all(path.read_bytes()[:2] == b"\xff\xd8" for path in made if path.suffix == ".jpg")
    if " -o " not in example and ended.stdout:
        answer = json.loads(ended.stdout)
        if "/detect" in example:
            answers = answer if isinstance(answer, list) else [answer]
            assert len(answers) == max(1, example.count("-F file="))
            assert all(each["image"]["width"] == 640 for each in answers)

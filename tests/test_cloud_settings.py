"""The refiner's settings: the example, the command line over a file, and tokens that nobody prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cloud.config import CloudSettings, with_token
from cloud.samples import is_sampled
from cloud.serving import read_settings
from edge.cli.config import REFINERS_KEYS
from edge.config import RunSettings
from stream import wire
from stream.config import build, load_yaml
from stream.errors import UsageError
from tests.commands import in_process

EXAMPLE = Path(__file__).parent.parent / "configs" / "cloud.yaml"
TOKEN = "of-the-command-line"  # noqa: S105 - a test's own


def test_the_example_is_valid_and_says_the_defaults() -> None:
    example = build(CloudSettings, load_yaml(EXAMPLE), origin=str(EXAMPLE))
    assert example.model_copy(update={"mlflow": CloudSettings().mlflow}) == CloudSettings()


def test_options_lie_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cloud.yaml"
    path.write_text("http: {port: 9000, host: 127.0.0.2}\nbatches: {max_size: 4}\n")
    options = {"http": {"port": 9001, "host": None}, "batches": {"max_size": None}, "name": "other"}
    settings = read_settings(path, options, TOKEN)
    assert (settings.http.port, settings.http.host) == (9001, "127.0.0.2")
    assert settings.batches.max_size == 4
    assert settings.name == "other"
    assert [token.name for token in settings.http.tokens] == ["command line"]


def test_a_token_that_is_in_the_file_already_is_no_second_one() -> None:
    values = {"http": {"tokens": [{"name": "gate", "token": TOKEN}]}}
    settings = build(CloudSettings, with_token(values, TOKEN), origin="the test")
    assert [token.name for token in settings.http.tokens] == ["gate"]


def test_a_request_of_the_most_items_is_within_the_limits() -> None:
    narrow = build(CloudSettings, {"http": {"limits": {"sockets": 9}}}, origin="the test")
    assert narrow.http.limits.parts == wire.MAX_ITEMS + 1
    assert narrow.http.limits.body_bytes >= wire.LIMITS.max_body_bytes


@pytest.mark.parametrize(
    ("refiner", "words"),
    [
        ({"kind": "endpoint"}, "belong together"),
        ({"endpoint": {"url": "http://host/"}}, "belong together"),
        ({"endpoint": {"url": "http://host/"}, "kind": "endpoint", "finer_names": {"car": ["van"]}}, "says itself"),
        ({"kind": "detector"}, "name the detector"),
        ({"std": [1, 0, 1]}, "divided by 0"),
        ({"top_k": 21}, "top_k"),
        ({"colour": "red"}, "unknown key"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_makes_no_sense_is_refused(refiner: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build(CloudSettings, {"refiner": refiner}, origin="the test")


def test_a_sample_is_the_same_at_any_time_and_as_large_as_asked_for() -> None:
    keys = [f"key-{number:08}" for number in range(20_000)]
    chosen = [key for key in keys if is_sampled(key, 0.05)]
    assert 800 < len(chosen) < 1200
    assert chosen == [key for key in keys if is_sampled(key, 0.05)]
    assert not any(is_sampled(key, 0.0) for key in keys)
    assert all(is_sampled(key, 1.0) for key in keys)


def test_check_says_whether_a_file_is_valid_and_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    told = in_process(capsys, "cloud", "--config", EXAMPLE, "--check")
    assert (told.code, told.out, told.err) == (0, f"{EXAMPLE} is valid\n", "")
    (tmp_path / "bad.yaml").write_text("refiner: {kind: oracle}\nbatchs: {}\n")
    told = in_process(capsys, "cloud", "--config", "bad.yaml", "--check")
    assert told.code == 2
    assert "bad.yaml: refiner.kind" in told.sentence
    assert "'batchs'" in told.sentence
    (tmp_path / "open.yaml").write_text("http: {host: 0.0.0.0}\n")
    assert in_process(capsys, "cloud", "--config", "open.yaml", "--check").code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.yaml", "open.yaml"]


def test_schema_is_that_of_the_settings(capsys: pytest.CaptureFixture[str]) -> None:
    told = in_process(capsys, "cloud", "--schema")
    assert told.code == 0
    assert json.loads(told.out) == CloudSettings.model_json_schema()


def test_the_edges_check_of_a_refiners_file_says_who_checks_it(capsys: pytest.CaptureFixture[str]) -> None:
    told = in_process(capsys, "config", "validate", EXAMPLE)
    assert told.code == 2
    assert told.sentence.endswith(f"; a file of the refiner is checked by videodisco cloud --config {EXAMPLE} --check")


def test_the_edge_knows_the_refiners_keys() -> None:
    assert set(CloudSettings.model_fields) - set(RunSettings.model_fields) == REFINERS_KEYS

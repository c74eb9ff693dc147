"""The refiner's settings: the example, the command line over a file, and tokens that nobody prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cloud.config import CloudSettings, with_token
from cloud.samples import is_sampled
from cloud.serving import read_settings
from stream import wire
from stream.config import build, load_yaml
from stream.errors import UsageError

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

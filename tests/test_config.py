"""Settings: what is refused, with which words, and what comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from edge.cli.options import overlay_options
from edge.config import RunSettings
from stream.config import build, fingerprint, load_yaml, to_yaml
from stream.errors import UsageError
from videodisco import main

ROOT = Path(__file__).parent.parent


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_settings_survive_being_written_and_read(tmp_path: Path) -> None:
    settings = build(RunSettings, {"sources": ["a.mp4"], "detector": {"classes": ["person"]}}, origin="test")
    again = build(RunSettings, load_yaml(write(tmp_path, to_yaml(settings))), origin="test")
    assert again == settings
    assert fingerprint(again) == fingerprint(settings)
    assert fingerprint(RunSettings()) != fingerprint(settings)


def test_variables_are_filled_in_everywhere(tmp_path: Path) -> None:
    path = write(tmp_path, "sources: ['${CLIPS}/a.mp4', b.mp4]\nmlflow: {uri: 'http://${HOST}:5000'}\n")
    assert load_yaml(path, {"CLIPS": "/data", "HOST": "lab"}) == {
        "sources": ["/data/a.mp4", "b.mp4"],
        "mlflow": {"uri": "http://lab:5000"},
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sources: [", "not valid YAML in line"),
        ("- a\n- b\n", "must hold a mapping"),
        ("\tx: 1", "not valid YAML"),
        ("x: 2026-99-99", "month must be"),
        ("a: &a [1]\nb: *a", "aliases .* cannot be used"),
        ("a: " + "[" * 5000, "not valid YAML"),
        ("mlflow: {uri: '${NOWHERE}'}", "no variable NOWHERE"),
    ],
)
def test_a_broken_file_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        load_yaml(write(tmp_path, text), {})
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"cannot read the configuration nowhere\.yaml: No such file"):
        load_yaml(Path("nowhere.yaml"))


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert build(RunSettings, load_yaml(write(tmp_path, "")), origin="test") == RunSettings()


def test_every_wrong_key_is_named_with_its_place() -> None:
    with pytest.raises(UsageError) as caught:
        build(RunSettings, {"detector": {"confidance": 1, "iou": 7}, "trackr": "x"}, origin="my.yaml")
    message = str(caught.value)
    assert message.startswith("my.yaml: ")
    for words in (
        "unknown key 'detector.confidance'",
        "detector.iou",
        "less than or equal to 1",
        "unknown key 'trackr'",
    ):
        assert words in message


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        RunSettings().vid_stride = 3  # type: ignore[misc]  # that it is refused is the point


def test_options_win_over_the_file_and_leave_the_rest(tmp_path: Path) -> None:
    path = write(tmp_path, yaml.safe_dump({"sources": ["a.mp4"], "detector": {"iou": 0.4, "confidence": 0.7}}))
    settings = overlay_options(path, {"sources": None, "detector": {"confidence": 0.2, "iou": None}, "vid_stride": 2})
    assert settings.sources == ("a.mp4",)
    assert (settings.detector.confidence, settings.detector.iou, settings.vid_stride) == (0.2, 0.4, 2)


def test_no_message_shows_what_else_was_set() -> None:
    values = {"start_s": 5, "end_s": 2, "mlflow": {"uri": "http://u:secret@host", "enabled": "perhaps"}}
    with pytest.raises(UsageError) as caught:
        build(RunSettings, {**values, "mlflow": {"uri": "http://u:secret@host"}}, origin="test")
    assert str(caught.value) == "test: end_s (2) must be after start_s (5)"
    with pytest.raises(UsageError, match=r"mlflow.enabled: .* \(got 'perhaps'\)"):
        build(RunSettings, values, origin="test")


def test_a_secret_in_a_wrong_value_is_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "a.mp4", "--device", "http://u:secret@host"]) == 2
    said = capsys.readouterr().err
    assert "device" in said
    assert "secret" not in said


@pytest.mark.parametrize("word", ["off", "on", "yes", "no", "Off"])
def test_words_of_english_are_words_and_only_true_and_false_are_truth_values(tmp_path: Path, word: str) -> None:
    read = load_yaml(write(tmp_path, f"word: {word}\n{word}: 1\ntruth: [true, False]"), {})
    assert read == {"word": word, word: 1, "truth": [True, False]}


def test_classes_may_be_numbers() -> None:
    settings = build(RunSettings, {"detector": {"classes": [0, "person"]}}, origin="test")
    assert settings.detector.classes == ("0", "person")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"dataset": {"sampling_strategies": [{"type": "random"}]}}, "dataset.sampling_strategies.0.random.name"),
        ({"dataset": {"sampling_strategies": [{"name": "all"}]}}, "it needs the key 'type'"),
        ({"detector": {"classes": "car"}}, "detector.classes: input should be a list (got 'car')"),
        ({"dataset": {"sampling_strategies": []}}, "list should have at least 1 item"),
    ],
)
def test_a_wrong_list_is_one_problem_in_words_of_yaml(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(RunSettings, values, origin="my.yaml")
    message = str(caught.value)
    assert said in message
    assert ";" not in message
    assert "uple" not in message


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 1e8])
@pytest.mark.parametrize("key", ["start_s", "end_s"])
def test_a_time_is_a_number_that_can_be_reached(key: str, value: float) -> None:
    with pytest.raises(UsageError, match=key):
        build(RunSettings, {key: value}, origin="test")


@pytest.mark.parametrize("key", ["confidence", "iou"])
def test_a_share_is_a_number(key: str) -> None:
    with pytest.raises(UsageError, match=key):
        build(RunSettings, {"detector": {key: float("nan")}}, origin="test")

"""Classes and zones that a configuration names: one that is not there is refused, for it would do nothing unseen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge.class_words import check_camera, check_run, class_number
from edge.config import RunSettings
from stream.config import build
from stream.errors import UsageError
from tests import clips
from tests.clips import Clip
from videodisco import main

NAMES = ("person", "car", "Traffic Light")
ZONE = {"name": "door", "points": [[0, 0], [1, 0], [1, 1]]}


def settings(**values: Any) -> RunSettings:
    return build(RunSettings, values, origin="test")


def with_camera(**values: Any) -> RunSettings:
    return settings(cameras={"yard": {"source": "rtsp://yard", **values}})


@pytest.mark.parametrize(("word", "number"), [("car", 1), ("CAR", 1), ("traffic light", 2), ("0", 0)])
def test_a_class_is_called_by_its_name_in_any_case_or_its_number(word: str, number: int) -> None:
    assert class_number(word, NAMES) == number


def test_a_model_without_names_has_numbers() -> None:
    assert class_number("7", ()) == 7


@pytest.mark.parametrize(
    ("own", "place"),
    [
        ({"zones": [ZONE | {"classes": ["persn"]}]}, "camera 'yard', zone 'door'"),
        (
            {"lines": [{"name": "gate", "start": [0, 0], "end": [1, 1], "classes": ["persn"]}]},
            "camera 'yard', line 'gate'",
        ),
        ({"events": {"classes": ["persn"]}}, "camera 'yard', events.classes"),
        ({"escalate": {"deny": ["persn"]}}, "camera 'yard', escalate.deny"),
        ({"escalate": {"always_analyze": ["persn"]}}, "camera 'yard', escalate.always_analyze"),
    ],
)
def test_a_camera_names_classes_of_its_model(own: dict[str, Any], place: str) -> None:
    camera = with_camera(**own).cameras["yard"]
    with pytest.raises(UsageError) as caught:
        check_camera("yard", camera, NAMES)
    assert str(caught.value) == f"{place}: there is no class 'persn'; did you mean person?"
    check_camera("yard", camera, ("persn",))


@pytest.mark.parametrize("key", ["deny", "classes", "always_analyze"])
def test_what_holds_for_all_cameras_is_known_to_one_of_their_models(key: str) -> None:
    run = settings(escalation={"enabled": True, "policy": {key: ["persn"]}})
    with pytest.raises(UsageError, match=rf"escalation\.policy\.{key}: there is no class 'persn'; did you mean person"):
        check_run(run, [NAMES, ("person",)])
    check_run(run, [NAMES, ("persn",)])


def test_a_data_set_s_classes_are_checked_where_it_is_kept() -> None:
    strategy = {"type": "classes_based", "name": "cars", "selected_class_names": ["carr"]}
    run = settings(dataset={"enabled": True, "sampling_strategies": [strategy]})
    with pytest.raises(UsageError, match="strategy 'cars': there is no class 'carr'; did you mean car"):
        check_run(run, [NAMES])
    check_run(settings(dataset={"enabled": False, "sampling_strategies": [strategy]}), [NAMES])


def test_a_zone_to_ask_about_is_one_of_the_camera() -> None:
    with pytest.raises(UsageError, match=r"escalate\.zones names 'gate', which is no zone of this camera .there: door"):
        with_camera(zones=[ZONE], escalate={"zones": ["gate"]})
    with_camera(zones=[ZONE], escalate={"zones": ["door"]})


def test_a_zone_that_all_may_ask_about_is_one_of_some_camera() -> None:
    policy = {"enabled": True, "policy": {"zones": ["gate"]}}
    cameras = {"yard": {"source": "rtsp://yard", "zones": [ZONE]}}
    with pytest.raises(UsageError, match=r"escalation\.policy\.zones names 'gate'"):
        settings(escalation=policy, cameras=cameras)
    cameras["street"] = {"source": "rtsp://street", "zones": [ZONE | {"name": "gate"}]}
    settings(escalation=policy, cameras=cameras)


def test_a_camera_s_own_band_is_looked_at_with_the_run_s() -> None:
    with pytest.raises(UsageError, match=r"cameras\.yard\.escalate: confidence_low \(0\.9\) must not be above"):
        with_camera(escalate={"confidence_low": 0.9})


@pytest.mark.parametrize("live", [False, True])
def test_a_class_that_must_never_leave_and_is_not_there_ends_the_run_before_it_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, live: bool
) -> None:
    clip = clips.write_clip(tmp_path / "a.mp4", Clip(frames=3, width=64, height=64))
    config = tmp_path / "run.yaml"
    config.write_text("escalation: {enabled: true, policy: {deny: [persn]}}\nmlflow: {enabled: false}\n")
    command = ["run", str(clip), "--config", str(config), "--project", str(tmp_path / "runs")]
    assert main([*command, *(["--realtime"] if live else [])]) == 2
    assert "escalation.policy.deny: there is no class 'persn'; did you mean person?" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()

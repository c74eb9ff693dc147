"""Cameras in the configuration: defaults under them, mistakes by their place, names for those that have none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge.cameras.listing import cameras_of, wants_cameras
from edge.config import RunSettings
from stream.config import build, load_yaml
from stream.errors import SourceError, UsageError

CONFIGS = Path(__file__).parent.parent / "configs"
SECRETS = dict.fromkeys(
    ("CAMERA_URL", "FRONT_URL", "DRIVE_URL", "GARDEN_URL", "SHOP_URL"), "rtsp://user:pa55@camera/stream"
)


def settings(**values: Any) -> RunSettings:
    return build(RunSettings, values, origin="the test")


@pytest.mark.parametrize(
    "path", sorted(path for path in CONFIGS.glob("*.yaml") if path.name != "cloud.yaml"), ids=lambda path: path.name
)
def test_every_example_is_valid(path: Path) -> None:
    build(RunSettings, load_yaml(path, SECRETS | {"VIDEO": "street.mp4"}), origin=str(path))


def test_defaults_lie_under_each_camera_key_by_key() -> None:
    found = settings(
        defaults={"detect_fps": 5, "record": {"mode": "events", "pre_roll_s": 3}, "classes": ["person", "car"]},
        cameras={
            "a": {"source": "rtsp://a/1", "detect_fps": 2, "classes": ["dog"]},
            "b": {"source": "rtsp://b/1", "record": {"mode": "continuous"}},
        },
    ).cameras
    assert (found["a"].detect_fps, found["a"].classes, found["a"].record.mode) == (2, ("dog",), "events")
    assert (found["b"].detect_fps, found["b"].record.mode, found["b"].record.pre_roll_s) == (5, "continuous", 3)


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"cameras": {"a": {"source": "rtsp://a", "detect_fsp": 5}}}, "unknown key 'cameras.a.detect_fsp'"),
        ({"cameras": {"a": {"detect_fps": 5}}}, "cameras.a.source"),
        ({"cameras": {"a/b": {"source": "rtsp://a"}}}, "cameras.a/b"),
        ({"cameras": {"a": {"source": "rtsp://a", "detect_fps": -1}}}, "cameras.a.detect_fps"),
        (
            {"cameras": {"a": {"source": "rtsp://a", "zones": [{"name": "z", "points": [[0, 0], [2, 2]]}]}}},
            "cameras.a.z",
        ),
        ({"cameras": {"a": "rtsp://a"}}, "cameras.a"),
        ({"defaults": {"motoin": "auto"}}, "unknown key 'defaults.motoin'"),
    ],
)
def test_a_mistake_is_named_by_its_place(values: dict[str, Any], place: str) -> None:
    with pytest.raises(UsageError, match=place.replace(".", r"\.")) as caught:
        settings(**values)
    assert "pa55" not in str(caught.value)


@pytest.mark.parametrize("other", ["yard_1", "Yard.1", "yard.1 "])
def test_two_cameras_never_share_a_folder(other: str) -> None:
    """One of them could not be recorded: the other holds the lock."""
    with pytest.raises(UsageError, match=rf"cameras 'yard\.1' and '{other}' would share a folder"):
        settings(cameras={"yard.1": {"source": "rtsp://a"}, other: {"source": "rtsp://b"}})
    assert settings(cameras={"yard.1": {"source": "rtsp://a"}, "yard-1": {"source": "rtsp://b"}}).cameras


def test_a_wrong_value_beside_a_password_does_not_show_it() -> None:
    with pytest.raises(UsageError) as caught:
        settings(cameras={"a": {"source": "rtsp://u:pa55@a", "motion": "maybe"}})
    assert "pa55" not in str(caught.value)


def test_a_wrong_secret_is_not_repeated() -> None:
    with pytest.raises(UsageError, match=r"cameras\.a\.source") as caught:
        settings(cameras={"a": {"source": ["pa55"]}}, mqtt={"host": "b", "user": "u", "password": ["pa55"]})
    assert "pa55" not in str(caught.value)


def test_an_event_can_only_ask_for_zones_there_are() -> None:
    with pytest.raises(UsageError, match="no zone of this camera"):
        settings(cameras={"a": {"source": "rtsp://a", "events": {"zones": ["door"]}}})


def test_cameras_on_the_command_line_are_named_after_their_hosts() -> None:
    found = cameras_of(settings(sources=["rtsp://u:pa55@yard/main", "rtsp://u:pa55@yard/main", "0"]))
    assert list(found) == ["yard-main", "yard-main_2", "webcam0"]
    assert found["yard-main"].source == "rtsp://u:pa55@yard/main"


def test_options_for_all_cameras_reach_those_of_the_command_line() -> None:
    found = cameras_of(settings(sources=["rtsp://yard/main"], defaults={"detect_fps": 3, "motion": "off"}))
    assert (found["yard-main"].detect_fps, found["yard-main"].motion) == (3, "off")


def test_files_are_cameras_only_when_they_are_asked_to_play_so(tmp_path: Path) -> None:
    clip = tmp_path / "street.mp4"
    clip.touch()
    assert not wants_cameras(settings(sources=[str(clip)]))
    assert list(cameras_of(settings(sources=[str(clip)], realtime=True))) == ["street.mp4"]
    with pytest.raises(UsageError, match="--realtime"):
        cameras_of(settings(sources=[str(clip), "rtsp://yard/main"]))


def test_a_list_of_addresses_is_a_list_of_cameras(tmp_path: Path) -> None:
    written = tmp_path / "all.streams"
    written.write_text("# ours\nrtsp://one/a\n\nrtsp://two/b\n", encoding="utf-8")
    found = settings(sources=[str(written)])
    assert wants_cameras(found)
    assert list(cameras_of(found)) == ["one-a", "two-b"]


def test_an_address_that_can_be_none_is_said_before_anything_begins() -> None:
    with pytest.raises(SourceError, match="gopher"):
        cameras_of(settings(cameras={"a": {"source": "gopher://a/b"}}))

"""events.jsonl, the snapshots, and what publishers and recordings are told."""

from __future__ import annotations

import inspect
import json
import logging
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.events.settings import EventSettings
from edge.events.sink import EventsSink
from edge.events.snapshots import newest_pictures
from stream.errors import SinkError
from stream.frame import FrameResult, Pixels, Refinement
from stream.sinks.base import Sink
from stream.sinks.rotation import Rotation
from tests.events import BLANK, STARTED_AT, Clips, Heard, Suffixes, frame, standing_at, zone
from tests.results import source

HERE, THERE = standing_at(100, 100), standing_at(200, 200)


def sink_for(folder: Path, *publishers: Heard, clips: Clips | None = None, **known: Any) -> EventsSink:
    settings = EventSettings(**{"min_hits": 1, "snapshots": False, **known})
    return EventsSink(folder, settings, publishers, clips, wall_clock=lambda: STARTED_AT, new_suffix=Suffixes())


def written(sink: EventsSink, *results: FrameResult, name: str = "cam1") -> None:
    sink.open(source(name))
    for each in results:
        sink.write(each)
    sink.close()


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_line_is_exactly_as_agreed(tmp_path: Path) -> None:
    said = Refinement(label="courier", confidence=0.81234, model="lite0")
    first = frame(10, {7: (90, 60.123, 110, 100)}, confidence=0.91239, zones=(zone("yard", 7),), refined={7: said})
    written(sink_for(tmp_path, clips=Clips(tmp_path / "clips")), first, frame(15, {7: HERE}))
    new, update, end = lines(tmp_path)
    assert new == {
        "type": "new",
        "id": "1700000001000-s1",
        "sequence": 1,
        "camera": "cam1",
        "class": "person",
        "track_id": 7,
        "confidence": 0.9124,
        "bbox": [90.0, 60.12, 110.0, 100.0],
        "latest_confidence": 0.9124,
        "latest_bbox": [90.0, 60.12, 110.0, 100.0],
        "width": 320,
        "height": 240,
        "start_time": "2023-11-14T22:13:21.000Z",
        "latest_time": "2023-11-14T22:13:21.000Z",
        "end_time": None,
        "zones": ["yard"],
        "entered_zones": ["yard"],
        "stationary": False,
        "refined": {"label": "courier", "confidence": 0.8123, "model": "lite0"},
        "snapshot": None,
        "snapshot_bbox": None,
        "clip": "clips/1700000001000-s1.mp4",
    }
    assert (update["type"], update["zones"], update["sequence"]) == ("update", [], 2)
    assert (end["type"], end["sequence"], end["end_time"]) == ("end", 3, "2023-11-14T22:13:21.500Z")


def test_a_source_with_a_start_is_dated_by_it(tmp_path: Path) -> None:
    sink = sink_for(tmp_path)
    sink.open(source(started_at=1_600_000_000.0))
    sink.write(frame(20, {1: HERE}))
    sink.close()
    assert lines(tmp_path)[0]["start_time"] == "2020-09-13T12:26:42.000Z"


def test_a_line_is_on_disk_when_the_change_is_told(tmp_path: Path) -> None:
    there: list[int] = []

    class Looking(Heard):
        def publish(self, change: object) -> None:
            there.append(len(lines(tmp_path)))

    written(sink_for(tmp_path, Looking()), frame(0, {1: HERE}), frame(1, {1: HERE, 2: THERE}))
    assert there == [1, 2, 4, 4]


def test_publishers_hear_each_change_with_what_was_told_before(tmp_path: Path) -> None:
    heard, also = Heard(), Heard()
    written(sink_for(tmp_path, heard, also), frame(0, {1: HERE}), frame(1, {1: HERE}, zones=(zone("yard", 1),)))
    assert [change.type.value for change in heard.changes] == ["new", "update", "end"]
    assert [change.before for change in heard.changes] == [None, heard.changes[0].event, heard.changes[1].event]
    assert also.changes == heard.changes


def test_a_recording_is_asked_in_time_and_named(tmp_path: Path) -> None:
    clips, heard = Clips(tmp_path / "elsewhere"), Heard()
    known = {"end_after_s": 1.0, "min_hits": 2}
    results = [frame(10, {1: HERE}), frame(12, {1: HERE}), *(frame(n) for n in range(13, 40))]
    written(sink_for(tmp_path / "run", heard, clips=clips, **known), *results)
    event_id = heard.changes[0].event.id
    assert clips.asked == [("hold", event_id, 1.0), ("release", event_id, 1.2)]
    assert heard.changes[-1].event.clip == str(tmp_path / "elsewhere" / f"{event_id}.mp4")


def test_a_camera_that_is_gone_ends_its_events_at_once(tmp_path: Path) -> None:
    heard = Heard()
    sink = sink_for(tmp_path, heard)
    sink.interrupt()  # before it was opened
    sink.open(source())
    sink.write(frame(0, {1: HERE}))
    sink.interrupt()
    assert [change.type.value for change in heard.changes] == ["new", "end"]
    assert [line["type"] for line in lines(tmp_path)] == ["new", "end"]
    sink.write(frame(1, {1: HERE}, epoch=1))
    sink.close()
    sink.interrupt()
    assert [change.type.value for change in heard.changes] == ["new", "end", "new", "end"]


SAID = Refinement("courier", 0.81, "lite0", "person")


def test_what_the_cloud_says_of_an_object_that_is_here_is_told_with_it(tmp_path: Path) -> None:
    heard = Heard()
    sink = sink_for(tmp_path, heard, update_every_s=0)
    sink.open(source())
    sink.write(frame(0, {1: HERE}))
    sink.refine(1, SAID)
    assert [change.type.value for change in heard.changes] == ["new"]
    sink.write(frame(1, {1: HERE}))
    sink.close()
    told = [(line["type"], line["refined"] and line["refined"]["label"]) for line in lines(tmp_path)]
    assert told == [("new", None), ("update", "courier"), ("end", "courier")]


@pytest.mark.parametrize("closed", [False, True], ids=["while the camera runs", "after its end"])
def test_an_answer_that_comes_after_an_event_is_told_of_it_once(tmp_path: Path, closed: bool) -> None:
    heard = Heard()
    sink = sink_for(tmp_path, heard, snapshots=True)
    sink.open(source())
    sink.write(frame(0, {1: HERE, 2: THERE}))
    sink.interrupt()
    sink.write(frame(1, {3: HERE}, epoch=1))  # another object in the same place
    if closed:
        sink.close()
    before = lines(tmp_path)
    for _ in range(2):
        sink.refine(1, SAID)
    sink.refine(2, Refinement("tabby", 0.9, "lite0", "cat"))  # asked about as another class than it is now
    sink.refine(99, SAID)
    added = lines(tmp_path)[len(before) :]
    ended = next(line for line in before if line["type"] == "end" and line["track_id"] == 1)
    refined = {"label": "courier", "confidence": 0.81, "model": "lite0"}
    assert added == [ended | {"type": "update", "sequence": ended["sequence"] + 1, "refined": refined}]
    assert heard.changes[-1].before is not None
    assert heard.changes[-1].before.refined is None


def test_of_events_that_are_over_the_last_may_still_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.events.sink.MOST_ENDED", 2)
    sink = sink_for(tmp_path)
    sink.open(source())
    for track_id in (1, 2, 3):
        sink.write(frame(track_id, {track_id: HERE}))
        sink.interrupt()
    count = len(lines(tmp_path))
    sink.refine(1, SAID)
    assert len(lines(tmp_path)) == count
    sink.refine(2, SAID)
    assert lines(tmp_path)[-1]["track_id"] == 2


def test_cameras_share_the_file(tmp_path: Path) -> None:
    sinks = [sink_for(tmp_path), sink_for(tmp_path)]
    for number, sink in enumerate(sinks):
        sink.open(source(f"cam{number}"))
    for n in range(50):
        for sink in sinks:
            sink.write(frame(n, {n: HERE}))
    for sink in sinks:
        sink.close()
    told = [(line["camera"], line["type"]) for line in lines(tmp_path)]
    assert sorted(set(told)) == [("cam0", "end"), ("cam0", "new"), ("cam1", "end"), ("cam1", "new")]
    assert {told.count(each) for each in told} == {50}


def test_a_large_file_is_begun_anew_for_all_cameras(tmp_path: Path) -> None:
    rotation = Rotation(max_bytes=5_000, keep=2)
    settings = EventSettings(min_hits=1, snapshots=False, end_after_s=0.2)
    sinks = [EventsSink(tmp_path, settings, rotation=rotation) for _ in range(2)]
    for sink in sinks:
        sink.open(source())
    for n in range(40):
        for sink in sinks:
            sink.write(frame(n, {n: HERE}))
    for sink in sinks:
        sink.close()
    parts = sorted(tmp_path.iterdir())
    assert [path.name for path in parts] == ["events.1.jsonl", "events.2.jsonl", "events.jsonl"]
    assert all(path.stat().st_size < 8_000 for path in parts)  # what is told together stays together
    assert all(json.loads(line) for path in parts for line in path.read_text().splitlines())


def test_it_has_the_shape_of_a_sink(tmp_path: Path) -> None:
    sink: Sink = sink_for(tmp_path)
    assert (sink.name, sink.optional) == ("events", True)
    for method in ("open", "write", "close"):
        own, agreed = inspect.signature(getattr(sink, method)), inspect.signature(getattr(Sink, method))
        assert list(own.parameters) == list(agreed.parameters)[1:]
    sink.close()  # without open
    assert list(tmp_path.iterdir()) == []


# Snapshots


def shown(path: Path) -> Pixels:
    picture = cv2.imread(str(path))
    assert picture is not None
    return np.asarray(picture, np.uint8)


def pictures(folder: Path) -> list[Path]:
    return sorted((folder / "snapshots").rglob("*.jpg"))


def test_a_snapshot_shows_the_event_and_nothing_else(tmp_path: Path) -> None:
    written(
        sink_for(tmp_path, snapshots=True, classes=("person",)),
        frame(0, {1: HERE, 2: THERE}, names=["person", "dog"], zones=(zone("yard"),)),
        name="front/door",
    )
    (path,) = pictures(tmp_path)
    new, end = lines(tmp_path)
    assert path == tmp_path / "snapshots" / "front_door" / "2023-11-14" / f"{new['id']}.jpg"
    assert new["snapshot"] == end["snapshot"] == path.relative_to(tmp_path).as_posix()
    assert new["snapshot_bbox"] == new["bbox"]
    drawn = shown(path)
    assert drawn.shape == (240, 320, 3)
    assert drawn[60:100, 88:92].max() > 100  # the box's left side
    assert drawn[150:, :].max() < 30  # neither the dog nor the zone
    assert BLANK.max() == 0


def test_a_snapshot_is_replaced_by_a_clearly_better_one_only(tmp_path: Path) -> None:
    sink = sink_for(tmp_path, snapshots=True)
    sink.open(source())

    def grey_after(index: int, grey: int, confidence: float, **known: Any) -> int:
        picture = np.full((240, 320, 3), grey, np.uint8)
        sink.write(frame(index, {1: HERE}, confidence=confidence, picture=picture, **known))
        (path,) = pictures(tmp_path)
        return int(round(float(shown(path)[200, 200].mean()), -1))

    assert grey_after(0, 50, 0.6) == 50
    assert grey_after(10, 100, 0.64) == 50
    assert grey_after(20, 150, 0.7) == 150
    assert grey_after(22, 200, 0.9) == 150  # too soon after
    assert grey_after(30, 250, 0.95, name="dog") == 150  # of what it is not
    assert grey_after(40, 200, 0.9) == 200
    sink.write(frame(50, {1: THERE}, confidence=0.92))
    sink.close()
    end = lines(tmp_path)[-1]
    assert end["bbox"] != end["snapshot_bbox"] == lines(tmp_path)[0]["bbox"], "where the picture shows it"
    assert not list(tmp_path.rglob("*.part"))


def test_without_a_picture_the_next_one_is_taken(tmp_path: Path) -> None:
    written(
        sink_for(tmp_path, snapshots=True),
        frame(0, {1: HERE}, picture=None),
        frame(1, {1: HERE}),
        frame(2, {1: HERE}, zones=(zone("yard", 1),)),
    )
    assert [line["snapshot"] is None for line in lines(tmp_path)] == [True, False, False]


def test_in_a_crowd_all_get_theirs_in_turn(tmp_path: Path) -> None:
    crowd = {n: standing_at(20 + 30 * n, 100) for n in range(8)}
    sink = sink_for(tmp_path, snapshots=True)
    sink.open(source())
    taken = []
    for n in range(4):
        sink.write(frame(n, crowd))
        taken.append(len(pictures(tmp_path)))
    sink.close()
    assert taken == [3, 6, 8, 8]


def test_pictures_are_wanted_while_there_is_something_to_see(tmp_path: Path) -> None:
    assert not sink_for(tmp_path).wants_picture
    sink = sink_for(tmp_path, snapshots=True, min_hits=3, end_after_s=0.5)
    assert sink.wants_picture
    assert not sink.wants_picture_now
    sink.open(source())
    wanted = []
    for n in range(12):
        sink.write(frame(n, {1: HERE} if n < 4 else {}))
        wanted.append(sink.wants_picture_now)
    sink.close()
    assert wanted == [True] * 9 + [False] * 3
    assert not sink.wants_picture_now


def test_old_days_are_removed_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "snapshots" / "cam1"
    for name in ("2023-11-01", "2023-11-11", "2023-11-14", "notes", "2022"):
        (folder / name).mkdir(parents=True)
        (folder / name / "a.jpg").touch()
    (tmp_path / "snapshots" / "cam2" / "2020-01-01").mkdir(parents=True)
    written(sink_for(tmp_path, snapshots=True, snapshots_keep_days=3), frame(0, {1: HERE}))
    assert sorted(path.name for path in folder.iterdir()) == ["2022", "2023-11-11", "2023-11-14", "notes"]
    assert (tmp_path / "snapshots" / "cam2" / "2020-01-01").is_dir()


# Failing disks


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    sink = sink_for(tmp_path / "file")
    with pytest.raises(
        SinkError, match=r"^cannot write .*file.events\.jsonl: .*; choose another folder with --project$"
    ):
        sink.open(source())
    sink.close()


def test_pictures_that_cannot_be_written_stop_nothing_and_are_told_at_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "snapshots").write_text("in the way")
    heard = Heard()
    sink = sink_for(tmp_path, heard, snapshots=True)
    with pytest.raises(SinkError, match=r"^cannot write .*snapshots"):
        written(sink, *(frame(n, {1: HERE}) for n in range(5)))
    assert [line["type"] for line in lines(tmp_path)] == ["new", "end"] == [each.type.value for each in heard.changes]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    sink.close()  # said once


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a small file system to fill")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_costs_lines_and_no_events_until_there_is_room(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heard = Heard()
    sink = sink_for(small_disk, heard, snapshots=True)
    sink.open(source())
    sink.write(frame(0, {0: HERE}))
    room = os.statvfs(small_disk)
    (small_disk / "ballast").write_bytes(bytes(room.f_bavail * room.f_frsize))
    for n in range(1, 40):
        sink.write(frame(n, {n: HERE}))
    assert len(heard.changes) == 40 + 9  # those missed for three seconds have ended by now
    (small_disk / "ballast").unlink()
    before = len(heard.changes)
    for n in range(40, 50):
        sink.write(frame(n, {n: HERE}))
    with pytest.raises(SinkError, match="no space left on device; free some space there"):
        sink.close()
    kept = lines(small_disk)
    told = [(change.event.id, change.type.value) for change in heard.changes]
    assert [(line["id"], line["type"]) for line in kept[-(len(told) - before) :]] == told[before:]
    assert len(kept) + sink.lost_lines == len(told)
    assert sink.lost_lines >= 20
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert len(caplog.records) <= 3
    assert all(cv2.imread(str(path)) is not None for path in pictures(small_disk))
    assert not re.search(r"\}\{", (small_disk / "events.jsonl").read_text())


def test_results_are_never_written_into(tmp_path: Path) -> None:
    each = frame(0, {1: HERE}, picture=np.zeros((240, 320, 3), np.uint8))
    assert each.frame.picture is not None
    each.frame.picture.setflags(write=False)
    each.detections.xyxy.setflags(write=False)
    written(sink_for(tmp_path, snapshots=True), each)


def test_the_newest_pictures_are_those_of_the_newest_events_of_all_cameras(tmp_path: Path) -> None:
    places = [
        "yard/2026-11-22/1795300000000-aa.jpg",
        "gate/2026-11-23/1795446940942-bb.jpg",
        "yard/2026-11-23/1795446951742-cc.jpg",
    ]
    for place in places:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    os.utime(tmp_path / places[0])  # written again last, of the oldest event
    assert newest_pictures(tmp_path, 2) == [tmp_path / places[2], tmp_path / places[1]]
    assert newest_pictures(tmp_path / "none", 2) == []

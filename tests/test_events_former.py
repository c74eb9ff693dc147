"""What the cloud says of events that were told of before this program was started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge.escalation.results import Verdict, answer_to
from edge.events.former import FormerEvents
from edge.events.settings import EventSettings
from edge.events.sink import EventsSink
from edge.lookouts import tell_record
from stream.frame import Refinement
from tests.escalation import lines, parcel
from tests.events import FPS, STARTED_AT, Heard, Suffixes, frame, standing_at
from tests.results import source

HERE = standing_at(100, 100)
SAID = Refinement("courier", 0.81, "lite0", "person")
WIRED = {"label": "courier", "confidence": 0.81, "model": "lite0"}


def life(folder: Path, started_at: float, *, killed: bool = False, track_id: int = 7) -> None:
    """A second of somebody before the camera, by one life of the program."""
    settings = EventSettings(min_hits=1, snapshots=False)
    sink = EventsSink(folder, settings, new_suffix=Suffixes())
    sink.open(source(started_at=started_at))
    for index in range(FPS):
        sink.write(frame(index, {track_id: HERE}))
    if not killed:
        sink.close()


def events(folder: Path) -> list[dict[str, Any]]:
    return lines(folder / "events.jsonl")


def test_the_time_tells_which_of_two_of_the_same_number_is_meant(tmp_path: Path) -> None:
    life(tmp_path, STARTED_AT)
    life(tmp_path, STARTED_AT + 100)
    life(tmp_path, STARTED_AT + 50, track_id=77)
    before, heard = events(tmp_path), Heard()
    FormerEvents(tmp_path, [heard]).refine("cam1", 7, STARTED_AT + 100.5, SAID)
    (added,) = events(tmp_path)[len(before) :]
    ended = next(each for each in before if each["type"] == "end" and each["start_time"] == added["start_time"])
    assert added == ended | {"type": "update", "sequence": 3, "refined": WIRED}
    assert ended["start_time"] == "2023-11-14T22:15:00.000Z"
    assert [change.event.id for change in heard.changes] == [ended["id"]]


def test_an_event_that_a_kill_cut_off_is_ended_with_its_name(tmp_path: Path) -> None:
    life(tmp_path, STARTED_AT, killed=True)
    FormerEvents(tmp_path, []).refine("cam1", 7, STARTED_AT + 0.9, SAID)
    new, end = events(tmp_path)
    assert (end["type"], end["id"], end["refined"]) == ("end", new["id"], WIRED)
    assert end["end_time"] == "2023-11-14T22:13:20.900Z"


@pytest.mark.parametrize(
    ("camera", "track_id", "at_s", "label"),
    [
        ("cam2", 7, 0.5, SAID),
        ("cam1", 8, 0.5, SAID),
        ("cam1", 7, 5.0, SAID),
        ("cam1", 7, -5.0, SAID),
        ("cam1", 7, 0.5, Refinement("tabby", 0.9, "lite0", "cat")),
    ],
    ids=["another camera", "another track", "after it", "before it", "another class"],
)
def test_nothing_is_said_of_others(tmp_path: Path, camera: str, track_id: int, at_s: float, label: Refinement) -> None:
    life(tmp_path, STARTED_AT)
    before = events(tmp_path)
    FormerEvents(tmp_path, []).refine(camera, track_id, STARTED_AT + at_s, label)
    assert events(tmp_path) == before


def test_it_is_said_once_and_torn_lines_do_no_harm(tmp_path: Path) -> None:
    life(tmp_path, STARTED_AT)
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"camera":"cam1","track_id":7,"id":\n')
    record = FormerEvents(tmp_path, [])
    for _ in range(3):
        record.refine("cam1", 7, STARTED_AT + 0.5, SAID)
    text = (tmp_path / "events.jsonl").read_text()
    assert text.count("courier") == 1


def test_the_events_of_another_run_hear_of_it_where_that_run_still_is(tmp_path: Path) -> None:
    life(tmp_path, STARTED_AT)
    known: dict[str, Any] = {"class_name": "person", "frame_time_s": STARTED_AT + 0.5}
    for folder in (tmp_path, tmp_path / "gone"):
        tell_record(answer_to(parcel(7, run=str(folder), **known), Verdict("courier", 0.81), 1.0), SAID)
    assert events(tmp_path)[-1]["refined"] == WIRED
    assert not (tmp_path / "gone").exists()


def test_a_folder_without_events_is_no_trouble(tmp_path: Path) -> None:
    FormerEvents(tmp_path / "none", []).refine("cam1", 7, STARTED_AT, SAID)
    assert not (tmp_path / "none").exists()

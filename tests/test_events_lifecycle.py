"""The life of events, told by scripted results."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edge.events.lifecycle as lifecycle
from edge.events.event import Box, EventChange
from edge.events.lifecycle import EventTracker, overlap, random_suffix
from edge.events.settings import ChangeType, EventSettings
from stream.frame import FrameResult, Refinement
from tests.events import FPS, STARTED_AT, Suffixes, frame, standing_at, zone

HERE, THERE = standing_at(100, 100), standing_at(200, 200)


def tracker(**known: Any) -> EventTracker:
    return EventTracker(EventSettings(**{"min_hits": 1, **known}), "cam1", STARTED_AT, Suffixes())


def fed(events: EventTracker, *results: FrameResult) -> list[EventChange]:
    return [change for result in results for change in events.update(result)]


def kinds(changes: list[EventChange]) -> str:
    return " ".join(change.type.value for change in changes)


def test_an_event_begins_changes_and_ends() -> None:
    events = tracker(min_hits=3)
    assert fed(events, frame(10, {7: HERE}), frame(11, {7: HERE}, confidence=0.9)) == []
    (new,) = fed(events, frame(12, {7: THERE}))
    assert (new.type, new.before) == (ChangeType.NEW, None)
    event = new.event
    assert event.id == "1700000001000-s1"
    assert (event.camera, event.class_name, event.track_id, event.sequence) == ("cam1", "person", 7, 1)
    assert (event.start_s, event.latest_s, event.end_s) == (STARTED_AT + 1.0, STARTED_AT + 1.2, None)
    assert event.confidence == pytest.approx(0.9)
    assert event.box == HERE
    assert event.latest_confidence == pytest.approx(0.8)
    assert event.latest_box == THERE
    assert (event.width, event.height) == (320, 240)
    ended = fed(events, *(frame(n) for n in range(13, 60)))
    assert kinds(ended) == "end"
    assert ended[0].before == event
    assert ended[0].event.id == event.id
    assert (ended[0].event.sequence, ended[0].event.end_s) == (2, STARTED_AT + 1.2)
    assert not events.is_following


def test_few_hits_are_no_event() -> None:
    events = tracker(min_hits=3)
    results = [frame(n, {n // 2: HERE}) for n in range(40)]  # each track is seen twice
    assert fed(events, *results, *(frame(n) for n in range(40, 90))) == []
    assert not events.is_following


def test_unsure_detections_are_no_event_until_one_is_sure() -> None:
    events = tracker(min_confidence=0.5)
    assert fed(events, *(frame(n, {1: HERE}, confidence=0.45) for n in range(10))) == []
    assert kinds(fed(events, frame(10, {1: HERE}, confidence=0.6))) == "new"


def test_it_ends_after_having_been_missed_for_so_long() -> None:
    events = tracker(end_after_s=1.0)
    fed(events, frame(0, {1: HERE}))
    assert fed(events, *(frame(n) for n in range(1, 11))) == []
    assert kinds(fed(events, frame(11))) == "end"


def test_while_nobody_looks_nobody_goes() -> None:
    events = tracker(end_after_s=1.0)
    fed(events, frame(0, {1: HERE}))
    assert fed(events, *(frame(n, {}, carried=True) for n in range(1, 600))) == []
    assert fed(events, frame(600)) == []  # a first look that misses it
    assert fed(events, frame(605, {1: THERE})) == []
    assert kinds(fed(events, frame(606), frame(616))) == "end"


def test_carried_frames_are_no_hits() -> None:
    events = tracker(min_hits=2)
    assert fed(events, frame(0, {1: HERE}), *(frame(n, {1: HERE}, carried=True) for n in range(1, 20))) == []
    assert events.sightings == ()


def test_boxes_without_a_track_are_no_events() -> None:
    assert fed(tracker(), *(frame(n, {-1: HERE}) for n in range(10))) == []


def test_updates_come_no_closer_than_agreed_and_only_with_news() -> None:
    events = tracker(update_every_s=1.0)
    rising = [frame(n, {1: HERE}, confidence=0.5 + n / 100) for n in range(35)]
    changes = fed(events, *rising)
    assert kinds(changes) == "new update update update"
    assert [round((change.event.latest_s - STARTED_AT) * FPS) for change in changes] == [0, 10, 20, 30]
    assert [change.event.sequence for change in changes] == [1, 2, 3, 4]
    assert all(now.before == before.event for before, now in pairwise(changes))
    wandering = [frame(n, {1: standing_at(100 + n, 100)}, confidence=0.5) for n in range(35, 90)]
    (last,) = fed(events, *wandering)  # what has risen since, and then nothing for five seconds
    assert last.event.confidence == pytest.approx(0.84)


def test_zones_are_told_at_once_and_remembered() -> None:
    events = tracker(update_every_s=3600)
    yard, door = zone("yard", 1), zone("door", 1)
    script = [(), (yard,), (yard, door), (door,), (zone("yard", 2),), (yard,)]
    changes = fed(events, *(frame(n, {1: HERE}, zones=zones) for n, zones in enumerate(script)))
    assert kinds(changes) == "new update update update update update"
    assert [change.event.zones for change in changes] == [
        (),
        ("yard",),
        ("yard", "door"),
        ("door",),
        (),
        ("yard",),
    ]
    assert changes[-1].event.entered_zones == ("yard", "door")
    (end,) = events.end_all()
    assert (end.event.zones, end.event.entered_zones) == ((), ("yard", "door"))


def test_only_events_that_entered_the_wanted_zones() -> None:
    events = tracker(zones=("door",))
    assert fed(events, frame(0, {1: HERE}, zones=(zone("yard", 1),))) == []
    (new,) = fed(events, frame(1, {1: HERE}, zones=(zone("door", 1),)))
    assert new.event.start_s == STARTED_AT
    assert kinds(fed(events, frame(2, {1: HERE}))) == "update"  # it has left the zone, the event goes on


def test_the_class_is_what_the_detections_agree_on() -> None:
    events = tracker(update_every_s=0)
    names = ["truck", "car", "car", "truck", "car"]
    sure = [0.6, 0.55, 0.7, 0.95, 0.9]
    results = [frame(n, {1: HERE}, name=names[n], confidence=sure[n]) for n in range(5)]
    changes = fed(events, *results)
    assert [change.event.class_name for change in changes] == ["truck", "car", "truck", "car"]
    assert changes[-1].event.confidence == pytest.approx(0.9)  # of the surest car, not of the surer truck


def test_only_wanted_classes() -> None:
    events = tracker(classes=("person",))
    changes = fed(events, *(frame(n, {1: HERE, 2: THERE}, names=["person", "dog"]) for n in range(5)))
    assert [change.event.track_id for change in changes] == [1]


def test_who_stays_in_its_place_stands() -> None:
    events = tracker(stationary_after_s=2.0, update_every_s=0.5)
    trembling = [frame(n, {1: standing_at(100 + n % 3, 100)}) for n in range(30)]
    moving = [frame(n, {1: standing_at(100 + 5 * (n - 30), 100)}) for n in range(30, 40)]
    changes = fed(events, *trembling, *moving)
    assert [(change.type.value, change.event.stationary) for change in changes] == [
        ("new", False),
        ("update", True),
        ("update", False),
    ]
    assert round((changes[1].event.latest_s - STARTED_AT) * FPS) == 20


def test_what_the_cloud_says_is_told() -> None:
    said = Refinement(label="courier", confidence=0.8, model="lite0")
    events = tracker(update_every_s=0)
    changes = fed(events, frame(0, {1: HERE}), frame(1, {1: HERE}, refined={1: said}), frame(2, {1: HERE}))
    assert [change.event.refined for change in changes] == [None, said]


def test_a_reconnection_ends_all_events_first() -> None:
    events = tracker()
    fed(events, frame(0, {1: HERE, 2: THERE}))
    changes = fed(events, frame(1, {1: HERE}, epoch=1))
    assert kinds(changes) == "end end new"
    assert changes[2].event.id == "1700000000100-s3"


def test_a_carried_frame_of_a_new_epoch_ends_them_as_well() -> None:
    events = tracker()
    fed(events, frame(0, {1: HERE}))
    assert kinds(fed(events, frame(1, carried=True, epoch=1))) == "end"


def test_stopping_ends_what_was_told_and_nothing_else() -> None:
    events = tracker(min_hits=2)
    fed(events, frame(0, {1: HERE}), frame(1, {1: HERE, 2: THERE}))
    assert [change.event.track_id for change in events.end_all()] == [1]
    assert events.end_all() == []


def test_sightings_are_the_events_in_the_picture() -> None:
    events = tracker()
    fed(events, frame(0, {1: HERE, 2: THERE}, confidence=(0.9, 0.2)))
    assert [(each.event.track_id, each.row.xyxy) for each in events.sightings] == [(1, HERE)]
    fed(events, frame(1, {2: THERE}, confidence=0.2))
    assert events.sightings == ()


def test_memory_is_bounded_and_what_is_no_event_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "MAX_TRACKS", 4)
    events = tracker(min_confidence=0.5)
    fed(events, frame(0, {1: HERE, 2: HERE}))
    changes = fed(
        events, *(frame(n, {1: HERE, 2: HERE, 100 + n: THERE}, confidence=(0.8, 0.8, 0.1)) for n in range(1, 9))
    )
    assert (changes, events.overflowed, len(events._tracks)) == ([], 6, 4)
    crowd = fed(events, frame(9, {3: HERE, 4: HERE, 5: HERE}))
    assert kinds(crowd) == "new new end new"
    assert crowd[2].event.track_id in {1, 2}


def test_ids_sort_by_time_and_are_never_the_same() -> None:
    ids = []
    for _ in range(3):
        events = EventTracker(EventSettings(min_hits=1), "cam1", STARTED_AT, random_suffix)
        ids += [change.event.id for change in fed(events, frame(0, {1: HERE, 2: HERE}), frame(1, {3: HERE}))]
    assert len(set(ids)) == 9
    assert sorted(ids, key=lambda one: one.split("-")[0]) == sorted(ids, key=lambda one: int(one.split("-")[0]))
    early = EventTracker(EventSettings(min_hits=1), "cam1", 0.0, Suffixes())
    assert fed(early, frame(0, {1: HERE}))[0].event.id == "0000000000000-s1"


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.integers(0, 5), st.floats(0.1, 1.0), max_size=4),
            st.sampled_from("dddddce"),
            st.integers(1, 15),
        ),
        max_size=60,
    )
)
@settings(max_examples=60)
def test_every_event_has_one_beginning_and_one_end(script: list[tuple[dict[int, float], str, int]]) -> None:
    events, index, epoch = tracker(min_hits=2, update_every_s=0.3), 0, 0
    changes: list[EventChange] = []
    for seen, kind, step in script:
        index, epoch = index + step, epoch + (kind == "e")
        boxes = {track: standing_at(50 + 40 * track, 100) for track in seen}
        changes += events.update(frame(index, boxes, confidence=tuple(seen.values()), carried=kind == "c", epoch=epoch))
    changes += events.end_all()
    told: dict[str, list[str]] = {}
    for change in changes:
        told.setdefault(change.event.id, []).append(change.type.value)
        assert change.event.sequence == len(told[change.event.id])
        assert change.event.latest_s >= change.event.start_s
    for life in told.values():
        assert (life[0], life[-1]) == ("new", "end")
        assert set(life[1:-1]) <= {"update"}


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1.0),
        ((0, 0, 10, 10), (5, 0, 15, 10), 1 / 3),
        ((0, 0, 10, 10), (20, 20, 30, 30), 0.0),
        ((5, 5, 5, 5), (5, 5, 5, 5), 0.0),
    ],
)
def test_overlap(one: Box, other: Box, shared: float) -> None:
    assert overlap(one, other) == pytest.approx(shared)

"""Identities over time, and boxes between detections."""

from __future__ import annotations

from fractions import Fraction
from typing import get_args

import numpy as np
import pytest
import supervision as sv

from edge.tracker import CARRY_LIMIT_S, ObjectTracker, TrackerName, tracker_maker, weakest_wanted
from stream.frame import SourceInfo

INFO = SourceInfo("clip", "clip.mp4", "mp4", "h264", 640, 480, Fraction(10), Fraction(1, 10))


def at(*lefts: float, confidence: float = 0.9) -> sv.Detections:
    """Boxes of 50x100 pixels at the given left edges, as the detector makes them."""
    count = len(lefts)
    return sv.Detections(
        xyxy=np.array([[left, 100, left + 50, 200] for left in lefts], np.float32).reshape(-1, 4),
        confidence=np.full(count, confidence, np.float32),
        class_id=np.zeros(count, dtype=int),
        data={"class_name": np.array(["person"] * count)},
    )


def ids(detections: sv.Detections) -> list[int]:
    assert detections.tracker_id is not None
    return [int(track) for track in detections.tracker_id]


@pytest.mark.parametrize("name", [name for name in get_args(TrackerName) if name != "off"])
def test_two_walkers_keep_their_identities(name: TrackerName) -> None:
    tracker = tracker_maker(name)(INFO)
    for step in range(20):
        tracked = tracker.update(at(100 + 5 * step, 400 - 5 * step), step / 10)
    by_left = {float(box[0]): track for box, track in zip(tracked.xyxy, ids(tracked), strict=True)}
    assert len(set(by_left.values())) == 2
    assert min(by_left.values()) >= 0
    again = tracker.update(at(200, 300), 2.0)
    assert set(ids(again)) == set(by_left.values())


@pytest.mark.parametrize("name", get_args(TrackerName))
def test_nothing_in_gives_nothing_out_with_all_columns(name: TrackerName) -> None:
    tracker = tracker_maker(name)(INFO)
    tracker.update(at(100), 0.0)
    empty = tracker.update(at(), 0.1)
    assert len(empty) == 0
    assert empty.confidence is not None
    assert "class_name" in empty.data


def test_weak_detections_continue_a_track_and_count_for_nothing_else() -> None:
    tracker = tracker_maker("bytetrack", confidence=0.5)(INFO)
    for step in range(5):
        tracker.update(at(100), step / 10)
    weak = tracker.update(at(100, 400, confidence=0.35), 0.5)
    assert ids(weak) == [0]
    assert weakest_wanted("bytetrack", 0.5) == 0.3
    assert weakest_wanted("bytetrack", 0.1) == 0.1
    assert weakest_wanted("off", 0.5) == 0.5


def test_ids_begin_anew_for_every_source() -> None:
    make = tracker_maker("bytetrack")
    first, second = make(INFO), make(INFO)
    for step in range(5):
        one, two = first.update(at(100), step / 10), second.update(at(300), step / 10)
    assert ids(one) == ids(two) == [0]


def test_carried_boxes_move_on_as_they_moved() -> None:
    tracker = tracker_maker("bytetrack", stride=2)(INFO)
    for step in range(5):
        tracker.update(at(100 + 20 * step), step / 5)
    carried = tracker.carry(0.9, 640, 480)
    np.testing.assert_allclose(carried.xyxy, [[190, 100, 240, 200]], atol=1e-3)
    assert ids(carried) == [0]


def test_carried_boxes_stay_in_the_picture() -> None:
    tracker = ObjectTracker(lambda: None)
    tracker.update(at(620), 0.0)
    assert tracker.carry(0.1, 640, 480).xyxy[0, 2] == 640


def test_without_tracking_boxes_are_held_where_they_were() -> None:
    tracker = tracker_maker("off")(INFO)
    tracker.update(at(100), 0.0)
    tracker.update(at(120), 0.1)
    carried = tracker.carry(0.2, 640, 480)
    np.testing.assert_array_equal(carried.xyxy, at(120).xyxy)
    assert carried.tracker_id is None


def test_boxes_are_carried_for_a_bounded_time_only() -> None:
    tracker = tracker_maker("bytetrack")(INFO)
    tracker.update(at(100), 0.0)
    assert len(tracker.carry(CARRY_LIMIT_S, 640, 480)) == 1
    assert len(tracker.carry(CARRY_LIMIT_S + 0.01, 640, 480)) == 0


def test_nothing_is_carried_before_anything_was_seen() -> None:
    assert len(tracker_maker("bytetrack")(INFO).carry(0.0, 640, 480)) == 0


@pytest.mark.parametrize("name", ["bytetrack", "ocsort"])
def test_a_standing_object_keeps_its_identity_through_an_hour_of_rare_looks(name: TrackerName) -> None:
    tracker = tracker_maker(name)(INFO)
    for step in range(20):
        tracked = tracker.update(at(100 + 5 * step), step / 10)
    known = ids(tracked)
    for look in range(1, 720):
        held = tracker.hold()
        assert ids(held) == known
        assert held.xyxy[0, 0] == tracked.xyxy[0, 0]
        tracked = tracker.update(at(195 + look % 2), look * 5.0)
        assert ids(tracked) == known


@pytest.mark.parametrize("name", ["bytetrack", "ocsort"])
def test_after_a_new_beginning_no_identity_is_given_twice(name: TrackerName) -> None:
    tracker = tracker_maker(name)(INFO)
    for step in range(10):
        before = tracker.update(at(100, 400), step / 10)
    tracker.restart()
    assert not len(tracker.carry(1.0, 640, 480))
    for step in range(10):
        after = tracker.update(at(100, 400), 2 + step / 10)
    assert min(ids(before)) >= 0
    assert min(ids(after)) > max(ids(before))

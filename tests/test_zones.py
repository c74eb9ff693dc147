"""Zones and lines: membership and crossings against exact references, and what is remembered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edge.zone_settings import LineSettings, ZoneSettings
from edge.zones import LOST_AFTER_S, ZoneWatch
from stream.config import build
from stream.errors import UsageError
from stream.frame import ZoneView
from tests.events import FPS, frame, standing_at

WIDTH, HEIGHT = 320, 240
LEFT_HALF = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
LEFT, RIGHT = standing_at(80, 120), standing_at(240, 120)
LOST_FRAMES = round(LOST_AFTER_S * FPS)

Point = tuple[float, float]


def zone_watch(points: Sequence[Point] = LEFT_HALF, **known: Any) -> ZoneWatch:
    return ZoneWatch([ZoneSettings(name="z", points=tuple(points), **{"inertia_frames": 1, **known})], [])


def line_watch(start: Point = (0.5, 1.0), end: Point = (0.5, 0.0), **known: Any) -> ZoneWatch:
    """By default the middle of the picture, looked at from below: the left half is ``in``."""
    return ZoneWatch([], [LineSettings(name="l", start=start, end=end, **known)])


def told(view: ZoneView) -> tuple[int, int, tuple[int, ...]]:
    return view.entered, view.left, view.inside


# Zones


def test_a_track_enters_stays_and_leaves() -> None:
    watch = zone_watch()
    seen = [told(watch.update(frame(n, {7: box}))[0]) for n, box in enumerate([RIGHT, LEFT, LEFT, RIGHT, RIGHT, LEFT])]
    assert seen == [(0, 0, ()), (1, 0, (7,)), (1, 0, (7,)), (1, 1, ()), (1, 1, ()), (2, 1, (7,))]


def test_where_it_stands_counts_and_not_its_head() -> None:
    lower_half = ((0.0, 0.5), (1.0, 0.5), (1.0, 1.0), (0.0, 1.0))
    watch = zone_watch(lower_half)
    tall = (100.0, 10.0, 140.0, 200.0)
    assert watch.update(frame(0, {1: tall}))[0].inside == (1,)
    assert zone_watch(lower_half).update(frame(0, {1: (100.0, 10.0, 140.0, 100.0)}))[0].inside == ()


def test_feet_cut_off_by_the_picture_stand_on_its_edge() -> None:
    lower_half = ((0.0, 0.5), (1.0, 0.5), (1.0, 1.0), (0.0, 1.0))
    assert zone_watch(lower_half).update(frame(0, {1: (100, 100, 140, 240), 2: (300, 9, 320, 240)}))[0].inside == (1, 2)


def test_inertia_in_both_directions() -> None:
    watch = zone_watch(inertia_frames=3)
    steps = "RLLRLLLLRRLRRRL"
    seen = [bool(watch.update(frame(n, {1: LEFT if at == "L" else RIGHT}))[0].inside) for n, at in enumerate(steps)]
    assert "".join("L" if inside else "." for inside in seen) == "......LLLLLLL.."


def test_a_new_track_that_appears_inside_enters_after_its_inertia() -> None:
    watch = zone_watch(inertia_frames=2)
    assert [told(watch.update(frame(n, {1: LEFT}))[0]) for n in range(2)] == [(0, 0, ()), (1, 0, (1,))]


def test_loitering_counts_who_stays() -> None:
    watch = zone_watch(loitering_s=1.0)
    inside = [bool(watch.update(frame(n, {1: LEFT}))[0].inside) for n in range(15)]
    assert inside.index(True) == FPS  # first seen there at 0 s
    passing = zone_watch(loitering_s=1.0)
    for n in range(30):
        assert not passing.update(frame(n, {1: LEFT if n % 10 else RIGHT}))[0].entered


def test_classes_by_name_in_any_case_or_by_number() -> None:
    seen = {1: LEFT, 2: LEFT, 3: LEFT}
    names = ["person", "Dog", "bicycle"]  # class ids are the lengths of the names: 6, 3, 7
    watch = zone_watch(classes=("PERSON", "7"))
    assert watch.update(frame(0, seen, names=names))[0].inside == (1, 3)


def test_without_track_ids_nobody_is_counted() -> None:
    watch = zone_watch()
    assert told(watch.update(frame(0, {-1: LEFT}))[0]) == (0, 0, ())


def test_carried_boxes_are_no_evidence() -> None:
    watch = ZoneWatch([ZoneSettings(name="z", points=LEFT_HALF, inertia_frames=1)], line_settings())
    watch.update(frame(0, {1: RIGHT}))
    for n in range(1, 6):
        zone, line = watch.update(frame(n, {1: LEFT}, carried=True))
        assert (told(zone), told(line)) == ((0, 0, ()), (0, 0, ()))
    assert [told(view)[:2] for view in watch.update(frame(6, {1: LEFT}))] == [(1, 0), (1, 0)]


def line_settings() -> list[LineSettings]:
    return [LineSettings(name="l", start=(0.5, 1.0), end=(0.5, 0.0))]


def test_who_is_lost_inside_has_left_but_not_while_nobody_looks() -> None:
    watch = zone_watch()
    watch.update(frame(0, {1: LEFT}))
    assert told(watch.update(frame(900, {}, carried=True))[0]) == (1, 0, (1,))
    assert told(watch.update(frame(1000))[0]) == (1, 0, (1,))  # the first look that misses it
    assert told(watch.update(frame(1000 + LOST_FRAMES - 1))[0]) == (1, 0, (1,))
    assert told(watch.update(frame(1000 + LOST_FRAMES))[0]) == (1, 1, ())
    assert watch._parts[0]._memory.tracks == {}


def test_who_is_found_again_in_time_never_left() -> None:
    watch = zone_watch()
    for n in range(0, 200, LOST_FRAMES):
        watch.update(frame(n, {1: LEFT}))
        view = watch.update(frame(n + LOST_FRAMES - 1))[0]
    assert told(view) == (1, 0, (1,))


def test_a_reconnection_forgets_tracks_and_keeps_counts() -> None:
    watch = ZoneWatch([ZoneSettings(name="z", points=LEFT_HALF, inertia_frames=1)], line_settings())
    watch.update(frame(0, {1: RIGHT}))
    watch.update(frame(1, {1: LEFT}))
    zone, line = watch.update(frame(2, {}, epoch=1))
    assert (told(zone), told(line)) == ((1, 1, ()), (1, 0, ()))
    zone, line = watch.update(frame(3, {1: RIGHT}, epoch=1))  # another object of the same number: no crossing
    assert (told(zone), told(line)) == ((1, 1, ()), (1, 0, ()))


def test_a_change_of_size_in_mid_stream_moves_the_zone_and_keeps_its_counts() -> None:
    watch = ZoneWatch([ZoneSettings(name="z", points=LEFT_HALF, inertia_frames=1)], line_settings())
    zone, line = watch.update(frame(0, {1: LEFT}))
    assert zone.points == ((0, 0), (160, 0), (160, 240), (0, 240))
    assert line.points == ((160, 240), (160, 0))
    twice = standing_at(160, 240), standing_at(480, 240)
    zone, line = watch.update(frame(1, {1: twice[0]}, size=(640, 480)))
    assert (told(zone), told(line)) == ((1, 0, (1,)), (0, 0, ()))
    assert zone.points == ((0, 0), (320, 0), (320, 480), (0, 480))
    zone, line = watch.update(frame(2, {1: twice[1]}, size=(640, 480)))
    assert (told(zone), told(line)) == ((1, 1, ()), (0, 1, ()))


polygons = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=8)


@given(polygons, st.lists(st.tuples(st.floats(1, 319), st.floats(1, 240)), min_size=1, max_size=20))
def test_membership_is_that_of_the_polygon(points: list[Point], feet: list[Point]) -> None:
    try:
        watch = zone_watch(points)
    except ValidationError:
        assume(False)
    inside = watch.update(frame(0, {n: standing_at(*foot, height=0.5) for n, foot in enumerate(feet)}))[0].inside
    corners = np.array([(round(x * WIDTH), round(y * HEIGHT)) for x, y in points], np.float32)
    for n, foot in enumerate(feet):
        to_edge_px = cv2.pointPolygonTest(corners, foot, measureDist=True)
        if abs(to_edge_px) > 1.5:  # supervision's masks are exact to the pixel
            assert (n in inside) == even_odd(corners.tolist(), foot), (foot, to_edge_px)


def even_odd(corners: list[list[float]], point: Point) -> bool:
    """Whether a ray from the point to the right crosses the polygon's sides an odd number of times."""
    odd, (x, y) = False, point
    for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
        if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
            odd = not odd
    return odd


steps = st.lists(
    st.dictionaries(st.integers(0, 4), st.tuples(st.floats(1, 319), st.floats(10, 239)), max_size=4),
    min_size=1,
    max_size=40,
)


@given(steps, st.integers(1, 3), st.sets(st.integers(0, 39), max_size=3))
@settings(max_examples=60)
def test_entered_less_left_is_who_is_inside(
    frames: list[Mapping[int, Point]], inertia: int, reconnections: set[int]
) -> None:
    watch, epoch = zone_watch(inertia_frames=inertia), 0
    for n, feet in enumerate(frames):
        epoch += n in reconnections
        view = watch.update(frame(n * 9, {track: standing_at(*foot) for track, foot in feet.items()}, epoch=epoch))[0]
        assert view.entered - view.left == len(view.inside) == len(set(view.inside))


# Lines


def crossings(path: Sequence[Point | None], watch: ZoneWatch, height: float = 0.01) -> tuple[int, int]:
    """(in, out) after a track walked along ``path``; None is a detection that misses it."""
    view = ZoneView("", ())
    for n, foot in enumerate(path):
        view = watch.update(frame(n, {} if foot is None else {1: standing_at(*foot, height)}))[0]
    return view.entered, view.left


@pytest.mark.parametrize(
    ("path", "counted"),
    [
        ([(240, 120), (80, 120)], (1, 0)),
        ([(80, 120), (240, 120)], (0, 1)),
        ([(80, 120), (240, 120), (80, 120), (240, 120)], (1, 2)),
        ([(80, 120), (150, 120), (80, 120)], (0, 0)),
        ([(80, 120), (150, 10), (158, 239)], (0, 0)),
    ],
)
def test_each_crossing_is_counted_once_by_its_direction(path: list[Point], counted: tuple[int, int]) -> None:
    assert crossings(path, line_watch()) == counted


def test_in_is_to_the_left_of_who_looks_from_start_to_end() -> None:
    upwards = [(160.0, 200.0), (160.0, 40.0)]
    assert crossings(upwards, line_watch((0.0, 0.5), (1.0, 0.5))) == (1, 0)
    assert crossings(upwards, line_watch((1.0, 0.5), (0.0, 0.5))) == (0, 1)


def test_a_line_ends_where_it_ends() -> None:
    short = line_watch((0.5, 0.5), (0.5, 0.25))  # from (160, 120) up to (160, 60)
    assert crossings([(100, 200), (220, 200)], short) == (0, 0)
    assert crossings([(220, 200), (220, 90), (100, 90)], short) == (1, 0)
    around = [(100.0, 90.0), (100.0, 200.0), (220.0, 200.0), (220.0, 90.0)]
    assert crossings(around, line_watch((0.5, 0.5), (0.5, 0.25))) == (0, 0)


def test_who_comes_in_slantwise_from_beyond_the_end_is_counted() -> None:
    assert crossings([(300, 10), (20, 150)], line_watch((0.5, 0.5), (0.5, 0.25))) == (1, 0)


def test_who_is_hidden_at_the_line_is_counted() -> None:
    hidden: list[Point | None] = [None] * (LOST_FRAMES - 1)
    assert crossings([(240, 120), *hidden, (80, 120)], line_watch()) == (1, 0)
    assert crossings([(240, 120), *hidden, None, None, (80, 120)], line_watch()) == (0, 0)


def test_who_stands_on_the_line_and_trembles_is_not_counted() -> None:
    random = np.random.default_rng(1)
    trembling = [(float(160 + shift), 120.0) for shift in random.uniform(-8, 8, 300)]
    assert crossings([(240, 120), *trembling, (240, 120)], line_watch(), height=100) == (0, 0)
    assert crossings([(240, 120), *trembling, (80, 120)], line_watch(), height=100) == (1, 0)


def test_lines_count_their_classes_only() -> None:
    watch = line_watch(classes=("dog",))
    for n, x in enumerate((240, 80)):
        view = watch.update(frame(n, {1: standing_at(x, 120), 2: standing_at(x, 100)}, names=["person", "dog"]))[0]
    assert (view.entered, view.left) == (1, 0)


coordinates = st.tuples(st.floats(5, 315), st.floats(5, 235))


@given(coordinates, coordinates, st.lists(coordinates, min_size=2, max_size=25))
@settings(max_examples=300)
def test_a_path_is_counted_as_often_as_it_crosses(start: Point, end: Point, path: list[Point]) -> None:
    assume(math.dist(start, end) > 5)
    near = min(abs(turn(start, end, foot)) / math.dist(start, end) for foot in path)
    steps = [(one, other) for one, other in pairwise(path) if one != other]
    slips = min((abs(turn(*step, tip)) for step in steps for tip in (start, end)), default=math.inf)
    assume(near > 0.01 and slips > 0.1)  # nobody can say of one that only touches
    as_fractions = [(x / WIDTH, y / HEIGHT) for x, y in (start, end)]
    assert crossings(path, line_watch(*as_fractions)) == reference(path, start, end)


def reference(path: Sequence[Point], start: Point, end: Point) -> tuple[int, int]:
    """How often each step's segment intersects the line's, by which side it ends on."""
    counts = {True: 0, False: 0}
    for before, now in pairwise(path):
        sides = turn(start, end, before) < 0, turn(start, end, now) < 0
        ends = turn(before, now, start) < 0, turn(before, now, end) < 0
        if sides[0] != sides[1] and ends[0] != ends[1]:
            counts[sides[1]] += 1
    return counts[True], counts[False]


def turn(start: Point, end: Point, point: Point) -> float:
    return (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])


# Bounds and settings


def test_memory_does_not_grow_with_tracks() -> None:
    watch = ZoneWatch([ZoneSettings(name="z", points=LEFT_HALF, inertia_frames=1)], line_settings())
    for n in range(1000):
        watch.update(frame(n, {5 * n + k: LEFT for k in range(5)}))
    for part in watch._parts:
        assert len(part._memory.tracks) <= 5 * (LOST_FRAMES + 2)
        assert len(part._memory._missed_since_s) <= 5 * (LOST_FRAMES + 2)


def test_nothing_is_made_of_boxes_that_are_none() -> None:
    result = frame(0, {1: LEFT, 2: LEFT})
    result.detections.xyxy[0] = (float("nan"), 0.0, 10.0, float("inf"))
    assert told(zone_watch().update(result)[0]) == (1, 0, (2,))


@pytest.mark.parametrize(
    ("points", "complaint"),
    [
        ([[0, 0], [1, 1]], "zones: list should have at least 3 items"),
        ([[0, 0], [0.5, 0.5], [1, 1]], "corners of zone 'z' enclose no area"),
        ([[0, 0], [0, 0], [0, 0]], "corners of zone 'z' enclose no area"),
        ([[0, 0], [400, 0], [1, 1]], r"less than or equal to 1 \(got 400"),
        ([[0, 0], [float("nan"), 0], [1, 1]], "finite number"),
        ([[0, 0, 0], [1, 0], [1, 1]], "at most 2 items"),
    ],
)
def test_zones_that_are_none_are_refused(points: list[list[float]], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint.replace("zones: ", "points: ")):
        build(ZoneSettings, {"name": "z", "points": points}, origin="cameras.yaml")


def test_settings_read_what_yaml_gives() -> None:
    zone = build(ZoneSettings, {"name": "z", "points": [[0, 0], [1, 0], [1, 1]], "classes": [2, "dog"]}, origin="test")
    assert list(zone.points) == [(0, 0), (1, 0), (1, 1)]
    assert zone.classes == ("2", "dog")
    assert zone.inertia_frames == 3


def test_a_line_without_length_is_refused() -> None:
    with pytest.raises(UsageError, match="line 'l' starts where it ends"):
        build(LineSettings, {"name": "l", "start": [0.5, 0.5], "end": [0.5, 0.5]}, origin="cameras.yaml")


def test_two_of_the_same_name_are_refused() -> None:
    with pytest.raises(UsageError, match="both called 'l'"):
        ZoneWatch([ZoneSettings(name="l", points=LEFT_HALF)], line_settings())


def test_nothing_to_watch_is_nothing_to_show() -> None:
    assert ZoneWatch([], []).update(frame(0, {1: LEFT})) == ()

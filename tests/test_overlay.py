"""Boxes and labels are drawn where they belong, on a copy, at every size."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stream.frame import FrameResult, Pixels, Refinement, ZoneView
from stream.overlay import Overlay, label_texts
from stream.trails import MAX_POINTS, MAX_TRACKS, Trails
from stream.zone_drawing import zone_text
from tests.results import boxes, result


def black(width: int = 640, height: int = 360) -> Pixels:
    return np.zeros((height, width, 3), np.uint8)


def drawn_rectangle(picture: Pixels) -> tuple[int, int, int, int]:
    """The smallest rectangle ``x1, y1, x2, y2`` (inclusive) that holds everything drawn on black."""
    ys, xs = np.nonzero(picture.any(axis=2))
    return int(xs.min()), int(ys.min()), int(xs.max()), int(ys.max())


def test_the_box_is_drawn_at_its_place_on_a_copy() -> None:
    picture = black()
    drawn = Overlay().draw(picture, result(0, boxes([[100, 120, 400, 300]])))
    assert not picture.any()
    for x, y in [(100, 200), (400, 200), (250, 120), (250, 300)]:
        assert drawn[y, x].any(), (x, y)
    assert not drawn[200:220, 150:350].any()


def test_without_boxes_the_copy_is_the_picture() -> None:
    picture = black()
    drawn = Overlay().draw(picture, result(0))
    assert drawn is not picture
    assert np.array_equal(drawn, picture)


@pytest.mark.parametrize("size", [(1280, 720), (640, 272), (64, 48)])
def test_a_line_about_the_source_is_in_the_lower_left_corner(size: tuple[int, int]) -> None:
    width, height = size
    grey = np.full((height, width, 3), 120, np.uint8)
    said = ""
    overlay = Overlay(head_up=lambda: said)
    assert (overlay.draw(grey, result()) == grey).all()
    said = "agreement 0.86"
    changed = np.argwhere((overlay.draw(grey, result()) != grey).any(axis=2))
    assert changed[:, 0].max() == height - 1
    assert changed[:, 1].min() == 0
    assert changed[:, 0].min() >= height * 0.4
    overlay.labels = False
    assert (overlay.draw(grey, result()) == grey).all()


def test_a_former_copy_is_drawn_over_whole_and_one_of_another_size_left_alone() -> None:
    overlay = Overlay()
    former = overlay.draw(black(), result(0, boxes([[100, 120, 400, 300]], names=["dog"])))
    again = overlay.draw(black(), result(1), into=former)
    assert again is former
    assert not again.any()
    smaller = np.zeros((90, 160, 3), np.uint8)
    assert overlay.draw(smaller, result(2), into=former).shape == smaller.shape


def test_supervision_is_not_imported_for_pictures_without_boxes() -> None:
    code = """
import sys
from types import SimpleNamespace
import numpy as np
from stream.overlay import Overlay
empty = SimpleNamespace(detections=SimpleNamespace(xyxy=np.zeros((0, 4), np.float32)))
Overlay().draw(np.zeros((9, 9, 3), np.uint8), empty)
assert "supervision" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_same_class_has_the_same_colour_and_others_another() -> None:
    colours = [
        tuple(Overlay().draw(black(), result(0, boxes([[100, 120, 400, 300]], names=[name])))[200, 100])
        for name in ("dog", "cat", "person")
    ]
    assert colours[0] == colours[1] != colours[2]  # the class id of our boxes is the length of the name


@pytest.mark.parametrize("box", [[0, 0, 60, 50], [600, 0, 640, 50], [560, 300, 640, 360], [-40, -40, 30, 30]])
def test_labels_stay_within_the_picture(box: list[float]) -> None:
    name = "a class with quite a long name"
    whole = Overlay().draw(black(), result(0, boxes([[100, 100, 101, 101]], names=[name])))
    cut = Overlay().draw(black(), result(0, boxes([box], names=[name])))
    x1, y1, x2, y2 = drawn_rectangle(whole)
    left, top, right, bottom = drawn_rectangle(cut)
    assert right - left >= x2 - x1 - 4
    assert bottom - top >= y2 - y1 - 4
    # Text is drawn in black or white on the colour of the class: as much of it must be there.
    text = [(drawn.min(axis=2) > 200).sum() for drawn in (whole, cut)]
    assert text[1] >= text[0]


@pytest.mark.parametrize(("height", "lines"), [(240, 1), (720, 2), (2160, 6)])
def test_lines_grow_with_the_picture(height: int, lines: int) -> None:
    drawn = Overlay().draw(black(height, height), result(0, boxes([[height / 4, height / 4, height / 2, height / 2]])))
    column = drawn[height * 3 // 8, : height * 3 // 8].any(axis=1)
    assert lines <= column.sum() <= lines + 1


def test_a_change_of_size_changes_the_lines() -> None:
    overlay = Overlay()
    sizes = [drawn.any(axis=2).mean() for drawn in (overlay.draw(black(), result(0, boxes([[9, 9, 99, 99]]))),)]
    overlay.draw(black(3840, 2160), result(0, boxes([[9, 9, 99, 99]])))
    sizes.append(overlay.draw(black(), result(0, boxes([[9, 9, 99, 99]]))).any(axis=2).mean())
    assert sizes[0] == sizes[1]


def test_carried_boxes_are_thinner() -> None:
    found = boxes([[200, 200, 800, 600]])
    seen, carried = (
        Overlay().draw(black(1280, 720), result(0, found, carried=carried))[400, :500].any(axis=1).sum()
        for carried in (False, True)
    )
    assert carried < seen


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_box_that_is_no_number_is_left_out(value: float) -> None:
    found = boxes([[10, 10, 50, 50], [100, 100, 200, 200]])
    found.xyxy[0, 1] = value
    drawn = Overlay().draw(black(), result(0, found))
    assert drawn[150, 100].any()
    assert not drawn[:60, :60].any()


def test_coordinates_of_any_size_are_drawn_at_once() -> None:
    """OpenCV takes minutes over text near the largest integers: minutes of this thread's own time."""
    huge = boxes([[-2e9, -2e9, 2e9, 2e9], [2e9, 2e9, 2.1e9, 2.1e9], [3e38, 0, 3.1e38, 9], [-9e9, 5, -8e9, 9]])
    overlay = Overlay()
    overlay.draw(black(), result(0, boxes([[0, 0, 9, 9]])))
    started_s = time.thread_time()
    overlay.draw(black(), result(0, huge))
    assert time.thread_time() - started_s < 1.0


@settings(max_examples=50, deadline=None)
@given(
    arrays(np.float32, (3, 4), elements=st.floats(-500, 1500, width=32)),
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
)
def test_any_boxes_on_any_picture(
    xyxy: np.ndarray[tuple[int, ...], np.dtype[np.float32]], size: tuple[int, int]
) -> None:
    found = boxes([[0, 0, 1, 1]] * 3)
    found.xyxy[:] = xyxy
    assert Overlay().draw(black(*size), result(0, found)).shape == (size[1], size[0], 3)


def test_label_texts() -> None:
    found = boxes(
        [[0, 0, 9, 9]] * 4,
        names=["person", "dog", "cat", "car"],
        confidence=[0.874, 0.5, 0.333, 1.0],
        track_ids=[12, 3, -1, 0],
    )
    refined = {3: Refinement("golden retriever", 0.82, "m"), 99: Refinement("x", 0.1, "m")}
    assert label_texts(result(0, found, refined=refined)) == [
        "#12 person 0.87",
        "#3 dog: golden retriever 0.82",
        "cat 0.33",
        "#0 car 1.00",
    ]
    assert label_texts(result(0, found, carried=True))[0] == "#12 person"


def test_labels_without_tracks_names_or_confidences() -> None:
    found = boxes([[0, 0, 9, 9]])
    found.confidence, found.data = None, {}
    assert label_texts(result(0, found)) == ["object"]


def walk(step: int, *, epoch: int = 0, track: int = 7, carried: bool = False) -> FrameResult:
    """A person who walks to the right, 20 px in each tenth of a second; the feet are at y=200."""
    left = 20 + 20 * step
    seen = result(
        step, boxes([[left, 100, left + 20, 200]], track_ids=[track]), pts=1280 * step, picture=black(), carried=carried
    )
    return replace(seen, frame=replace(seen.frame, epoch=epoch))


def trail_of(drawn: Pixels, x: int) -> bool:
    """Whether the walker's trail is to be seen at ``x``."""
    return bool(drawn[198:203, x].any())


def drawn_after(overlay: Overlay, results: Sequence[FrameResult]) -> Pixels:
    return [overlay.draw(black(), each) for each in results][-1]


def test_a_trail_shows_the_last_two_seconds() -> None:
    overlay = Overlay(trails=True)
    drawn = drawn_after(overlay, [walk(step) for step in range(26)])
    feet_now_x, feet_2s_ago_x = 30 + 20 * 25, 30 + 20 * 5
    assert all(trail_of(drawn, x) for x in range(feet_2s_ago_x + 2, feet_now_x))
    assert not any(trail_of(drawn, x) for x in range(feet_2s_ago_x - 2))


def test_a_trail_grows_thicker_and_has_the_colour_of_its_class() -> None:
    overlay = Overlay(trails=True)
    drawn = [overlay.draw(black(640, 1440), walk(step)) for step in range(21)][-1]
    old, new = (drawn[190:210, x].any(axis=1).sum() for x in (50, 400))
    assert 0 < old < new
    box_colour = drawn[150, 420]
    assert np.allclose(drawn[200, 400], box_colour, atol=8)  # its edges are smooth


def test_trails_are_off_unless_asked_for() -> None:
    results = [walk(step) for step in range(5)]
    assert not trail_of(drawn_after(Overlay(), results), 60)
    assert np.array_equal(drawn_after(Overlay(), results), Overlay().draw(black(), results[-1]))


def test_a_trail_of_carried_boxes_goes_on() -> None:
    drawn = drawn_after(Overlay(trails=True), [walk(step, carried=step % 2 == 1) for step in range(5)])
    assert all(trail_of(drawn, x) for x in range(35, 105))


@pytest.mark.parametrize("begins_anew", [walk(6, epoch=1), walk(2)], ids=["new epoch", "time runs backwards"])
def test_trails_do_not_reach_across(begins_anew: FrameResult) -> None:
    drawn = drawn_after(Overlay(trails=True), [*(walk(step) for step in range(6)), begins_anew])
    assert not trail_of(drawn, 45)


def test_a_track_that_is_gone_leaves_its_trail_for_two_seconds() -> None:
    overlay = Overlay(trails=True)
    drawn_after(overlay, [walk(step) for step in range(6)])
    nobody = [replace(walk(step), detections=boxes()) for step in range(6, 40)]
    assert trail_of(overlay.draw(black(), nobody[0]), 45)
    drawn = drawn_after(overlay, nobody[1:])
    assert not drawn.any()


def test_boxes_without_a_track_leave_no_trail() -> None:
    assert not trail_of(drawn_after(Overlay(trails=True), [walk(step, track=-1) for step in range(6)]), 45)


def test_the_same_frame_drawn_again_looks_the_same() -> None:
    overlay = Overlay(trails=True)
    first = drawn_after(overlay, [walk(step) for step in range(6)])
    assert np.array_equal(overlay.draw(black(), walk(5)), first)


def test_trails_are_bounded_in_tracks_and_points() -> None:
    trails = Trails()
    for number in range(3 * MAX_POINTS):
        frame = replace(walk(0).frame, pts=number)
        tracks = np.arange(number, number + MAX_TRACKS)
        xyxy = np.zeros((MAX_TRACKS, 4), np.float32)
        trails.update(frame, xyxy, np.zeros(MAX_TRACKS, int), tracks)
        assert len(trails) <= MAX_TRACKS
    assert sum(len(trail.points) for trail in trails._tracks.values()) <= MAX_TRACKS * MAX_POINTS


def test_a_trail_from_far_outside_is_drawn_at_once() -> None:
    overlay = Overlay(trails=True)
    far = replace(walk(0), detections=boxes([[-3e8, -3e8, 3e8, 3e8]], track_ids=[7]))
    overlay.draw(black(), far)
    started_s = time.thread_time()
    overlay.draw(black(), walk(1))
    assert time.thread_time() - started_s < 1.0


LAWN = ZoneView("lawn", ((100, 100), (300, 100), (300, 300), (100, 300)), inside=(7,))
GATE = ZoneView("gate", ((400, 50), (400, 250)), is_line=True, entered=4, left=2)


def with_zones(*zones: ZoneView) -> FrameResult:
    return replace(result(0, picture=black()), zones=zones)


def test_a_zone_is_translucent_with_an_outline_and_a_tag() -> None:
    grey = np.full((360, 640, 3), 100, np.uint8)
    drawn = Overlay(zones=True).draw(grey, with_zones(LAWN))
    inside, outside, outline = drawn[150, 150], drawn[150, 350], drawn[200, 100]
    assert (outside == 100).all()
    assert 10 < np.abs(inside.astype(int) - 100).max() < np.abs(outline.astype(int) - 100).max()
    assert (drawn[300, 180:220] != inside).any()  # the tag, on the middle of the lower edge


def test_an_empty_zone_is_fainter() -> None:
    empty, occupied = (
        Overlay(zones=True).draw(black(), with_zones(zone))[150, 150].max() for zone in (replace(LAWN, inside=()), LAWN)
    )
    assert 0 < empty < occupied


def test_a_line_is_drawn_from_end_to_end() -> None:
    drawn = Overlay(zones=True).draw(black(), with_zones(GATE))
    assert all(drawn[y, 400].any() for y in range(50, 251))
    assert not drawn[300, 400].any()


def test_zones_are_off_unless_asked_for_and_words_can_be_left_out() -> None:
    assert not Overlay().draw(black(), with_zones(LAWN, GATE)).any()
    bare, tagged = (
        Overlay(zones=True, labels=labels).draw(black(), with_zones(LAWN, GATE)) for labels in (False, True)
    )
    assert not np.array_equal(bare, tagged)
    assert not bare[150, 380:396].any()
    assert tagged[150, 380:396].any()


def test_boxes_without_words() -> None:
    found = result(0, boxes([[100, 120, 400, 300]]))
    assert drawn_rectangle(Overlay(labels=False).draw(black(), found)) == (100, 120, 400, 300)


def test_zone_texts() -> None:
    assert zone_text(LAWN) == "lawn: 1"
    assert zone_text(GATE) == "gate: 4 in, 2 out"


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-900, 900), st.integers(-900, 900)), min_size=2, max_size=8),
    st.booleans(),
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.floats(0.01, 4),
)
def test_any_zone_on_any_picture(
    points: list[tuple[int, int]], is_line: bool, size: tuple[int, int], scale: float
) -> None:
    zone = ZoneView("a zone of quite a long name", tuple(points), is_line=is_line)
    canvas = black(*size)
    Overlay(zones=True).paint(canvas, with_zones(zone), scale)
    assert canvas.any()


def test_a_smaller_picture_shows_everything_at_its_scale() -> None:
    overlay, small = Overlay(trails=True, zones=True, labels=False), black(160, 90)
    for step in range(6):
        small = black(160, 90)
        overlay.paint(small, replace(walk(step), zones=(LAWN,)), 0.25)
    assert small[37, 30].any()  # the box, at 120 / 4
    assert small[48:53, 20].any()  # the trail, at y = 200 / 4
    assert small[70, 60].any()  # the zone, up to 300 / 4
    assert not small[80, 80].any()


def test_painting_into_a_part_of_a_canvas_leaves_the_rest() -> None:
    canvas = black(1280, 720)
    part = canvas[100:460, 200:840]
    Overlay(zones=True).paint(part, replace(walk(3), zones=(LAWN, GATE)))
    assert np.array_equal(part, Overlay(zones=True).draw(black(), replace(walk(3), zones=(LAWN, GATE))))
    part[:] = 0
    assert not canvas.any()


def test_a_finer_name_counts_for_the_class_it_was_asked_about_alone() -> None:
    refined = {3: Refinement("convertible", 0.8, "cloud", edge_class="car")}
    person, car = (boxes([[10, 10, 50, 50]], names=[name], track_ids=[3]) for name in ("person", "car"))
    assert label_texts(result(0, person, refined=refined)) == ["#3 person 0.50"]
    assert label_texts(result(0, car, refined=refined)) == ["#3 car: convertible 0.80"]

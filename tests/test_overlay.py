"""Boxes and labels are drawn where they belong, on a copy, at every size."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stream.frame import Pixels, Refinement
from stream.overlay import Overlay, label_texts
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
    """OpenCV takes minutes over text near the largest integers."""
    huge = boxes([[-2e9, -2e9, 2e9, 2e9], [2e9, 2e9, 2.1e9, 2.1e9], [3e38, 0, 3.1e38, 9], [-9e9, 5, -8e9, 9]])
    overlay = Overlay()
    overlay.draw(black(), result(0, boxes([[0, 0, 9, 9]])))
    started_s = time.perf_counter()
    overlay.draw(black(), result(0, huge))
    assert time.perf_counter() - started_s < 1.0


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

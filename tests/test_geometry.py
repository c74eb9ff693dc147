"""Letterbox geometry, by its properties."""

from __future__ import annotations

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.frame import NetworkView
from stream.geometry import Letterbox, Placement, snug_canvas
from stream.sources.pictures import PADDING_GREY, PictureConverter

side = st.integers(1, 8000)
placements = st.sampled_from(["centre", "top_left", "stretch"])


@given(side, side, st.integers(32, 1280), st.integers(32, 1280))
def test_the_picture_lies_inside_its_canvas_and_touches_two_sides(width: int, height: int, w: int, h: int) -> None:
    box = Letterbox.fit(width, height, w, h)
    assert 0 <= box.left <= box.left + box.inner_width <= w
    assert 0 <= box.top <= box.top + box.inner_height <= h
    assert box.inner_width == w or box.inner_height == h


@given(side, side, st.integers(32, 1280), st.integers(32, 1280))
def test_placements_differ_only_in_where_the_picture_lies(width: int, height: int, w: int, h: int) -> None:
    centred, cornered = Letterbox.fit(width, height, w, h), Letterbox.fit(width, height, w, h, "top_left")
    assert (cornered.left, cornered.top) == (0, 0)
    assert (cornered.inner_width, cornered.inner_height) == (centred.inner_width, centred.inner_height)
    stretched = Letterbox.fit(width, height, w, h, "stretch")
    assert (stretched.left, stretched.top, stretched.inner_width, stretched.inner_height) == (0, 0, w, h)


@given(st.integers(16, 4000), st.integers(16, 4000), placements, st.data())
def test_boxes_come_back_to_where_they_were(width: int, height: int, placement: Placement, data: st.DataObject) -> None:
    box = Letterbox.fit(width, height, 416, 416, placement)
    x = sorted(data.draw(st.tuples(st.floats(0, width), st.floats(0, width))))
    y = sorted(data.draw(st.tuples(st.floats(0, height), st.floats(0, height))))
    original = np.array([[x[0], y[0], x[1], y[1]]], np.float32)
    back = box.to_source(box.to_canvas(original))
    np.testing.assert_allclose(back, original, atol=max(width, height) * 1e-5)


@given(side, side)
def test_boxes_are_clipped_to_the_picture(width: int, height: int) -> None:
    box = Letterbox.fit(width, height, 416, 320)
    wild = np.array([[-1e6, -1e6, 1e6, 1e6]], np.float32)
    np.testing.assert_array_equal(box.to_source(wild), [[0, 0, width, height]])


@given(side, side, st.sampled_from([320, 416, 640]))
def test_a_snug_canvas_holds_the_scaled_picture_with_less_than_a_step_to_spare(w: int, h: int, longest: int) -> None:
    height, width = snug_canvas(w, h, longest_px=longest, stride_px=32)
    assert height % 32 == width % 32 == 0
    assert max(height, width) == longest
    assert min(height, width) < min(w, h) * longest / max(w, h) + 33


def test_known_shapes() -> None:
    assert snug_canvas(768, 576, longest_px=416, stride_px=32) == (320, 416)
    assert snug_canvas(1920, 1080, longest_px=416, stride_px=32) == (256, 416)
    assert snug_canvas(1080, 1920, longest_px=640, stride_px=32) == (640, 384)


def test_sizes_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        Letterbox.fit(0, 10, 416, 416)


@pytest.mark.parametrize(
    ("placement", "rows"), [("centre", slice(16, 48)), ("top_left", slice(0, 32)), ("stretch", slice(0, 64))]
)
def test_the_pixels_lie_where_the_view_says(placement: Placement, rows: slice) -> None:
    frame = av.VideoFrame.from_ndarray(np.full((48, 96, 3), 200, np.uint8), format="bgr24")
    pixels, box = PictureConverter().network(frame, NetworkView(64, 64, rgb=True, placement=placement))
    seen = np.full((64, 64, 3), PADDING_GREY, np.uint8)
    seen[rows] = 200
    np.testing.assert_allclose(pixels, seen, atol=2)
    assert (box.top, box.top + box.inner_height) == (rows.start, rows.stop)

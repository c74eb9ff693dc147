"""Letterbox geometry, by its properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.geometry import Letterbox, snug_canvas

side = st.integers(1, 8000)


@given(side, side, st.integers(32, 1280), st.integers(32, 1280))
def test_the_picture_lies_inside_its_canvas_and_touches_two_sides(width: int, height: int, w: int, h: int) -> None:
    box = Letterbox.fit(width, height, w, h)
    assert 0 <= box.left <= box.left + box.inner_width <= w
    assert 0 <= box.top <= box.top + box.inner_height <= h
    assert box.inner_width == w or box.inner_height == h


@given(st.integers(16, 4000), st.integers(16, 4000), st.data())
def test_boxes_come_back_to_where_they_were(width: int, height: int, data: st.DataObject) -> None:
    box = Letterbox.fit(width, height, 416, 416)
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

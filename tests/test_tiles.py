"""Tiles cover the canvas without overlapping, and pictures keep their shape in them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.window.tiles import Rect, fitted, grid, layout, tile_at

COUNTS = st.integers(1, 40)
SIZES = st.tuples(st.integers(320, 2000), st.integers(200, 1200))
GAPS = st.integers(0, 8)


@pytest.mark.parametrize(
    ("count", "columns", "rows"),
    [(0, 1, 1), (1, 1, 1), (2, 2, 1), (3, 2, 2), (4, 2, 2), (5, 3, 2), (6, 3, 2), (7, 3, 3), (9, 3, 3), (10, 4, 3)]
    + [(12, 4, 3), (13, 4, 4), (16, 4, 4), (17, 5, 4)],
)
def test_the_grid_of_so_many(count: int, columns: int, rows: int) -> None:
    assert grid(count) == (columns, rows)


@given(COUNTS, SIZES, GAPS)
def test_tiles_are_alike_within_the_canvas_and_apart(count: int, size: tuple[int, int], gap: int) -> None:
    tiles = layout(count, *size, gap_px=gap)
    painted = np.zeros((size[1], size[0]), np.uint8)
    assert len(tiles) == count
    assert len({(tile.width, tile.height) for tile in tiles}) == 1
    for tile in tiles:
        assert tile.left >= 0
        assert tile.left + tile.width <= size[0]
        assert tile.top + tile.height <= size[1]
        painted[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width] += 1
    assert painted.max() == 1


@given(st.integers(1, 6), SIZES)
def test_a_full_grid_leaves_but_the_gaps(side: int, size: tuple[int, int]) -> None:
    tiles, gap = layout(side * side, *size, gap_px=4), 4
    covered = sum(tile.width * tile.height for tile in tiles)
    if side == 1:
        assert covered == size[0] * size[1]
    else:
        # Less than a pixel a tile is lost to rounding.
        assert covered >= (size[0] - gap * (side + 1) - side) * (size[1] - gap * (side + 1) - side)


@given(COUNTS, SIZES, GAPS, st.integers(0, 2100), st.integers(0, 1300))
def test_a_point_is_in_the_tile_that_holds_it(count: int, size: tuple[int, int], gap: int, x: int, y: int) -> None:
    tiles = layout(count, *size, gap_px=gap)
    found = tile_at(tiles, x, y)
    holding = [number for number, tile in enumerate(tiles) if tile.holds(x, y)]
    assert holding == ([] if found is None else [found])
    for number, tile in enumerate(tiles):
        assert tile_at(tiles, tile.left, tile.top) == number
        assert tile_at(tiles, tile.left + tile.width - 1, tile.top + tile.height - 1) == number


@given(st.integers(1, 5000), st.integers(1, 5000), SIZES)
def test_a_picture_fills_its_place_in_its_own_shape(width: int, height: int, size: tuple[int, int]) -> None:
    into = Rect(7, 9, *size)
    place = fitted(width, height, into)
    assert into.holds(place.left, place.top)
    assert into.holds(place.left + place.width - 1, place.top + place.height - 1)
    assert place.width == into.width or place.height == into.height
    exact = min(into.width / width, into.height / height)
    assert abs(place.width - width * exact) <= 1
    assert abs(place.height - height * exact) <= 1
    assert abs((place.left - 7) - (into.width - place.width) / 2) < 1
    assert abs((place.top - 9) - (into.height - place.height) / 2) < 1


def test_a_part_of_a_canvas_is_drawn_into() -> None:
    canvas = np.zeros((20, 30, 3), np.uint8)
    Rect(3, 4, 5, 6).of(canvas)[:] = 1
    assert canvas.sum() == 5 * 6 * 3
    assert canvas[4, 3].all()
    assert canvas[9, 7].all()

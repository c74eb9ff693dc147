"""Where things go on the canvas: pure arithmetic in pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stream.frame import Pixels
from stream.geometry import Letterbox


@dataclass(frozen=True, slots=True)
class Rect:
    """``[left, left + width) x [top, top + height)``."""

    left: int
    top: int
    width: int
    height: int

    def holds(self, x: int, y: int) -> bool:
        return self.left <= x < self.left + self.width and self.top <= y < self.top + self.height

    def of(self, canvas: Pixels) -> Pixels:
        """This part of a canvas, to draw into."""
        return canvas[self.top : self.top + self.height, self.left : self.left + self.width]


def grid(count: int) -> tuple[int, int]:
    """(columns, rows) for so many tiles: 1x1, 2x1, 2x2, 3x2, 3x3, 4x3, 4x4 ..."""
    columns = max(1, math.ceil(math.sqrt(count)))
    return columns, max(1, math.ceil(count / columns))


def layout(count: int, width: int, height: int, *, gap_px: int) -> list[Rect]:
    """Tiles of one size, row by row, with gaps between them and around; one tile alone covers everything.

    Too small a canvas gives tiles of one pixel, which may reach beyond it.
    """
    if count <= 1:
        return [Rect(0, 0, width, height)] * count
    columns, rows = grid(count)
    tile_width = max(1, (width - gap_px * (columns + 1)) // columns)
    tile_height = max(1, (height - gap_px * (rows + 1)) // rows)
    return [
        Rect(
            gap_px + (number % columns) * (tile_width + gap_px),
            gap_px + (number // columns) * (tile_height + gap_px),
            tile_width,
            tile_height,
        )
        for number in range(count)
    ]


def tile_at(tiles: Sequence[Rect], x: int, y: int) -> int | None:
    """Which tile holds a point."""
    return next((number for number, tile in enumerate(tiles) if tile.holds(x, y)), None)


def fitted(width: int, height: int, into: Rect) -> Rect:
    """A picture laid into a rectangle: as large as its shape allows, in the middle."""
    box = Letterbox.fit(width, height, into.width, into.height)
    return Rect(into.left + box.left, into.top + box.top, box.inner_width, box.inner_height)

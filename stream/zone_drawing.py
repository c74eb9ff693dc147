"""Zones and lines of a camera, drawn into its picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stream.frame import Pixels, ZoneView

_REFERENCE_HEIGHT_PX = 720
_SMALLEST_TEXT_SCALE = 0.35
# BGR; none of them is among the first colours of the classes.
_COLOURS = ((235, 190, 60), (80, 190, 250), (140, 220, 120), (225, 225, 225))
_INK = (24, 20, 16)
# Corners within this share of a polygon's height count as one level edge.
_LEVEL = 0.1
# How much of a zone's colour lies over the picture: more where somebody is within.
_EMPTY, _OCCUPIED = 0.14, 0.28


def zone_text(zone: ZoneView) -> str:
    """What is written on it: ``garden: 2``, or ``gate: 4 in, 3 out`` for a line."""
    return f"{zone.name}: {zone.entered} in, {zone.left} out" if zone.is_line else f"{zone.name}: {len(zone.inside)}"


def paint_zones(canvas: Pixels, zones: Sequence[ZoneView], scale: float = 1.0) -> None:
    """Draw into a BGR canvas that shows the source at ``scale``; each zone has the colour of its place in ``zones``."""
    for number, zone in enumerate(zones):
        brush, points = _ZoneBrush(canvas, number), _placed(zone, canvas, scale)
        if zone.is_line:
            brush.line(points)
        else:
            brush.area(points, _OCCUPIED if zone.inside else _EMPTY)


def paint_zone_tags(canvas: Pixels, zones: Sequence[ZoneView], scale: float = 1.0) -> None:
    """Draw the names and counts of :func:`paint_zones`; what is drawn in between lies below them."""
    for number, zone in enumerate(zones):
        _ZoneBrush(canvas, number).tag(_placed(zone, canvas, scale), zone_text(zone))


def _placed(zone: ZoneView, canvas: Pixels, scale: float) -> NDArray[np.int32]:
    """Its points ``(N, 2)`` in pixels of the canvas, within it."""
    height, width = canvas.shape[:2]
    points = np.array(zone.points, np.float64).reshape(-1, 2) * scale
    return points.round().clip(0, (width - 1, height - 1)).astype(np.int32)


class _ZoneBrush:
    """Draws in the colour of one zone into one canvas; sizes follow the canvas's height."""

    def __init__(self, canvas: Pixels, number: int) -> None:
        size = canvas.shape[0] / _REFERENCE_HEIGHT_PX
        self._canvas = canvas
        self._colour = _COLOURS[number % len(_COLOURS)]
        self._line_px = max(1, round(2 * size))
        self._text_scale = max(_SMALLEST_TEXT_SCALE, 0.5 * size)
        self._text_px = max(1, round(size))
        self._padding_px = max(2, round(4 * size))

    def area(self, points: NDArray[np.int32], strength: float) -> None:
        """A translucent polygon; only the rectangle around it is blended."""
        import cv2

        (x1, y1), (x2, y2) = points.min(axis=0), points.max(axis=0)
        part = self._canvas[y1 : y2 + 1, x1 : x2 + 1]
        tinted = part.copy()
        cv2.fillPoly(tinted, [points - (x1, y1)], self._colour)
        cv2.addWeighted(tinted, strength, part, 1 - strength, 0, dst=part)
        cv2.polylines(self._canvas, [points], True, self._colour, self._line_px, cv2.LINE_AA)  # noqa: FBT003 - OpenCV takes it by place

    def line(self, points: NDArray[np.int32]) -> None:
        import cv2

        begin, end = points[0].tolist(), points[-1].tolist()
        cv2.line(self._canvas, begin, end, self._colour, self._line_px + 1, cv2.LINE_AA)
        for point in (begin, end):
            cv2.circle(self._canvas, point, 2 * self._line_px + 1, self._colour, cv2.FILLED, cv2.LINE_AA)

    def tag(self, points: NDArray[np.int32], text: str) -> None:
        """A filled label on the lower edge of what it names: higher up are the labels of boxes."""
        import cv2

        (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, self._text_scale, self._text_px)
        width, height = width + 2 * self._padding_px, height + 2 * self._padding_px
        x, y = _lower_edge(points)
        left = _within(x - width // 2, width, self._canvas.shape[1])
        top = _within(y - height // 2, height, self._canvas.shape[0])
        cv2.rectangle(self._canvas, (left, top), (left + width, top + height), self._colour, cv2.FILLED)
        corner = (left + self._padding_px, top + height - self._padding_px)
        cv2.putText(
            self._canvas, text, corner, cv2.FONT_HERSHEY_SIMPLEX, self._text_scale, _INK, self._text_px, cv2.LINE_AA
        )


def _lower_edge(points: NDArray[np.int32]) -> tuple[int, int]:
    """The middle of a line, or of a polygon's lowest points: of one corner, or of an edge that lies nearly level."""
    if len(points) > 2:
        y = points[:, 1]
        points = points[y >= y.max() - (y.max() - y.min()) * _LEVEL]
    x, y = points.mean(axis=0)
    return round(x), round(y)


def _within(start: int, length: int, whole: int) -> int:
    """``start`` moved so that ``length`` fits into ``whole``, its beginning first."""
    return max(0, min(int(start), whole - 1 - length))

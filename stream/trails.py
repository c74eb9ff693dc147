"""Where tracks came from: the last steps of each, as a line behind it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.frame import Frame, Pixels

TRAIL_S = 2.0
"""Long enough to show a direction, short enough that a busy place stays a picture."""

MAX_TRACKS = 200
MAX_POINTS = 120
"""Bounds on what is remembered, whatever a tracker does: two seconds at 60 pictures a second."""

Colour = tuple[int, int, int]
# A trail is drawn in this many pieces, each thicker than the one before it.
_PIECES = 3
# Steps smaller than this many pixels of the canvas are drawn straight.
_TOLERANCE_PX = 1.0


class Trails:
    """The foot points (middle of the lower edge) of each track during the last :data:`TRAIL_S`, in source pixels.

    A new epoch, and time that runs backwards, begin anew. For one thread.
    """

    def __init__(self) -> None:
        self._tracks: dict[int, _Trail] = {}
        self._epoch = 0
        self._time_s = -np.inf

    def __len__(self) -> int:
        return len(self._tracks)

    def update(self, frame: Frame, xyxy: NDArray[np.float32], class_id: NDArray[Any], track_id: NDArray[Any]) -> None:
        """Add the boxes ``(N, 4)`` of a frame, all finite; a negative track is none. Twice the same frame adds once."""
        if frame.epoch != self._epoch or frame.pts_s < self._time_s:
            self._tracks.clear()
        elif frame.pts_s == self._time_s:
            return
        self._epoch, self._time_s = frame.epoch, frame.pts_s
        feet = np.column_stack(((xyxy[:, 0] + xyxy[:, 2]) / 2, xyxy[:, 3]))
        for track, class_number, (x, y) in zip(track_id.tolist(), class_id.tolist(), feet.tolist(), strict=True):
            if track >= 0:
                trail = self._tracks.pop(track, None) or _Trail()
                trail.add(self._time_s, x, y, class_number)
                self._tracks[track] = trail  # the end of the dict is the youngest
        self._forget()

    def paint(self, canvas: Pixels, colour_of: Callable[[int], Colour], *, scale: float, line_px: int) -> None:
        """Draw the trails into a canvas that shows the source at ``scale``."""
        for trail in self._tracks.values():
            trail.paint(canvas, colour_of(trail.class_id), scale, line_px)

    def _forget(self) -> None:
        for track, trail in list(self._tracks.items()):
            trail.forget_before(self._time_s - TRAIL_S)
            if not trail.points:
                del self._tracks[track]
        while len(self._tracks) > MAX_TRACKS:
            del self._tracks[next(iter(self._tracks))]


class _Trail:
    """One track's ``(seconds, x, y)``."""

    def __init__(self) -> None:
        self.points: deque[tuple[float, float, float]] = deque(maxlen=MAX_POINTS)
        self.class_id = 0

    def add(self, time_s: float, x: float, y: float, class_id: int) -> None:
        self.points.append((time_s, x, y))
        self.class_id = class_id

    def forget_before(self, time_s: float) -> None:
        while self.points and self.points[0][0] < time_s:
            self.points.popleft()

    def paint(self, canvas: Pixels, colour: Colour, scale: float, line_px: int) -> None:
        import cv2

        height, width = canvas.shape[:2]
        # OpenCV takes minutes over coordinates near the largest integers.
        path = (np.array(self.points)[:, 1:] * scale).clip((-width, -height), (2 * width, 2 * height))
        ends = [number * (len(path) - 1) // _PIECES for number in range(_PIECES + 1)]
        for number, (begin, end) in enumerate(pairwise(ends), start=1):
            if end > begin:
                piece = cv2.approxPolyDP(path[begin : end + 1].astype(np.float32), _TOLERANCE_PX, closed=False)
                thickness = max(1, round(line_px * number / _PIECES))
                cv2.polylines(canvas, [piece.round().astype(np.int32)], False, colour, thickness, cv2.LINE_AA)  # noqa: FBT003 - OpenCV takes it by place

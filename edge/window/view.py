"""One camera as it is shown: its newest picture scaled and drawn on, and its head-up line."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge.window.head_up import HeadUp, head_up
from edge.window.paint import BACKGROUND, bar_height, dim, fill, paint_bar, paint_note
from edge.window.roles import CameraFeed
from edge.window.tiles import Rect, fitted
from stream.frame import FrameResult, Pixels
from stream.overlay import Overlay

LABELS_FROM_PX = 200
"""In a lower picture the labels would cover what they name."""

HEAD_UP_EVERY_S = 0.25
"""Figures that change faster cannot be read."""


@dataclass(slots=True)
class Layers:
    """What is drawn on all pictures beside the boxes; the window's views share one."""

    trails: bool = True
    zones: bool = True
    labels: bool = True


class CameraView:
    """Draws one camera into its tile, and only what has changed since it was last drawn. For one thread."""

    def __init__(self, feed: CameraFeed, layers: Layers) -> None:
        self.feed = feed
        self._layers = layers
        self._overlay = Overlay()
        self._result: FrameResult | None = None
        self._head: HeadUp | None = None
        self._head_due_s = 0.0
        self._picture_changed = self._head_changed = True

    @property
    def picture_size(self) -> tuple[int, int] | None:
        """(width, height) of its newest picture."""
        return None if self._result is None else (self._result.frame.width, self._result.frame.height)

    def invalidate(self) -> None:
        """Draw everything at the next opportunity: its tile, or what is drawn into it, is another one now."""
        self._picture_changed = self._head_changed = True
        self._head_due_s = 0.0

    def look(self, now_s: float, *, frozen: bool) -> bool:
        """Fetch what is new; True if there is something to be drawn. ``frozen`` keeps the picture as it is."""
        newest = None if frozen else self.feed.newest()
        if newest is not None and newest is not self._result and newest.frame.picture is not None:
            self._result, self._picture_changed = newest, True
        if now_s >= self._head_due_s:
            self._refresh_head(now_s, frozen=frozen)
        return self._picture_changed or self._head_changed

    def paint(self, tile: Pixels) -> None:
        """Draw what has changed into its part of the canvas."""
        bar_px = min(bar_height(tile.shape[0]), tile.shape[0])
        if self._head is not None and self._head_changed:
            paint_bar(tile[:bar_px], self._head)
        if self._picture_changed:
            self._paint_picture(tile[bar_px:])
        self._picture_changed = self._head_changed = False

    def _refresh_head(self, now_s: float, *, frozen: bool) -> None:
        self._head_due_s = now_s + HEAD_UP_EVERY_S
        head = head_up(
            self.feed.name,
            self.feed.status(now_s),
            self.feed.figures(),
            age_s=None if self._result is None else max(0.0, now_s - self._result.frame.received_s),
            now_s=now_s,
            frozen=frozen,
        )
        if head != self._head:
            # The note lies over the picture: whatever changes in it changes the picture.
            self._picture_changed |= self._head is None or head.note != self._head.note
            self._head, self._head_changed = head, True

    def _paint_picture(self, area: Pixels) -> None:
        note = self._head.note if self._head is not None else ()
        if not area.size:
            return
        fill(area, BACKGROUND)
        if self._result is not None and self._result.frame.picture is not None:
            self._paint_result(area, self._result, self._result.frame.picture, past=bool(note))
        if note:
            paint_note(area, note)

    def _paint_result(self, area: Pixels, result: FrameResult, picture: Pixels, *, past: bool) -> None:
        place = fitted(picture.shape[1], picture.shape[0], Rect(0, 0, area.shape[1], area.shape[0]))
        shown = place.of(area)
        shown[:] = scaled(picture, place.width, place.height)
        if past:
            dim(shown)
            return
        self._overlay.trails, self._overlay.zones = self._layers.trails, self._layers.zones
        self._overlay.labels = self._layers.labels and place.height >= LABELS_FROM_PX
        self._overlay.paint(shown, result, place.height / picture.shape[0])


def scaled(picture: Pixels, width: int, height: int) -> Pixels:
    """The picture at another size: halved exactly while it is far too large (cheap, and no pixel goes unseen), then
    interpolated."""
    while picture.shape[1] >= 2 * width and picture.shape[0] >= 2 * height:
        half = (picture.shape[1] // 2, picture.shape[0] // 2)
        picture = _resized(picture[: 2 * half[1], : 2 * half[0]], half, cv2.INTER_AREA)
    if picture.shape[:2] == (height, width):
        return picture
    return _resized(picture, (width, height), cv2.INTER_LINEAR)


def _resized(picture: Pixels, size: tuple[int, int], interpolation: int) -> Pixels:
    return np.asarray(cv2.resize(picture, size, interpolation=interpolation), np.uint8)

"""Live pictures for viewers: encoded once for all who look, the newest only, and nothing at all while nobody does.

sink thread -> (newest result) -> encoder thread -> loop -> a slot a viewer
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import cv2

from edge.service.settings import LiveViewSettings
from stream.frame import FrameResult, Pixels, SourceInfo
from stream.overlay import Overlay
from stream.sinks.jsonl import prediction


class Look(StrEnum):
    """What a viewer wants of each picture."""

    PLAIN = "plain"
    DRAWN = "drawn"
    """With the boxes drawn into it."""
    RESULT = "result"
    """The result itself, not encoded."""


WIDTHS_PX = (160, 240, 320, 480, 640, 800, 960, 1280, 1600, 1920, 2560, 3840, 5120, 8192)
"""Widths that are asked for are rounded up to these, so that many who look share few encodings."""


@dataclass(frozen=True, slots=True)
class Format:
    """How a picture is encoded; ``width_px`` is the most it may have."""

    look: Look
    width_px: int


@dataclass(frozen=True, slots=True, eq=False)
class LivePicture:
    """A picture and what was found in it; ``jpeg`` holds what was asked for, scaled for viewing."""

    result: FrameResult
    line: dict[str, Any]
    jpeg: dict[Format, bytes]


class Viewer:
    """One who looks: a slot for the newest picture, of which he gets at most ``fps``. For the loop's thread."""

    def __init__(self, wanted: Format, fps: float) -> None:
        self.format = wanted
        self.fps = fps
        self.due_s = 0.0
        """Not before this; set by the encoder."""
        self._newest: LivePicture | None = None
        self._came = asyncio.Event()

    def show(self, picture: LivePicture) -> None:
        self._newest = picture
        self._came.set()

    def jpeg_of(self, picture: LivePicture) -> bytes:
        return picture.jpeg[self.format]

    async def next(self, timeout_s: float) -> LivePicture | None:
        """The newest picture that was not seen yet; None when there is none within ``timeout_s``."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._came.wait()
        self._came.clear()
        picture, self._newest = self._newest, None
        return picture


class Feed:
    """One camera's pictures, over all its restarts."""

    def __init__(
        self, name: str, settings: LiveViewSettings, encoder: Executor, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.name = name
        self.started_at: float | None = None
        self._settings = settings
        self._encoder = encoder
        self._loop = loop
        # bound as a whole, never changed: other threads read it
        self._viewers: tuple[Viewer, ...] = ()
        self._lock = threading.Lock()
        self._busy = False
        self._waiting: FrameResult | None = None
        self._overlay = Overlay(trails=False, zones=True)

    @property
    def watched(self) -> bool:
        """Whether anybody looks; from any thread."""
        return bool(self._viewers)

    @property
    def wants_picture(self) -> bool:
        """Whether the next picture may be of use; from any thread. For one who takes what comes each may be; who asks
        for few spares the camera's thread the conversion of all between."""
        now_s = time.monotonic()
        return any(viewer.due_s <= now_s or viewer.fps >= self._settings.fps for viewer in self._viewers)

    @property
    def viewers(self) -> int:
        return len(self._viewers)

    @contextmanager
    def watch(self, look: Look, *, width_px: int | None = None, fps: float | None = None) -> Iterator[Viewer]:
        """Look until the end of the block; at most at the width and the rate of the settings."""
        allowed = self._settings
        width_px = min(_rounded_up(width_px or allowed.width_px), allowed.width_px)
        viewer = Viewer(Format(look, width_px), min(fps or allowed.fps, allowed.fps))
        self._viewers = (*self._viewers, viewer)
        try:
            yield viewer
        finally:
            self._viewers = tuple(each for each in self._viewers if each is not viewer)

    def offer(self, result: FrameResult) -> None:
        """A new result; from the sink's thread. A picture that is being encoded is finished before the newest."""
        now_s = time.monotonic()
        if result.frame.picture is None or not any(viewer.due_s <= now_s for viewer in self._viewers):
            return
        with self._lock:
            if self._busy:
                self._waiting = result
                return
            self._busy = True
        self._submit(result)

    def _submit(self, result: FrameResult) -> None:
        with suppress(RuntimeError):  # the service ends
            self._encoder.submit(self._encode, result)

    def _encode(self, result: FrameResult) -> None:
        try:
            if due := self._due(time.monotonic()):
                picture = self._made(result, {viewer.format for viewer in due})
                with suppress(RuntimeError):  # the loop is closed
                    self._loop.call_soon_threadsafe(_show, picture, due)
        finally:
            with self._lock:
                following, self._waiting = self._waiting, None
                self._busy = following is not None
        if following is not None:
            self._submit(following)

    def _due(self, now_s: float) -> list[Viewer]:
        """Whose turn it is, and set down when it is again: on beats that all of one rate share, and so one encoding."""
        due = [viewer for viewer in self._viewers if viewer.due_s <= now_s]
        for viewer in due:
            viewer.due_s = (math.floor(now_s * viewer.fps) + 1) / viewer.fps
        return due

    def _made(self, result: FrameResult, formats: set[Format]) -> LivePicture:
        jpeg = {wanted: self._encoded(result, wanted) for wanted in formats if wanted.look is not Look.RESULT}
        return LivePicture(result, prediction(result, self.started_at), jpeg)

    def _encoded(self, result: FrameResult, wanted: Format) -> bytes:
        whole = result.frame.picture
        if whole is None:
            return b""
        canvas = scaled_to(whole, wanted.width_px)
        if wanted.look is Look.DRAWN:
            canvas = canvas.copy() if canvas is whole else canvas
            self._overlay.paint(canvas, result, canvas.shape[1] / whole.shape[1])
        return to_jpeg(canvas, self._settings.quality)


class FeedSink:
    """Hands a camera's results to its feed, as :class:`stream.sinks.base.Sink`; wants pictures for who looks."""

    name = "live"
    optional = True

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    @property
    def wants_picture(self) -> bool:
        return self._feed.wants_picture

    @property
    def outputs(self) -> list[Path]:
        return []

    def open(self, info: SourceInfo) -> None:
        self._feed.started_at = info.started_at

    def write(self, result: FrameResult) -> None:
        self._feed.offer(result)

    def close(self) -> None:
        """Its viewers are told how the camera is by others."""


class Feeds:
    """The feeds of all cameras by name; :meth:`sink` may be called on any thread."""

    def __init__(self, settings: LiveViewSettings, encoder: Executor, loop: asyncio.AbstractEventLoop) -> None:
        self._settings = settings
        self._make: Callable[[str], Feed] = lambda name: Feed(name, settings, encoder, loop)
        self._feeds: dict[str, Feed] = {}
        self._lock = threading.Lock()

    def of(self, camera: str) -> Feed:
        with self._lock:
            if camera not in self._feeds:
                self._feeds[camera] = self._make(camera)
            return self._feeds[camera]

    def sink(self, camera: str) -> FeedSink:
        return FeedSink(self.of(camera))

    @property
    def viewers(self) -> int:
        with self._lock:
            return sum(feed.viewers for feed in self._feeds.values())

    @property
    def full(self) -> bool:
        return self.viewers >= self._settings.viewers

    def forget(self, camera: str) -> None:
        """The camera is gone."""
        with self._lock:
            self._feeds.pop(camera, None)


def to_jpeg(picture: Pixels, quality: int) -> bytes:
    """A BGR picture as JPEG."""
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"a picture of {picture.shape[1]}x{picture.shape[0]} does not fit into a JPEG")
    return data.tobytes()


def _show(picture: LivePicture, viewers: Sequence[Viewer]) -> None:
    for viewer in viewers:
        viewer.show(picture)


def _rounded_up(width_px: int) -> int:
    return next((each for each in WIDTHS_PX if each >= width_px), WIDTHS_PX[-1])


def scaled_to(picture: Pixels, width_px: int) -> Pixels:
    """The picture, made smaller where it is wider: first by a whole number, which OpenCV averages several times as
    fast as any other."""
    height, width = picture.shape[:2]
    if width_px >= width:
        return picture
    final = (width_px, max(1, round(height * width_px / width)))
    times = width // width_px
    if times > 1:
        picture = _resized(picture, (width // times, max(1, height // times)), cv2.INTER_AREA)
    return _resized(picture, final, cv2.INTER_LINEAR)


def _resized(picture: Pixels, size: tuple[int, int], how: int) -> Pixels:
    return cv2.resize(picture, size, interpolation=how)  # type: ignore[return-value] # uint8 as the picture

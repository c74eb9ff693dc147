"""Live pictures for viewers: encoded once for all who look, the newest only, and nothing at all while nobody does.

sink thread -> (newest result) -> encoder thread -> loop -> a slot a viewer
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
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


@dataclass(frozen=True, slots=True, eq=False)
class LivePicture:
    """A picture and what was found in it; ``jpeg`` holds what was asked for, scaled for viewing."""

    result: FrameResult
    line: dict[str, Any]
    jpeg: dict[Look, bytes]


class Viewer:
    """One who looks: a slot for the newest picture. For the loop's thread."""

    def __init__(self, look: Look) -> None:
        self.look = look
        self._newest: LivePicture | None = None
        self._came = asyncio.Event()

    def show(self, picture: LivePicture) -> None:
        if self.look is Look.RESULT or self.look in picture.jpeg:
            self._newest = picture
            self._came.set()

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
        self._viewers: set[Viewer] = set()
        self._looks: frozenset[Look] = frozenset()
        self._lock = threading.Lock()
        self._busy = False
        self._waiting: FrameResult | None = None
        self._next_s = 0.0
        self._overlay = Overlay(trails=False, zones=True)

    @property
    def watched(self) -> bool:
        """Whether anybody looks; from any thread."""
        return bool(self._looks)

    @property
    def viewers(self) -> int:
        return len(self._viewers)

    @contextmanager
    def watch(self, look: Look) -> Iterator[Viewer]:
        """Look until the end of the block."""
        viewer = Viewer(look)
        self._viewers.add(viewer)
        self._recount()
        try:
            yield viewer
        finally:
            self._viewers.discard(viewer)
            self._recount()

    def offer(self, result: FrameResult) -> None:
        """A new result; from the sink's thread. A picture that is being encoded is finished before the newest."""
        if not self._looks or result.frame.picture is None:
            return
        with self._lock:
            if time.monotonic() < self._next_s:
                return
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
            self._next_s = time.monotonic() + 0.9 / self._settings.fps
            jpeg = {look: self._encoded(result, look) for look in self._looks - {Look.RESULT}}
            picture = LivePicture(result, prediction(result, self.started_at), jpeg)
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._show, picture)
        finally:
            with self._lock:
                following, self._waiting = self._waiting, None
                self._busy = following is not None
        if following is not None:
            self._submit(following)

    def _encoded(self, result: FrameResult, look: Look) -> bytes:
        whole = result.frame.picture
        if whole is None:
            return b""
        width_px = min(self._settings.width_px, whole.shape[1])
        scale = width_px / whole.shape[1]
        canvas = whole
        if scale < 1:
            canvas = _scaled(whole, scale)
        if look is Look.DRAWN:
            canvas = canvas.copy() if canvas is whole else canvas
            self._overlay.paint(canvas, result, scale)
        return to_jpeg(canvas, self._settings.quality)

    def _show(self, picture: LivePicture) -> None:
        for viewer in self._viewers:
            viewer.show(picture)

    def _recount(self) -> None:
        self._looks = frozenset(viewer.look for viewer in self._viewers)


class FeedSink:
    """Hands a camera's results to its feed, as :class:`stream.sinks.base.Sink`; wants pictures while somebody looks."""

    name = "live"
    optional = True

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    @property
    def wants_picture(self) -> bool:
        return self._feed.watched

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


def _scaled(picture: Pixels, scale: float) -> Pixels:
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale <= 0.5 else cv2.INTER_LINEAR)  # type: ignore[return-value] # uint8 as the picture

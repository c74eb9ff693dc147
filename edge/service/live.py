"""What a camera sees now: one picture, moving pictures, or pictures with their detections for the page."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from typing import Annotated, Any

import cv2
import numpy as np
from aiohttp import WSMsgType, web
from pydantic import Field

from edge.service.feed import Feed, LivePicture, Look, Viewer, scaled_to, to_jpeg
from edge.service.hub import Hub
from stream.frame import FrameResult, Pixels
from stream.http.endpoints import Call, Endpoint, HttpError, Media, Result, Wire
from stream.http.lasting import open_websocket
from stream.overlay import Overlay
from stream.sources.status import SourceState

SNAPSHOT_WITHIN_S = 3.0
SNAPSHOT_QUALITY = 92

AWAY = frozenset({SourceState.BACKING_OFF, SourceState.REFUSED, SourceState.PAUSED, SourceState.ENDED})
"""Nothing is waited for of a camera that is so."""

TELL_STATE_S = 1.0
"""A viewer of the page hears so often how the camera is, whether or not there are pictures."""

STILL_THERE_S = 3.0
"""Moving pictures that stop say so after this: a last picture that stays looks like a camera that works."""

_BOUNDARY = "picture"
_DELIMITER = f"\r\n--{_BOUNDARY}\r\n".encode()
_CARD_SIZE = (640, 360)


Width = Annotated[
    int | None, Field(ge=16, le=8192, description="At most so wide, or somewhat more; the height follows.")
]


class SnapshotQuery(Wire):
    """What one picture is to look like."""

    boxes: bool = Field(default=True, description="Draw what was found.")
    width: Width = None


class LiveQuery(Wire):
    """How much is wanted of moving pictures: for a small tile, little."""

    width: Width = None
    fps: Annotated[float | None, Field(gt=0, le=120, allow_inf_nan=False, description="At most so many a second.")] = (
        None
    )


class MovingQuery(LiveQuery):
    """The same, with what is drawn into them."""

    boxes: bool = Field(default=True, description="Draw what was found.")


class LiveViews:
    """The endpoints that show a camera."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                "GET",
                "/cameras/{name}/snapshot.jpg",
                self.snapshot,
                "What it sees now",
                query=SnapshotQuery,
                answers={200: Media("image/jpeg", "The picture.")},
                errors=(404,),
                tag="live",
            ),
            Endpoint(
                "GET",
                "/cameras/{name}/live.mjpeg",
                self.mjpeg,
                "Moving pictures for any browser",
                query=MovingQuery,
                answers={200: Media("multipart/x-mixed-replace", "JPEG after JPEG, until you leave.")},
                errors=(404,),
                tag="live",
                lasting=True,
            ),
            Endpoint(
                "GET",
                "/cameras/{name}/live",
                self.websocket,
                "Pictures and their detections",
                query=LiveQuery,
                answers={101: None},
                errors=(404,),
                tag="live",
                lasting=True,
                websocket=True,
                description="A WebSocket. Each binary message is one picture: four bytes with the length of a JSON "
                "object, big-endian; the object, as a line of predictions.jsonl with zones and age_ms; and the JPEG. "
                "Nothing is drawn in it, and it may be smaller than width and height, in whose pixels boxes are. Each "
                "text message is a JSON object with the camera's state, once a second. What you send is not looked at.",
            ),
        ]

    async def snapshot(self, call: Call) -> Result:
        feed = self._feed(call)
        status = self._hub.running.status_of(feed.name, time.monotonic())
        if status.state in AWAY:
            words = f"{feed.name} shows nothing: it is {status.state.value.replace('_', ' ')}"
            words += f" ({status.reason})" if status.reason else ""
            raise HttpError(503, words, retry_after_s=5, cause="no_picture")
        with feed.watch(Look.RESULT) as viewer:
            picture = await viewer.next(SNAPSHOT_WITHIN_S)
        if picture is None:
            raise HttpError(503, f"there is no picture of {feed.name} just now", retry_after_s=5, cause="no_picture")
        loop = asyncio.get_running_loop()
        data = await loop.run_in_executor(self._hub.encoders, _snapshot, picture.result, call.query)
        return web.Response(body=data, content_type="image/jpeg", headers={"Cache-Control": "no-store"})

    async def mjpeg(self, call: Call) -> Result:
        feed = self._feed(call)
        asked: MovingQuery = call.query
        look = Look.DRAWN if asked.boxes else Look.PLAIN
        headers = {"Content-Type": f"multipart/x-mixed-replace; boundary={_BOUNDARY}", "Cache-Control": "no-store"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(call.request)
        await response.write(_DELIMITER[2:])
        with feed.watch(look, width_px=asked.width, fps=asked.fps) as viewer:
            while feed.name in self._hub.running.listed:
                picture = await viewer.next(max(STILL_THERE_S, 2 / viewer.fps))
                jpeg = viewer.jpeg_of(picture) if picture is not None else await self._card(feed)
                await response.write(_part(jpeg))
        return response

    async def websocket(self, call: Call) -> Result:
        feed, asked = self._feed(call), call.query
        websocket = await open_websocket(call)
        hearing = asyncio.create_task(_hear(websocket))
        try:
            with feed.watch(Look.PLAIN, width_px=asked.width, fps=asked.fps) as viewer:
                await self._send_all(websocket, feed, viewer)
        except ConnectionError:
            pass  # it is gone
        finally:
            hearing.cancel()
            with suppress(asyncio.CancelledError):
                await hearing
        return websocket

    async def _send_all(self, websocket: web.WebSocketResponse, feed: Feed, viewer: Viewer) -> None:
        tell_s = 0.0
        while not websocket.closed and feed.name in self._hub.running.listed:
            now_s = time.monotonic()
            if now_s >= tell_s:
                tell_s = now_s + TELL_STATE_S
                await websocket.send_str(json.dumps(self._state(feed.name, now_s)))
            picture = await viewer.next(max(0.01, tell_s - now_s))
            if picture is not None:
                await websocket.send_bytes(_message(picture, viewer.jpeg_of(picture)))
        await websocket.close()

    def _state(self, name: str, now_s: float) -> dict[str, Any]:
        return {"type": "state", "camera": name, **self._hub.standing(name, now_s)}

    def _feed(self, call: Call) -> Feed:
        name = call.path["name"]
        if name not in self._hub.running.listed:
            raise HttpError(404, "there is no camera of this name")
        if self._hub.feeds.full:
            raise HttpError(429, "too many look already", retry_after_s=5, cause="viewers")
        return self._hub.feeds.of(name)

    async def _card(self, feed: Feed) -> bytes:
        status = self._hub.running.status_of(feed.name, time.monotonic())
        words = "no new picture" if status.state is SourceState.LIVE else status.state.value.replace("_", " ")
        return await asyncio.get_running_loop().run_in_executor(self._hub.encoders, _card, feed.name, words)


async def _hear(websocket: web.WebSocketResponse) -> None:
    """Notice that the peer leaves, and take what it sends."""
    async for message in websocket:
        if message.type in {WSMsgType.CLOSE, WSMsgType.ERROR}:
            return


def _message(picture: LivePicture, jpeg: bytes) -> bytes:
    result = picture.result
    line = {
        "type": "picture",
        **picture.line,
        "zones": [
            {
                "name": zone.name,
                "points": zone.points,
                "is_line": zone.is_line,
                "inside": zone.inside,
                "entered": zone.entered,
                "left": zone.left,
            }
            for zone in result.zones
        ],
        "age_ms": round((time.monotonic() - result.frame.received_s) * 1e3, 1),
    }
    head = json.dumps(line, separators=(",", ":")).encode()
    return len(head).to_bytes(4, "big") + head + jpeg


def _part(jpeg: bytes) -> bytes:
    """With the next boundary at its end: browsers show a picture when they see that."""
    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
    return head.encode() + jpeg + _DELIMITER


def _snapshot(result: FrameResult, asked: SnapshotQuery) -> bytes:
    picture = result.frame.picture
    if picture is None:
        raise HttpError(503, "there is no picture just now", retry_after_s=5, cause="no_picture")
    shown = Overlay(zones=True).draw(picture, result) if asked.boxes else picture
    return to_jpeg(scaled_to(shown, asked.width or shown.shape[1]), SNAPSHOT_QUALITY)


def _card(name: str, words: str) -> bytes:
    """A picture that says that there is none. Only letters that OpenCV's font has."""
    card: Pixels = np.full((_CARD_SIZE[1], _CARD_SIZE[0], 3), 32, np.uint8)
    for text, scale, row in ((name, 1.0, 150), (words, 1.4, 220)):
        shown = text.encode("ascii", "replace").decode()
        (width, _), _ = cv2.getTextSize(shown, cv2.FONT_HERSHEY_SIMPLEX, scale, 2)
        place = (max(0, (_CARD_SIZE[0] - width) // 2), row)
        cv2.putText(card, shown, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (220, 220, 220), 2, cv2.LINE_AA)
    return to_jpeg(card, 80)

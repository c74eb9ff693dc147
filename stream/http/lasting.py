"""Answers that go on, and how they end when the service does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from aiohttp import WSCloseCode, web

from stream.http.endpoints import Call
from stream.http.errors import HttpError

_PING_EVERY_S = 15
_CLOSE_S = 2.0
"""How long a peer may take to say goodbye as well."""


class Lasting:
    """The open WebSockets and the tasks of live answers."""

    def __init__(self) -> None:
        self._answers: dict[asyncio.Task[object], web.WebSocketResponse | None] = {}

    @contextmanager
    def going(self) -> Iterator[None]:
        """The task that runs is a lasting answer in here."""
        task = _running()
        self._answers[task] = None
        try:
            yield
        finally:
            del self._answers[task]

    def has_websocket(self, websocket: web.WebSocketResponse) -> None:
        """The answer of the task that runs is ``websocket``."""
        task = _running()
        if task in self._answers:
            self._answers[task] = websocket

    async def end(self, within_s: float) -> None:
        """Close all WebSockets with 1001, then cancel what still goes on."""
        closing = [self._close(websocket) for websocket in self._answers.values() if websocket is not None]
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await asyncio.gather(*closing)
        for task in self._answers:
            task.cancel()

    async def _close(self, websocket: web.WebSocketResponse) -> None:
        with suppress(ConnectionError):
            await websocket.close(code=WSCloseCode.GOING_AWAY, message=b"the service stops")


def _running() -> asyncio.Task[object]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("answers are made in tasks")
    return task


LASTING = web.AppKey("lasting", Lasting)


async def open_websocket(call: Call, *, max_message_bytes: int = 64 << 10) -> web.WebSocketResponse:
    """Accept the WebSocket of ``call`` (an endpoint with ``websocket`` and ``lasting``): pings, no compression, closed
    with 1001 when the service stops. Return it from the handler when done. A ``send_*`` waits while the peer is slow;
    one that takes too little is left by the connection's send limit."""
    websocket = web.WebSocketResponse(
        heartbeat=_PING_EVERY_S, compress=False, max_msg_size=max_message_bytes, timeout=_CLOSE_S
    )
    if not websocket.can_prepare(call.request):
        raise HttpError(426, "this address speaks WebSocket only", headers={"Upgrade": "websocket"})
    await websocket.prepare(call.request)
    call.request.app[LASTING].has_websocket(websocket)
    return websocket

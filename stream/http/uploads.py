"""Bodies of requests: counted while they come, within a deadline, not too many at once."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from stream.http.errors import HttpError, sentence_for
from stream.http.settings import LimitSettings

_PATIENCE_S = 3.0
"""An upload that takes longer gives way when there are too many."""


class Uploads:
    """Receives bodies, at most ``limits.uploads`` at once: past that the one that takes longest gives way, so that
    slow clients do not keep out quick ones. After :meth:`end` none is waited for."""

    def __init__(self, limits: LimitSettings, *, patience_s: float = _PATIENCE_S) -> None:
        self._limits = limits
        # slow bodies must not take up all connections
        self._most = min(limits.uploads, max(1, limits.sockets // 2))
        self._patience_s = patience_s
        self._running: dict[asyncio.Timeout, float] = {}
        self._ending = False

    def end(self) -> None:
        """The service stops: what has not come by now is not waited for, so that the time is left for answers."""
        self._ending = True
        for deadline in self._running:
            deadline.reschedule(asyncio.get_running_loop().time())

    async def read(self, request: web.Request, max_bytes: int | None) -> bytes:
        """The whole body, decompressed.

        Raises:
            HttpError: 413 too large, 408 too slow, 429 too many at once, 400 broken off or malformed, 503 the service
                stops.
        """
        limit = self._limits.body_bytes if max_bytes is None else max_bytes
        if (request.content_length or 0) > limit:
            raise _too_large(limit)
        await _say_continue(request)
        try:
            async with self._turn():
                return await _received(request, limit)
        except TimeoutError as exc:
            if self._ending:
                raise HttpError(503, "the service is about to stop", cause="drain", closes=True) from exc
            raise HttpError(408, sentence_for(408), cause="body_timeout", closes=True) from exc
        except (web.RequestPayloadError, ConnectionError) as exc:
            raise HttpError(400, "the body is broken off or malformed", cause="malformed", closes=True) from exc

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        # with no time left, what lies in the buffer is still read
        async with asyncio.timeout(0 if self._ending else self._limits.body_timeout_s) as deadline:
            self._make_room()
            self._running[deadline] = asyncio.get_running_loop().time()
            try:
                yield
            finally:
                self._running.pop(deadline, None)

    def _make_room(self) -> None:
        if len(self._running) < self._most:
            return
        now_s = asyncio.get_running_loop().time()
        oldest, since_s = next(iter(self._running.items()))
        if now_s - since_s < self._patience_s:
            raise HttpError(429, "too many uploads at once; try again", retry_after_s=1, cause="uploads")
        del self._running[oldest]
        oldest.reschedule(now_s)


async def _received(request: web.Request, limit: int) -> bytes:
    body = io.BytesIO()  # gives away what it holds without a copy
    while chunk := await _next(request):
        if body.tell() + len(chunk) > limit:
            raise _too_large(limit)
        body.write(chunk)
    return body.getvalue()


async def _next(request: web.Request) -> bytes:
    if request.transport is None:
        raise ConnectionResetError("the client has left, or was left")
    return await request.content.readany()


async def _say_continue(request: web.Request) -> None:
    """Ask a client for its body that waits to be asked: only now is it known that it will be read."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # what was written is no part of the answer
        request.writer.output_size = 0


def _too_large(limit: int) -> HttpError:
    return HttpError(413, f"the body is larger than {limit / (1 << 20):.3g} MiB", cause="body_size", closes=True)

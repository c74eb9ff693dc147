"""Bodies of requests: counted while they come, within a deadline, not too many at once."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from stream.http.errors import HttpError, sentence_for
from stream.http.settings import LimitSettings

_PATIENCE_S = 3.0
"""An upload that takes longer gives way when there are too many."""

_SILENT_SHARE = 6
"""And one of which nothing came for this part of that time."""


@dataclass(slots=True, eq=False)
class _Upload:
    since_s: float
    heard_s: float
    # gives away what it holds without a copy
    body: io.BytesIO = field(default_factory=io.BytesIO)


class Uploads:
    """Receives bodies, at most ``limits.uploads`` and ``limits.uploads_mb`` at once: past that the one gives way that
    is silent or takes longest, so that slow clients do not keep out quick ones. After :meth:`end` none is waited for.
    """

    def __init__(self, limits: LimitSettings, *, patience_s: float = _PATIENCE_S) -> None:
        self._limits = limits
        # slow bodies must not take up all connections
        self._most = min(limits.uploads, max(1, limits.sockets // 2))
        self._patience_s = patience_s
        self._running: dict[asyncio.Timeout, _Upload] = {}
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
            async with self._turn() as upload:
                return await self._received(request, limit, upload)
        except TimeoutError as exc:
            if self._ending:
                raise HttpError(503, "the service is about to stop", cause="drain", closes=True) from exc
            raise HttpError(408, sentence_for(408), cause="body_timeout", closes=True) from exc
        except (web.RequestPayloadError, ConnectionError) as exc:
            raise HttpError(400, "the body is broken off or malformed", cause="malformed", closes=True) from exc

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[_Upload]:
        # with no time left, what lies in the buffer is still read
        async with asyncio.timeout(0 if self._ending else self._limits.body_timeout_s) as deadline:
            if len(self._running) >= self._most:
                self._make_room()
            now_s = asyncio.get_running_loop().time()
            upload = self._running[deadline] = _Upload(now_s, now_s)
            try:
                yield upload
            finally:
                self._running.pop(deadline, None)

    async def _received(self, request: web.Request, limit: int, upload: _Upload) -> bytes:
        while chunk := await _next(request):
            if upload.body.tell() + len(chunk) > limit:
                raise _too_large(limit)
            upload.heard_s = asyncio.get_running_loop().time()
            while self._held_bytes + len(chunk) > max(self._limits.uploads_bytes, limit):
                self._make_room(upload)
            upload.body.write(chunk)
        return upload.body.getvalue()

    @property
    def _held_bytes(self) -> int:
        return sum(each.body.tell() for each in self._running.values())

    def _make_room(self, receiving: _Upload | None = None) -> None:
        """End another than this one. Raises HttpError 429 where all others are quick."""
        now_s = asyncio.get_running_loop().time()
        others = [each for each in self._running.items() if each[1] is not receiving]
        silent = min(others, key=lambda each: each[1].heard_s, default=None)
        if silent is not None and now_s - silent[1].heard_s < self._patience_s / _SILENT_SHARE:
            silent = others[0] if now_s - others[0][1].since_s >= self._patience_s else None
        if silent is None:
            sentence = "too many uploads at once; try again"
            raise HttpError(429, sentence, retry_after_s=1, cause="uploads", closes=receiving is not None)
        del self._running[silent[0]]
        silent[0].reschedule(now_s)


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

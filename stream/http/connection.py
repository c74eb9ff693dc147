"""A connection that aiohttp serves, with the limits it has no settings for."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import cast

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong

from stream.http.errors import sentence_for
from stream.http.headers import API_HEADERS
from stream.http.settings import LimitSettings
from stream.http.visits import Visit, Visits

log = logging.getLogger(__name__)

_LINGER_S = 3.0
"""How long a body that nobody wants is read, so that its sender sees the answer rather than a reset."""

_NEVER_S = 1e9

_TOO_MANY = "Too many headers received"
"""aiohttp's words."""


class Connection(web.RequestHandler):
    """aiohttp's protocol, which tells its visit what happens, and answers what it cannot parse as we answer errors."""

    __slots__ = ("_visit", "_visits")

    def __init__(
        self, server: web.Server, visit: Visit, visits: Visits, limits: LimitSettings, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(
            server,
            loop=loop,
            # the visit's patience sees to it
            keepalive_timeout=_NEVER_S,
            lingering_time=_LINGER_S,
            max_line_size=limits.header_bytes,
            max_field_size=limits.header_bytes,
            max_headers=limits.headers,
            access_log=None,  # type: ignore[arg-type] # None is how aiohttp is told not to
        )
        self._visit = visit
        self._visits = visits

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # uvloop's transports are of no type of asyncio's
        self._visit.waiting_bytes = cast("asyncio.WriteTransport", transport).get_write_buffer_size
        self._visit.drop = self.drop

    def drop(self) -> None:
        """Close at once, whatever waits to be sent."""
        # first: what is written from now on finds nobody, instead of a transport that is half gone
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.abort()
        self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._visit.waiting_bytes = lambda: 0
        super().connection_lost(exc)
        self._visits.forget(self._visit)

    def data_received(self, data: bytes) -> None:
        self._visit.patience.heard(self._loop.time())
        super().data_received(data)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._visit.patience.blocked(self._loop.time(), self._visit.waiting_bytes())

    def resume_writing(self) -> None:
        super().resume_writing()
        self._visit.patience.flowed()

    def request_began(self) -> None:
        """The server's handler was called for this connection."""
        self._visits.began(self._visit)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        if request.content.exception() is not None:
            # nothing more can be read of the body; aiohttp would try, and log that as a failure of ours
            request.content.feed_eof()
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._visits.ended(self._visit, self._loop.time())

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, ConnectionError):
            raise exc  # nobody is there to be told; aiohttp closes
        if status >= 500:
            log.error("an answer could not be made", exc_info=exc)
        else:
            self._visits.rejected("malformed")
            log.debug("a request that is not HTTP: %s", message)
        if request.writer.output_size > 0:
            raise ConnectionResetError("the answer had begun already")
        status = 431 if _headers_too_large(exc) else status
        body = json.dumps({"error": sentence_for(status)})
        response = web.Response(status=status, text=body, content_type="application/json", headers=API_HEADERS)
        response.force_close()
        return response


def _headers_too_large(exc: BaseException | None) -> bool:
    """aiohttp has no error of its own for too many of them, only words."""
    return isinstance(exc, LineTooLong) or (isinstance(exc, BadHttpMessage) and exc.message == _TOO_MANY)

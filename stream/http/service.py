"""A service on its address: started on the running loop, drained within a budget."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from stream.errors import UsageError
from stream.http.answers import foreign_answer
from stream.http.connection import Connection
from stream.http.context import CONTEXT
from stream.http.door import Door, listen
from stream.http.headers import API_HEADERS
from stream.http.settings import HttpSettings, is_loopback, require_closed_door
from stream.http.tls import Certificates
from stream.http.visits import Visits

log = logging.getLogger(__name__)

_GOODBYE_SHARE = 0.2
"""Of the budget, what peers of WebSockets may take to say goodbye."""

_CLEANUP_SHARE = 0.2
"""And what is kept for cancelling what did not finish, and for the application's own cleaning up."""

_CANCELLED_S = 0.1
"""How long aiohttp waits for what was cancelled."""


class Service:
    """Serves ``app`` (made by :func:`stream.http.app.build_app`) as ``settings`` say: one start, one drain."""

    def __init__(self, app: web.Application, settings: HttpSettings) -> None:
        self._settings = settings
        self._context = app[CONTEXT]
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=_CANCELLED_S)
        metrics = self._context.metrics
        self._visits = Visits(settings.limits, metrics.rejected, metrics.sockets)
        self._door: Door | None = None
        self._addresses: tuple[str, ...] = ()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens, as URLs; empty before :meth:`start`."""
        return self._addresses

    async def start(self) -> None:
        """Begin to listen.

        Raises:
            UsageError: the door would be open to all, the address cannot be listened on, or a certificate is wrong.
        """
        settings = self._settings
        require_closed_door(settings)
        certificates = Certificates(settings.tls) if settings.tls else None
        sockets = await listen(settings.host, settings.port)
        try:
            await self._runner.setup()
        except BaseException:
            for each in sockets:
                each.close()
            raise
        server = self._runner.server
        if server is None:
            raise UsageError("the service was stopped while it started")
        server.request_handler = _told(server.request_handler)
        context = certificates.context if certificates else None
        self._door = Door(server, self._visits, proxies=settings.trusted_proxies, certificates=context)
        scheme = "https" if certificates else "http"
        self._addresses = tuple(_url(scheme, each.getsockname()) for each in sockets)
        self._door.open(sockets)
        if settings.tokens and not certificates and not is_loopback(settings.host):
            log.warning("tokens travel unencrypted: set tls, or let a proxy in front of this service do it")

    async def drain(self, budget_s: float = 10.0) -> None:
        """Stop listening, let requests finish, close WebSockets (1001) and live answers; ends within ``budget_s``.

        A request whose body has not come by now is answered 503. What has not finished within the budget is cancelled.
        Both are counted as ``drain`` in the rejections.
        """
        loop = asyncio.get_running_loop()
        end_s = loop.time() + budget_s
        self._context.ending = True
        self._context.uploads.end()
        if self._door is not None:
            await self._door.close()
        self._visits.drop_idle()
        await self._context.lasting.end(budget_s * _GOODBYE_SHARE)
        try:
            async with asyncio.timeout_at(end_s - budget_s * _CLEANUP_SHARE):
                await self._visits.quiet()
                await asyncio.gather(*self._context.changes, return_exceptions=True)
        except TimeoutError:
            log.warning("requests were cut off, for they did not finish in %g s", budget_s)
            self._context.metrics.rejected("drain")
        self._visits.drop_all()
        try:
            # its share also where a machine that stood still has used it up
            async with asyncio.timeout_at(max(end_s, loop.time() + budget_s * _CLEANUP_SHARE)):
                await self._runner.cleanup()
        except TimeoutError:
            log.warning("cleaning up did not finish in %g s", budget_s)


def _told(
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
) -> Callable[..., Awaitable[web.StreamResponse]]:
    """The application's handler, whose connection is told that a request began; what aiohttp refuses before any of our
    code runs gets our shape as well."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        if isinstance(connection, Connection):
            connection.request_began()
        try:
            return await handler(request)
        except web.HTTPException as exc:
            response = foreign_answer(exc)
            response.headers.update(API_HEADERS)
            return response

    return handle


def _url(scheme: str, name: tuple[object, ...]) -> str:
    host, port = str(name[0]), name[1]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

"""Listening sockets and who comes in through them."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress

from aiohttp import web

from stream.errors import UsageError
from stream.http.client import Network, counted_as, is_proxy
from stream.http.connection import Connection
from stream.http.visits import Visit, Visits

log = logging.getLogger(__name__)

_BACKLOG = 512
_SEND_BUFFER_BYTES = 128 << 10
"""Asked of the kernel for each connection. Left to itself it keeps megabytes: live pictures would be seconds old, and
a slow reader could not be told from one that does not read."""

_FULL_S = 0.05
"""How long to wait when the process has no file descriptor left."""

_BUSY = json.dumps({"error": "too many connections; try again"}).encode()
_BUSY_ANSWER = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(_BUSY), _BUSY)
)

_TROUBLES = {
    errno.EADDRINUSE: "another program listens there; choose another port",
    errno.EACCES: "ports below 1024 need more rights; choose another port",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}


class Door:
    """Accepts connections and hands them to aiohttp; counts them before TLS, where a silent client costs as much.

    ``certificates`` gives the TLS context of the moment, or None.
    """

    def __init__(
        self,
        server: web.Server,
        visits: Visits,
        *,
        proxies: Sequence[Network] = (),
        certificates: Callable[[float], ssl.SSLContext] | None = None,
    ) -> None:
        self._server = server
        self._visits = visits
        self._proxies = proxies
        self._certificates = certificates
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sockets: list[socket.socket] = []

    def open(self, sockets: list[socket.socket]) -> None:
        """Begin to accept from listening sockets, which are the door's from now on."""
        self._sockets = sockets
        for each in sockets:
            self._keep(self._accept(each))
        self._keep(self._sweep())

    async def close(self) -> None:
        """Stop listening; open connections stay."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for each in self._sockets:
            each.close()

    def _keep(self, coroutine: asyncio._CoroutineLike[None]) -> asyncio.Task[None]:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _sweep(self) -> None:
        limits = self._visits.limits
        shortest_s = min(limits.head_timeout_s, limits.send_timeout_s, limits.idle_s)
        while True:
            await asyncio.sleep(min(1.0, max(0.02, shortest_s / 5)))
            self._visits.sweep(self._loop.time())

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                visitor, address = await self._loop.sock_accept(listener)
            except ConnectionError:
                continue  # gone before we looked
            except OSError as exc:
                self._visits.rejected("descriptors")
                log.warning("no connection can be accepted: %s", exc.strerror)
                self._visits.make_room(self._loop.time())
                await asyncio.sleep(_FULL_S)
                continue
            self._admit(visitor, address[0])

    def _admit(self, visitor: socket.socket, address: str) -> None:
        counted = not is_proxy(address, self._proxies)
        visit = self._visits.admit(counted_as(address), self._loop.time(), counted=counted)
        if visit is None:
            _turn_away(visitor, plain=self._certificates is None)
            return
        task = self._keep(self._welcome(visitor, visit))
        visit.drop = task.cancel

    async def _welcome(self, visitor: socket.socket, visit: Visit) -> None:
        """Make a connection of it; with TLS this waits for the client."""
        limits = self._visits.limits
        context = self._certificates(self._loop.time()) if self._certificates else None
        connection = Connection(self._server, visit, self._visits, limits, self._loop)
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection,
                visitor,
                ssl=context,
                ssl_handshake_timeout=limits.head_timeout_s if context else None,
                ssl_shutdown_timeout=limits.head_timeout_s if context else None,
            )
        except OSError as exc:
            self._visits.rejected("tls")
            log.debug("no TLS with %s: %s", visit.client, exc)
            self._part(visitor, visit)
        except asyncio.CancelledError:
            self._part(visitor, visit)
            raise

    def _part(self, visitor: socket.socket, visit: Visit) -> None:
        visitor.close()
        self._visits.forget(visit)


async def listen(host: str, port: int) -> list[socket.socket]:
    """Listening sockets at all addresses of ``host``; port 0 takes one free port for all.

    Raises:
        UsageError: it cannot be listened on.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as exc:
        raise UsageError(f"cannot listen on {host}: this name has no address") from exc
    sockets: list[socket.socket] = []
    trouble: OSError | None = None
    for family, address in sorted({(family, address[0]) for family, _, _, _, address in found}):
        try:
            taken = sockets[0].getsockname()[1] if sockets else port
            sockets.append(_listening(family, str(address), taken))
        except OSError as exc:
            trouble = exc
    if trouble is not None and (not sockets or trouble.errno == errno.EADDRINUSE):
        for each in sockets:
            each.close()
        reason = _TROUBLES.get(trouble.errno or 0) or trouble.strerror
        raise UsageError(f"cannot listen on {host} port {port}: {reason}") from trouble
    return sockets


def _listening(family: int, address: str, port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address != "::")
        listener.bind((address, port))
        listener.listen(_BACKLOG)
        listener.settimeout(0)
    except OSError:
        listener.close()
        raise
    return listener


def _turn_away(visitor: socket.socket, *, plain: bool) -> None:
    """Say so if that can be said without waiting."""
    with visitor, suppress(OSError):
        visitor.settimeout(0)
        if plain:
            visitor.send(_BUSY_ANSWER)
            visitor.shutdown(socket.SHUT_WR)

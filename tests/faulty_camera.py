"""A camera with a bad day: a TCP proxy before a real server, or a hostile server of its own, on loopback.

``camera.fault`` may be set at any time: it counts for new connections and for those that stand.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from enum import StrEnum

DRIP_S = 0.05

_MEDIA = b"$"
"""What media packets begin with where RTSP carries them (RFC 2326, section 10.12)."""


class Fault(StrEnum):
    NONE = "none"
    """Everything goes through."""

    SILENT = "silent"
    """Nothing comes back any more; the connection stands. In the middle of a picture where one was on its way."""

    RESET = "reset"
    """The connection is broken off the hard way."""

    CLOSED = "closed"
    """The connection is ended politely, in the middle of a picture."""

    DRIP = "drip"
    """A few bytes at a time, far too slowly."""

    BLIND = "blind"
    """An RTSP camera that agrees to everything and ends the connection where its first picture should come."""


class FaultyCamera:
    """Listens on ``port``; forwards to ``upstream`` where there is one, else answers nothing."""

    def __init__(self, upstream_port: int | None = None) -> None:
        self.fault = Fault.NONE
        self.connections = 0
        self.port = 0
        self._upstream_port = upstream_port
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="faulty-camera", daemon=True)

    def __enter__(self) -> FaultyCamera:
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(60)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._done = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._handle, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._done.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            if self._upstream_port is None or self.fault not in {Fault.NONE, Fault.BLIND}:
                await self._forward(b"........", writer)
                await self._done.wait()
            else:
                await self._proxy(reader, writer, self._upstream_port)
        writer.close()

    async def _proxy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        down, up = await asyncio.open_connection("127.0.0.1", port)
        asking = asyncio.create_task(_pump(reader, up))
        try:
            while chunk := await down.read(4096):
                await self._forward(chunk, writer)
        finally:
            asking.cancel()
            up.close()

    async def _forward(self, chunk: bytes, writer: asyncio.StreamWriter) -> None:
        if self.fault is Fault.NONE or (self.fault is Fault.BLIND and not chunk.startswith(_MEDIA)):
            writer.write(chunk)
            await writer.drain()
            return
        if self.fault is Fault.BLIND:
            raise ConnectionAbortedError
        writer.write(chunk[: len(chunk) // 2] if self._upstream_port else b"")
        if self.fault is Fault.RESET:
            _reset(writer)
        if self.fault is Fault.DRIP:
            await _drip(chunk, writer)
        if self.fault is Fault.SILENT:
            await self._done.wait()
        raise ConnectionAbortedError


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(4096):
            writer.write(chunk)
            await writer.drain()


async def _drip(chunk: bytes, writer: asyncio.StreamWriter) -> None:
    while True:
        for byte in chunk:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(DRIP_S)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with an RST instead of a FIN."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()

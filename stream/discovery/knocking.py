"""What a host offers at all, for the sentence that is said when its stream does not open."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterable

import aiohttp

USUAL_PORTS = {554: "RTSP", 8554: "RTSP", 80: "a web page", 8080: "a web page", 443: "a web page", 1935: "RTMP"}
"""Where cameras and stream servers listen, and what for."""

KNOCK_TIMEOUT_S = 1.0
"""A host in the same network answers within milliseconds; nobody waits longer for an explanation."""

PAGE_TIMEOUT_S = 3.0
MAX_REDIRECTS = 3
MAX_GREETING_BYTES = 64


def is_known(host: str) -> bool:
    """Whether ``host`` has an address."""
    try:
        return bool(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        return False


def open_ports(host: str, ports: Iterable[int], timeout_s: float = KNOCK_TIMEOUT_S) -> tuple[int, ...]:
    """Those of ``ports`` on which ``host`` takes a connection; nothing is sent."""
    return asyncio.run(_open_ports(host, tuple(ports), timeout_s))


def greeting(host: str, port: int, timeout_s: float = KNOCK_TIMEOUT_S) -> str | None:
    """The first word that a port answers to RTSP's simplest question: ``RTSP/1.0``, ``HTTP/1.1``; empty where it
    hangs up, None where it says nothing."""
    return asyncio.run(_greeting(host, port, timeout_s))


def content_type(url: str, timeout_s: float = PAGE_TIMEOUT_S) -> str:
    """What a web server says is at ``url`` (``text/html``), empty where it says nothing."""
    return asyncio.run(_content_type(url, timeout_s))


async def _open_ports(host: str, ports: tuple[int, ...], timeout_s: float) -> tuple[int, ...]:
    answered = await asyncio.gather(*(_answers(host, port, timeout_s) for port in ports))
    return tuple(port for port, open_ in zip(ports, answered, strict=True) if open_)


async def _answers(host: str, port: int, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(host, port)
    except OSError:  # a TimeoutError is one
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def _greeting(host: str, port: int, timeout_s: float) -> str | None:
    writer = None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n")
            heard = await reader.read(MAX_GREETING_BYTES)
    except TimeoutError:
        return None
    except OSError:
        return ""
    finally:
        if writer is not None:
            writer.close()
    return heard.decode("ascii", "replace").partition(" ")[0]


async def _content_type(url: str, timeout_s: float) -> str:
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session,
            session.get(url, ssl=False, max_redirects=MAX_REDIRECTS) as response,
        ):
            return str(response.headers.get("Content-Type", "")).partition(";")[0].strip().lower()
    except (aiohttp.ClientError, OSError, ValueError):
        return ""

"""A refiner on loopback that answers as it should, or as badly as a test wants it to."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from aiohttp import web

from stream.runtime import LoopThread
from stream.wire import decode_request
from tests.ports import HeldPort

WAIT_S = 60.0

Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: when it had arrived (monotonic), how large it was with its headers, and what it asked about."""

    at_s: float
    size_bytes: int
    items: list[Item]
    headers: dict[str, str]

    @property
    def keys(self) -> list[str]:
        return [item["key"] for item in self.items]


Behaviour = Callable[[web.Request, Asked], Awaitable[web.StreamResponse]]


def verdict(item: Item) -> dict[str, Any]:
    return {
        "key": item["key"],
        "label": f"fine {item['class']}",
        "confidence": 0.82,
        "top_k": [{"label": f"fine {item['class']}", "confidence": 0.82}],
        "agreement": 1.0,
        "model": {"name": "lite0", "version": "1", "sha256": "cd" * 32},
    }


def answer(results: list[dict[str, Any]]) -> web.Response:
    return web.json_response({"version": 1, "results": results})


async def good(request: web.Request, asked: Asked) -> web.StreamResponse:
    return answer([verdict(item) for item in asked.items])


class RefineServer:
    """Runs in a thread of its own; ``behave`` may be changed at any time, and counts for what arrives from then on.
    ``answered`` counts by key how often a verdict was given, ``asked`` holds every request that arrived."""

    def __init__(self, behave: Behaviour = good, tls: ssl.SSLContext | None = None) -> None:
        self.behave = behave
        self._tls = tls
        self._port = HeldPort()
        self.asked: list[Asked] = []
        self.answered: Counter[str] = Counter()
        self.under_way = 0
        self.most_under_way = 0
        self._changed = threading.Condition()
        self._running = ExitStack()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        port = self._port.number
        return f"https://localhost:{port}" if self._tls else f"http://127.0.0.1:{port}"

    @property
    def keys(self) -> list[str]:
        return [key for asked in self.asked for key in asked.keys]

    def start(self) -> RefineServer:
        """Also again after :meth:`stop`, on the same port."""
        self._running = ExitStack()
        self._loop = self._running.enter_context(LoopThread())
        self._loop.submit(self._start()).result(WAIT_S)
        return self

    def stop(self) -> None:
        """As if it were killed: connections are cut."""
        self._loop.submit(self._stop()).result(WAIT_S)
        self._running.close()

    def __enter__(self) -> RefineServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def wait_for(self, condition: Callable[[RefineServer], bool], within_s: float = WAIT_S) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self), within_s), f"asked {len(self.asked)} times"

    async def _start(self) -> None:
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.05, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port.number, reuse_address=True, ssl_context=self._tls)
        await site.start()

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            body = await request.read()
            size_bytes = len(body) + sum(len(name) + len(value) + 4 for name, value in request.raw_headers)
            items = _items(body, request.headers["Content-Type"])
            asked = Asked(time.monotonic(), size_bytes, items, dict(request.headers))
            behave = self.behave  # before anybody hears of the request, and changes it
            self._note(asked)
            response = await behave(request, asked)
            if isinstance(response, web.Response) and response.status == 200:
                self._count(response)
            return response
        finally:
            self.under_way -= 1

    def _note(self, asked: Asked) -> None:
        with self._changed:
            self.asked.append(asked)
            self._changed.notify_all()

    def _count(self, response: web.Response) -> None:
        try:
            results = json.loads(response.text or "")["results"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return
        with self._changed:
            self.answered.update(each["key"] for each in results if "label" in each)
            self._changed.notify_all()


def _items(content: bytes, content_type: str) -> list[Item]:
    """What is asked about, each with its JPEG; read as strictly as the real one does."""
    return [
        crop.item.model_dump(mode="json", by_alias=True) | {"jpeg": crop.jpeg}
        for crop in decode_request(content, content_type)
    ]


# Ways to misbehave.


def status(code: int, **headers: str) -> Behaviour:
    async def behave(request: web.Request, asked: Asked) -> web.StreamResponse:
        return web.Response(status=code, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return behave


def body(content: bytes) -> Behaviour:
    async def behave(request: web.Request, asked: Asked) -> web.StreamResponse:
        return web.Response(body=content, content_type="application/json")

    return behave


def slow(seconds: float, then: Behaviour = good) -> Behaviour:
    async def behave(request: web.Request, asked: Asked) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await then(request, asked)

    return behave


async def half(request: web.Request, asked: Asked) -> web.StreamResponse:
    """Promises more than it sends, and hangs up."""
    whole = json.dumps({"version": 1, "results": [verdict(item) for item in asked.items]}).encode()
    response = web.StreamResponse(headers={"Content-Length": str(len(whole))})
    await response.prepare(request)
    await response.write(whole[: len(whole) // 2])
    assert request.transport is not None
    request.transport.close()
    return response


async def drip(request: web.Request, asked: Asked) -> web.StreamResponse:
    """A byte now and then, for ever."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.02)


async def hang_up(request: web.Request, asked: Asked) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def reset(request: web.Request, asked: Asked) -> web.StreamResponse:
    """As the system does for a process that is killed before it has read all of a request."""
    assert request.transport is not None
    at_once = struct.pack("ii", 1, 0)
    request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
    request.transport.abort()
    return web.Response()


def after(event: threading.Event, then: Behaviour = good) -> Behaviour:
    """Says nothing before the test lets it."""

    async def behave(request: web.Request, asked: Asked) -> web.StreamResponse:
        while not event.is_set():  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0.005)
        return await then(request, asked)

    return behave


async def others_ids(request: web.Request, asked: Asked) -> web.StreamResponse:
    return answer([verdict({**item, "key": "x" + item["key"]}) for item in asked.items])


@dataclass(slots=True)
class Except:
    """Behaves badly towards requests that hold one of the keys, and well towards the others."""

    keys: set[str]
    badly: Behaviour
    well: Behaviour = field(default=good)

    async def __call__(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        behave = self.well if self.keys.isdisjoint(asked.keys) else self.badly
        return await behave(request, asked)

"""A small service with one endpoint of each kind, and ways to talk to it: politely, and byte by byte."""

from __future__ import annotations

import asyncio
import functools
import io
import json
import re
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import uvloop
from aiohttp import web
from multidict import CIMultiDict
from pydantic import Field

from stream.errors import DecodeError, ModelError, OutputError, SourceError, UsageError, VideoDiscoError
from stream.http.app import About, Instruments, build_app
from stream.http.endpoints import (
    Answer,
    Call,
    Endpoint,
    Form,
    FormBody,
    JsonBody,
    Media,
    RawBody,
    Result,
    Role,
    Wire,
)
from stream.http.errors import HttpError
from stream.http.lasting import open_websocket
from stream.http.metrics import Metrics
from stream.http.service import Service
from stream.http.settings import HttpSettings

ABOUT = About("demo", "Demo", "1.2.3", "One endpoint of each kind.")
VIEW, OPERATE, ADMIN = "view-token-0123456789", "operate-token-012345", "admin-token-01234567"
TOKENS = (
    {"name": "screen", "token": VIEW, "role": "view"},
    {"name": "guard", "token": OPERATE, "role": "operate"},
    {"name": "owner", "token": ADMIN, "role": "admin"},
)
BIG_BYTES = 64 << 20
"""More than kernels keep for a socket."""

WAIT_S = 30.0
"""Nothing is ever waited for so long, but on a machine that stands still meanwhile."""

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class DetectQuery(Wire):
    conf: float = Field(0.4, ge=0, le=1, allow_inf_nan=False, description="Lowest confidence.")
    classes: tuple[str, ...] = Field((), max_length=5, description="Classes to keep.")


class DetectFields(Wire):
    note: str = Field("", max_length=20, description="Something to say.")
    numbers: tuple[int, ...] = Field((), description="A JSON part.")


class Found(Wire):
    """What was found."""

    sizes: list[int] = Field(description="Bytes of each picture.")
    conf: float = Field(description="The lowest confidence asked for.")


class ThingPath(Wire):
    name: str = Field(pattern="^[a-z0-9_-]{1,20}$", description="The thing's name.")


class Thing(Wire):
    """A thing."""

    weight_kg: float = Field(gt=0, le=1000, allow_inf_nan=False, description="Its weight.")
    colour: str = Field("grey", max_length=20, description="Its colour.")


_TROUBLES: Mapping[str, VideoDiscoError] = {
    "usage": UsageError("this cannot be"),
    "source": SourceError("cannot open rtsp://user:hunter2@camera/x"),
    "model": ModelError("/var/lib/models/secret/nano.onnx is refused"),
    "decode": DecodeError("the picture is broken"),
    "output": OutputError("cannot write /home/me/runs/x"),
    "bug": VideoDiscoError("inner workings"),
    "conflict": HttpError(409, "there is one already"),
    "busy": HttpError(429, "the queue is full", retry_after_s=2.2, cause="queue"),
}


class TroubleQuery(Wire):
    kind: str = Field(description="Which.")


@dataclass
class Demo:
    """The handlers, and what tests wait for."""

    things: dict[str, Thing] = field(default_factory=dict)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    closed_with: int | None = None
    failure: Exception | None = None

    async def detect(self, call: Call) -> Result:
        query: DetectQuery = call.query
        if isinstance(call.body, bytes):
            return Found(sizes=[len(call.body)], conf=query.conf)
        form: Form = call.body
        return Found(sizes=[len(part.data) for part in form.files], conf=query.conf)

    async def get_thing(self, call: Call) -> Result:
        name = call.path.name
        if name not in self.things:
            raise HttpError(404, f"there is no thing '{name}'")
        return self.things[name]

    async def put_thing(self, call: Call) -> Result:
        made = call.path.name not in self.things
        self.things[call.path.name] = call.body
        call.note(weight_kg=call.body.weight_kg, source="rtsp://user:hunter2@camera/")
        return Answer(call.body, 201 if made else 200)

    async def change_slowly(self, call: Call) -> Result:
        self.started.set()
        await self.release.wait()
        if self.failure is not None:
            raise self.failure
        self.things["slow"] = Thing(weight_kg=1)
        call.note(done=True)
        return None

    async def break_off(self, call: Call) -> Result:
        response = web.StreamResponse(headers={"Content-Type": "text/plain", "Content-Length": "100"})
        await response.prepare(call.request)
        await response.write(b"so far")
        raise ValueError("a bug in the middle")

    async def delete_thing(self, call: Call) -> Result:
        if self.things.pop(call.path.name, None) is None:
            raise HttpError(404, "there is no such thing")
        return None

    async def trouble(self, call: Call) -> Result:
        if call.query.kind == "value":
            raise ValueError("a bug at /home/me/x.py")
        if call.query.kind == "undeclared":
            return Thing(weight_kg=1)
        raise _TROUBLES[call.query.kind]

    async def wait(self, _: Call) -> Result:
        self.started.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return None

    async def big(self, call: Call) -> Result:
        self.started.set()
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        try:
            await response.prepare(call.request)
            for _ in range(BIG_BYTES >> 18):
                await response.write(bytes(1 << 18))
        except (ConnectionError, asyncio.CancelledError):
            self.cancelled.set()
            raise
        return response

    async def live(self, call: Call) -> Result:
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(call.request)
        self.started.set()
        try:
            while True:
                await response.write(b"tick\n")
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def talk(self, call: Call) -> Result:
        websocket = await open_websocket(call)
        self.started.set()
        async for message in websocket:
            await websocket.send_str(f"{call.identity.name}: {message.data}")
        self.closed_with = websocket.close_code
        return websocket

    def endpoints(self) -> list[Endpoint]:
        raw = RawBody(("image/*",), description="A picture.")
        form = FormBody(("file",), ("image/jpeg", "image/png"), DetectFields)
        everything = Media("application/octet-stream")
        thing: dict[str, Any] = {"path_model": ThingPath, "tag": "things"}
        change: dict[str, Any] = {"role": Role.OPERATE, **thing}
        made = {200: Thing, 201: Thing}
        detect = Endpoint(
            "POST",
            "/detect",
            self.detect,
            "Find",
            query=DetectQuery,
            body=(raw, form),
            answers={200: Found},
        )
        return [
            detect,
            Endpoint("GET", "/things/{name}", self.get_thing, "Show", answers={200: Thing}, **thing),
            Endpoint(
                "PUT",
                "/things/{name}",
                self.put_thing,
                "Keep",
                body=JsonBody(Thing),
                answers=made,
                change="thing.put",
                **change,
            ),
            Endpoint("DELETE", "/things/{name}", self.delete_thing, "Drop", change="thing.delete", **change),
            Endpoint("POST", "/admin", self.wait, "For owners", role=Role.ADMIN),
            Endpoint("GET", "/trouble", self.trouble, "Fail", query=TroubleQuery, documented=False),
            Endpoint("GET", "/half", self.break_off, "Half an answer", documented=False),
            Endpoint("POST", "/slow", self.change_slowly, "Slow", change="thing.slow", documented=False),
            Endpoint("GET", "/wait", self.wait, "Wait", documented=False),
            Endpoint("GET", "/big", self.big, "Much", answers={200: everything}, documented=False),
            Endpoint("GET", "/live", self.live, "Live", answers={200: everything}, lasting=True, documented=False),
            Endpoint("GET", "/talk", self.talk, "Talk", lasting=True, websocket=True, documented=False),
        ]


@dataclass(frozen=True)
class Running:
    """A service that runs, and a client of it that keeps no cookies unless asked to."""

    service: Service
    demo: Demo
    metrics: Metrics
    client: aiohttp.ClientSession
    settings: HttpSettings

    @property
    def url(self) -> str:
        return self.service.addresses[0]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def ask(self, method: str, path: str, *, token: str = "", **options: Any) -> Reply:
        headers = dict(options.pop("headers", {}))
        if isinstance(options.get("data"), bytes):
            options["data"] = io.BytesIO(options["data"])
        if token:
            headers["Authorization"] = f"Bearer {token}"
        async with self.client.request(method, self.url + path, headers=headers, **options) as answer:
            return Reply(answer.status, CIMultiDict(answer.headers), await answer.read())

    @asynccontextmanager
    async def socket(
        self, sent: bytes = b"", *, source: str = "127.0.0.1", receive_buffer_bytes: int = 0
    ) -> AsyncIterator[Peer]:
        """A connection of our own; ``source`` is the loopback address it comes from."""
        plain = socket.socket()
        if receive_buffer_bytes:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        plain.bind((source, 0))
        plain.settimeout(0)
        try:
            await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", self.port))
        except OSError:
            plain.close()
            raise
        reader, writer = await asyncio.open_connection(sock=plain)
        writer.write(sent)
        try:
            yield Peer(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@dataclass(frozen=True)
class Reply:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The one sentence of a refusal, whose shape is checked."""
        said = self.json
        assert set(said) == {"error"}, said
        assert self.headers["Content-Type"].startswith("application/json")
        assert "X-Content-Type-Options" in self.headers
        return str(said["error"])


@dataclass(frozen=True)
class Peer:
    """Our end of a plain connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def reply(self) -> Reply:
        """The next answer; its body by Content-Length."""
        async with asyncio.timeout(WAIT_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers: CIMultiDict[str] = CIMultiDict()
            for line in lines:
                name, _, value = line.partition(": ")
                headers.add(name, value)
            body = await self.reader.readexactly(int(headers.get("Content-Length", 0)))
        return Reply(int(first.split()[1]), headers, body)

    async def closed(self) -> None:
        """Wait until the other end closes; what it sends until then is thrown away."""
        async with asyncio.timeout(WAIT_S):
            with suppress(ConnectionError):
                while await self.reader.read(1 << 16):
                    pass


@asynccontextmanager
async def running(
    demo: Demo | None = None, *, instruments: Instruments | None = None, **settings: Any
) -> AsyncIterator[Running]:
    """The demo service on a free port, for as long as the context lasts."""
    chosen = HttpSettings.model_validate({"port": 0, **settings})
    instruments = instruments or Instruments()
    demo = demo or Demo()
    service = Service(build_app(chosen, demo.endpoints(), about=ABOUT, instruments=instruments), chosen)
    await service.start()
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(cookie_jar=jar, timeout=aiohttp.ClientTimeout(total=2 * WAIT_S)) as client:
        try:
            yield Running(service, demo, instruments.metrics, client, chosen)
        finally:
            demo.release.set()
            await service.drain(WAIT_S)


async def until(condition: Callable[[], object]) -> None:
    """Wait for what nobody is told of."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - as it says
            await asyncio.sleep(0.01)


def on_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test's coroutine on the loop that services run on."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=LOOPS[kwargs.get("loop", "uvloop")]) as runner:
            runner.run(test(*args, **kwargs))

    return run


def cookie_of(reply: Reply) -> str:
    """``name=value`` of the cookie that an answer sets."""
    found = re.match(r"[^;]+", reply.headers["Set-Cookie"])
    assert found is not None
    return found.group()

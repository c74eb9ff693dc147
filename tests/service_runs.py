"""The service as it runs, on real sockets in this process, and a client that asks it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import aiohttp
import av
import cv2
import numpy as np
from numpy.typing import NDArray

from edge.report import RunReport
from edge.service.configuration import ConfigDocument
from edge.service.hub import Hub
from edge.service.program import ServeProgram
from stream.pipeline import Detector
from stream.runtime import LoopThread

T = TypeVar("T")
WAIT_S = 60.0


def until(condition: Callable[[], T], within_s: float = WAIT_S) -> T:
    """Wait for what nobody is told of, and return it."""
    deadline_s = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    return found


def frame_of(clip: Path, number: int = 40) -> NDArray[np.uint8]:
    """A picture of a clip, BGR."""
    with av.open(str(clip)) as container:
        frames = container.decode(video=0)
        for _ in range(number):
            frame = next(frames)
        return np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)


def encoded(picture: NDArray[np.uint8], suffix: str = ".jpg") -> bytes:
    done, data = cv2.imencode(suffix, picture)
    assert done
    return bytes(data.tobytes())


@dataclass(frozen=True, slots=True)
class Answered:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Serving:
    """``with Serving(project, settings) as service``: it listens, and its models are loaded, unless told otherwise."""

    def __init__(
        self,
        project: Path,
        content: Mapping[str, Any] | None = None,
        *,
        options: Mapping[str, Any] | None = None,
        config: Path | None = None,
        wait: bool = True,
        wrap_detector: Callable[[Detector], Detector] = lambda detector: detector,
    ) -> None:
        fixed = {"output": {"project": project}, "mlflow": {"enabled": False}, "serve": {"http": {"port": 0}}}
        document = ConfigDocument(config, _merged(fixed, options or {}))
        document.content = dict(content or {})
        self._settings, self._document = document.load(), document
        self._wait = wait
        self._wrap_detector = wrap_detector
        self._ready = threading.Event()
        self._addresses: Future[str] = Future()
        self.notes: list[str] = []
        self.report: RunReport | None = None

    @property
    def hub(self) -> Hub:
        return self.program.hub

    def __enter__(self) -> Serving:
        self._loop = LoopThread()
        self._loop.__enter__()
        self.program = self.run(self._made())
        self._running = self._loop.submit(self.program.run())
        self._running.add_done_callback(self._ended)
        self.url = self._addresses.result(WAIT_S)
        if self._wait:
            assert self._ready.wait(WAIT_S), "the models were not loaded"
            if self._running.done():
                self._running.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self.report = self._running.result(WAIT_S)
        self._loop.__exit__(kind, error, trace)

    def stop(self) -> None:
        self._loop.call(self.program.stop)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a client's coroutine on the service's loop."""
        return self._loop.submit(coroutine).result(WAIT_S)

    def call(self, function: Callable[[], T]) -> T:
        """Call on the service's loop."""

        async def there() -> T:
            return function()

        return self.run(there())

    def ask(self, method: str, path: str, **options: Any) -> Answered:
        """One request of a client of its own."""

        async def asking() -> Answered:
            async with aiohttp.ClientSession() as session, session.request(method, self.url + path, **options) as found:
                return Answered(found.status, dict(found.headers), await found.read())

        return asyncio.run(asking())

    def get(self, path: str, **options: Any) -> Answered:
        return self.ask("GET", path, **options)

    def post_picture(self, data: bytes, path: str = "/detect", kind: str = "image/jpeg", **options: Any) -> Answered:
        return self.ask("POST", path, data=data, headers={"Content-Type": kind}, **options)

    def _ended(self, running: Future[RunReport | None]) -> None:
        self._ready.set()
        if not self._addresses.done():
            error = running.exception()
            self._addresses.set_exception(error or RuntimeError("it ended before it listened"))

    async def _made(self) -> ServeProgram:
        return ServeProgram(
            Hub(self._settings, self._document),
            on_listening=lambda addresses: self._addresses.set_result(addresses[0]),
            on_ready=self._ready.set,
            on_note=self.notes.append,
            wrap_detector=self._wrap_detector,
        )


def form(*files: tuple[str, bytes], field: str = "file", **fields: str) -> aiohttp.FormData:
    """A form with files by name."""
    data = aiohttp.FormData()
    for name, content in files:
        data.add_field(field, content, filename=name, content_type="image/jpeg")
    for key, value in fields.items():
        data.add_field(key, value)
    return data


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    from stream.config import merged

    return merged(base, over)

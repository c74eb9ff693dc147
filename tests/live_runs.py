"""A live source run in a thread of its own, as the program runs it, and looked at from outside; or played at once."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import TypeVar
from unittest.mock import patch

from stream.errors import SourceError
from stream.frame import Frame, NetworkView, Pixels, SourceInfo
from stream.packets import EncodedPacket
from stream.sources.address import parse_address
from stream.sources.backoff import Failure
from stream.sources.base import PictureDemand
from stream.sources.health import SourceHealth
from stream.sources.live import LiveSource
from stream.sources.settings import LiveSettings
from stream.sources.status import SourceState, SourceStatus

T = TypeVar("T")
WAIT_S = 60.0

PATIENT = LiveSettings(
    open_timeout_s=30, read_timeout_s=30, stall_s=30, max_staleness_s=60, first_connect_limit_s=WAIT_S
)
"""Of a machine that stands still for some seconds nothing is seen."""


class OwnTime:
    """A clock that only goes on while somebody waits for it: what is played by it takes no time at all."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def time(self) -> float:
        return self.now_s

    def go_on(self, seconds: float) -> None:
        self.now_s += seconds


class OwnQuit(threading.Event):
    """Who waits for it waits by a clock of our own."""

    def __init__(self, clock: OwnTime) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        if not self.is_set():
            self._clock.go_on(timeout or 0.0)
        return self.is_set()


class _Health(SourceHealth):
    """Remembers every failure: such a state may be over before anybody looks."""

    failures: list[SourceStatus]

    def failed(self, kind: Failure, reason: str, now_s: float, retry_at_s: float | None = None) -> None:
        super().failed(kind, reason, now_s, retry_at_s)
        self.failures.append(self.status(now_s))


class Looking:
    """An attention that looks at everything, or at nothing."""

    def __init__(self, *, at_all: bool = True, idle: bool = False) -> None:
        self.idle = idle
        self.still = idle
        self.at_all = at_all
        self.lumas: list[tuple[tuple[int, ...], float]] = []

    def wants(self, luma: Callable[[], Pixels], received_s: float) -> bool:
        plane = luma()
        self.lumas.append((plane.shape, float(plane.mean())))
        return self.at_all


class Taps:
    """Keeps the packets that are handed to it."""

    def __init__(self) -> None:
        self.packets: list[EncodedPacket] = []

    def packet(self, packet: EncodedPacket) -> None:
        self.packets.append(packet)


def square_view(_width: int, _height: int) -> NetworkView:
    return NetworkView(64, 64, rgb=False)


class Run:
    """``with Run(url) as run``: ``run.frames`` grow while it runs; leaving stops it and waits for its thread."""

    def __init__(
        self,
        url: str,
        settings: LiveSettings = PATIENT,
        *,
        looking: Looking | None = None,
        pictures: bool = True,
        on_frame: Callable[[Frame], object] = lambda _frame: None,
    ) -> None:
        self.frames: list[Frame] = []
        self.tapped = Taps()
        self.looking = looking or Looking()
        self.info: SourceInfo | None = None
        self.refusal: SourceError | None = None
        self.first_s = 0.0
        with patch("stream.sources.live.SourceHealth", _Health):
            self.source = LiveSource(
                parse_address(url),
                name="cam",
                settings=settings,
                attention=self.looking,
                wants_pictures=lambda: PictureDemand.ALL if pictures else PictureDemand.NONE,
                tap=self.tapped,
            )
        self.failures: list[SourceStatus] = []
        self.source._health.failures = self.failures  # type: ignore[attr-defined] # it is one of ours
        self._left: SourceStatus | None = None
        self._on_frame = on_frame
        self._thread = threading.Thread(target=self._read, name="run", daemon=True)

    def __enter__(self) -> Run:
        self.started_s = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.source.interrupt()
        self.join()

    def join(self) -> None:
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), "the source did not end"

    @property
    def status(self) -> SourceStatus:
        """How it stands; how it was left, if it was played."""
        return self._left or self.source.status(time.monotonic())

    def until(self, state: SourceState) -> SourceStatus:
        """Wait for a state that lasts and give the status in it."""
        return self.wait(lambda: status if (status := self.status).state is state else None, state)

    def lost(self, former: int = 0) -> SourceStatus:
        """Wait for a failure after so many ``former`` ones and give the status there was, over by now or not."""
        return self.wait(lambda: self.failures[former] if len(self.failures) > former else None, "a failure")

    def until_frames(self, count: int) -> Frame:
        """Wait until there are so many frames and give the last."""
        return self.wait(lambda: self.frames[-1] if len(self.frames) >= count else None, count)

    def wait(self, look: Callable[[], T | None], what: object) -> T:
        deadline_s = time.monotonic() + WAIT_S
        while (found := look()) is None:
            assert time.monotonic() < deadline_s, f"waited for {what}: {self.status}, {len(self.frames)} frames"
            time.sleep(0.01)
        return found

    def play(self, clock: OwnTime, count: int | None) -> None:
        """See :func:`play`."""
        self.source._quit = OwnQuit(clock)
        self.info = self.source.open()
        try:
            for frame in itertools.islice(self.source.frames(square_view), count):
                self.frames.append(frame)
                self._on_frame(frame)
            self._left = self.source.status(clock.now_s)
        finally:
            self.source.close()

    def _read(self) -> None:
        try:
            self.info = self.source.open()
        except SourceError as exc:
            self.refusal = exc
            return
        try:
            for frame in self.source.frames(square_view):
                self.first_s = self.first_s or time.monotonic() - self.started_s
                self.frames.append(frame)
                self._on_frame(frame)
        finally:
            self.source.close()


def play(
    url: str,
    settings: LiveSettings = PATIENT,
    *,
    count: int | None = None,
    clock: OwnTime | None = None,
    looking: Looking | None = None,
    pictures: bool = True,
    on_frame: Callable[[Frame], object] = lambda _frame: None,
) -> Run:
    """Play a file to its end, or for ``count`` frames, by a clock of its own: at once, and at any machine's pace."""
    clock = clock or OwnTime()
    with patch("stream.sources.live.time", clock), patch("stream.sources.playback.time", clock):
        run = Run(url, settings, looking=looking, pictures=pictures, on_frame=on_frame)
        run.play(clock, count)
    return run

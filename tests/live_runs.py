"""A live source run in a thread of its own, as the program runs it, and looked at from outside."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from stream.errors import SourceError
from stream.frame import Frame, NetworkView, Pixels, SourceInfo
from stream.packets import EncodedPacket
from stream.sources.address import parse_address
from stream.sources.base import PictureDemand
from stream.sources.live import LiveSource
from stream.sources.settings import LiveSettings
from stream.sources.status import SourceState, SourceStatus

T = TypeVar("T")
QUICK = LiveSettings(open_timeout_s=1, read_timeout_s=1, stall_s=0.4, first_connect_limit_s=3)


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
        settings: LiveSettings = QUICK,
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
        self.source = LiveSource(
            parse_address(url),
            name="cam",
            settings=settings,
            attention=self.looking,
            wants_pictures=lambda: PictureDemand.ALL if pictures else PictureDemand.NONE,
            tap=self.tapped,
        )
        self._on_frame = on_frame
        self._thread = threading.Thread(target=self._read, name="run", daemon=True)

    def __enter__(self) -> Run:
        self.started_s = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.source.interrupt()
        self.join()

    def join(self, timeout_s: float = 10) -> None:
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), "the source did not end"

    @property
    def status(self) -> SourceStatus:
        return self.source.status(time.monotonic())

    def until(self, state: SourceState, timeout_s: float = 8) -> SourceStatus:
        """Wait for a state and give the status in it."""
        return self.wait(lambda: status if (status := self.status).state is state else None, timeout_s, state)

    def until_frames(self, count: int, timeout_s: float = 8) -> Frame:
        """Wait until there are so many frames and give the last."""
        return self.wait(lambda: self.frames[-1] if len(self.frames) >= count else None, timeout_s, count)

    def wait(self, look: Callable[[], T | None], timeout_s: float, what: object) -> T:
        deadline_s = time.monotonic() + timeout_s
        while (found := look()) is None:
            assert time.monotonic() < deadline_s, f"waited for {what}: {self.status}, {len(self.frames)} frames"
            time.sleep(0.01)
        return found

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

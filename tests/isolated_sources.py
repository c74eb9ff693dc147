"""Sources for the child process of an isolated one that do on command what hostile streams do to a decoder.

What they do is told in the address: ``Script(...).address()``. Run as a program (``python -m tests.isolated_sources``)
it is a parent with a child that decodes for ever; it prints the child's process and waits to be killed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from stream.errors import SourceError
from stream.frame import Frame, NetworkView, SourceInfo
from stream.geometry import Letterbox
from stream.isolation.messages import Start
from stream.packets import EncodedPacket, PacketTap, VideoTrack
from stream.sources.address import Address, AddressKind
from stream.sources.base import PictureDemand, SourceLosses, ViewPlanner
from stream.sources.health import SourceHealth
from stream.sources.status import SourceStatus

TIME_BASE = Fraction(1, 90_000)
FACTORY = "tests.isolated_sources:scripted"


@dataclass(frozen=True, slots=True)
class Script:
    """``frames`` grey pictures of ``width x height``, ``pause_s`` apart, then what ``then`` says: ``end``, ``crash``,
    ``hang`` (the decode thread alone), ``stop`` (the whole process), ``say`` (the bytes ``said``, in hex, ``times``) or
    ``wait``.

    With ``once`` (a path) only the first child does so, the others go on for ever. ``opens`` is what happens before:
    ``well``, ``refused``, ``crash`` or ``hang``. Every ``resize_every`` frames pictures grow by half, twice; then they
    are as they were.
    """

    frames: int = 10
    width: int = 64
    height: int = 48
    pause_s: float = 0.01
    then: str = "end"
    said: str = ""
    times: int = 1
    once: str = ""
    opens: str = "well"
    resize_every: int = 0

    def address(self, kind: AddressKind = AddressKind.RTSP) -> Address:
        return Address(kind, json.dumps(dataclasses.asdict(self)), "rtsp://***@camera/1")


def scripted(start: Start, wants_pictures: Callable[[], PictureDemand], tap: PacketTap | None) -> ScriptedSource:
    return ScriptedSource(Script(**json.loads(start.url)), wants_pictures, tap)


class ScriptedSource:
    """As :class:`stream.sources.live.LiveSource`, without a stream."""

    name = "scripted"

    def __init__(self, script: Script, wants_pictures: Callable[[], PictureDemand], tap: PacketTap | None) -> None:
        self._script = script
        self._wants_pictures = wants_pictures
        self._tap = tap
        self._quit = threading.Event()
        self._begun_s = time.monotonic()
        self._health = SourceHealth(self._begun_s, stall_s=0.5)
        self._track = VideoTrack("h264", script.width, script.height, TIME_BASE, Fraction(25), b"\1\2\3")

    @property
    def losses(self) -> SourceLosses:
        return SourceLosses(corrupt_packets=3)

    @property
    def drops(self) -> Mapping[str, int]:
        return {"late": 2}

    def status(self, now_s: float) -> SourceStatus:
        return self._health.status(now_s)

    def interrupt(self) -> None:
        self._quit.set()

    def open(self) -> SourceInfo:
        script = self._script
        if script.opens == "refused":
            raise SourceError("rtsp://user:secret@camera/1 says no\x1b[2J")
        self._misbehave(script.opens)
        self._health.live(time.monotonic())
        return SourceInfo("scripted", "", "none", "h264", script.width, script.height, Fraction(25), TIME_BASE)

    def frames(self, plan: ViewPlanner) -> Iterator[Frame]:
        script = self._script
        harmless = bool(script.once) and Path(script.once).exists()
        index = 0
        while not self._quit.is_set() and (harmless or index < script.frames):
            self._health.packet(time.monotonic())
            self._send_packet(index)
            yield self._frame(index, plan)
            index += 1
            self._quit.wait(script.pause_s)
        if self._quit.is_set():
            return
        if script.once:
            Path(script.once).touch()
        self._misbehave(script.then)

    def close(self) -> None:
        self._health.ended(time.monotonic(), "the script is over")

    def _frame(self, index: int, plan: ViewPlanner) -> Frame:
        script = self._script
        grown = 1.5 ** (index // script.resize_every % 3) if script.resize_every else 1
        width, height = round(script.width * grown), round(script.height * grown)
        view = plan(width, height)
        now_s = time.monotonic()
        picture = np.full((height, width, 3), index % 256, np.uint8)
        wanted = self._wants_pictures() is PictureDemand.ALL
        return Frame(
            source="scripted",
            index=index,
            pts=round((now_s - self._begun_s) * 90_000),
            time_base=TIME_BASE,
            received_s=now_s,
            width=width,
            height=height,
            network=np.full((view.height, view.width, 3), index % 256, np.uint8) if view else None,
            letterbox=Letterbox.fit(width, height, view.width, view.height) if view else None,
            picture=picture if wanted else None,
        )

    def _send_packet(self, index: int) -> None:
        if self._tap is not None:
            now_s = time.monotonic()
            ticks = round((now_s - self._begun_s) * 90_000)
            self._tap.packet(EncodedPacket(self._track, bytes([index % 256]) * 9, ticks, ticks, index % 5 == 0, now_s))

    def _misbehave(self, how: str) -> None:
        if how == "crash":
            signal.raise_signal(signal.SIGSEGV)  # on this thread, as a bug in the decoder does
        elif how == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif how == "hang":
            threading.Event().wait()
        elif how == "wait":
            self._quit.wait()
        elif how == "say":
            said = memoryview(bytes.fromhex(self._script.said) * self._script.times)
            while said:
                said = said[os.write(int(sys.argv[1]), said) :]
            self._quit.wait()


def view_of(width: int, height: int) -> NetworkView:
    """A detector that is ready at once."""
    return NetworkView(32, 24, rgb=True)


def main() -> None:
    from stream.sources.isolated import IsolatedSource, Isolation
    from stream.sources.settings import LiveSettings, LookSettings

    source = IsolatedSource(
        Script(frames=1_000_000).address(),
        name="cam",
        settings=LiveSettings(),
        look=LookSettings(),
        wants_pictures=lambda: PictureDemand.ALL,
        isolation=Isolation(factory=FACTORY),
    )
    source.open()
    next(iter(source.frames(view_of)))
    print(source.child_pid, flush=True)  # noqa: T201 - that is what the test reads
    time.sleep(60)


if __name__ == "__main__":
    main()

"""What tests of isolated sources share on the parent's side, and what a child that was taken over might say."""

from __future__ import annotations

import contextlib
import itertools
import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from stream.frame import Frame
from stream.isolation.messages import Picture, Report
from stream.packets import EncodedPacket
from stream.sources.address import AddressKind
from stream.sources.base import PictureDemand, Source, SourceLosses, ViewPlanner
from stream.sources.isolated import IsolatedSource, Isolation
from stream.sources.settings import LiveSettings, LookSettings
from stream.sources.status import SourceState, SourceStatus
from tests.isolated_sources import FACTORY, TIME_BASE, Script, view_of


class Tape:
    """A tap that keeps what it is handed."""

    def __init__(self) -> None:
        self.packets: list[EncodedPacket] = []

    def packet(self, packet: EncodedPacket) -> None:
        self.packets.append(packet)


PATIENT_S = 60.0
"""The child may be silent for so long where that is not what is tested: this machine stands still at times."""


def isolated(script: Script, **changes: Any) -> IsolatedSource:
    """A source whose child obeys ``script``."""
    settings = LiveSettings(**{"read_timeout_s": 0.5, "open_timeout_s": 0.2} | changes.pop("settings", {}))
    return IsolatedSource(
        script.address(changes.pop("kind", AddressKind.RTSP)),
        name="cam",
        settings=settings,
        look=LookSettings(),
        wants_pictures=changes.pop("wants_pictures", lambda: PictureDemand.ALL),
        tap=changes.pop("tap", None),
        isolation=Isolation(FACTORY, **{"margin_s": PATIENT_S} | changes),
    )


@contextlib.contextmanager
def opened(source: IsolatedSource) -> Iterator[IsolatedSource]:
    source.open()
    try:
        yield source
    finally:
        source.close()


def some(source: Source, count: int, plan: ViewPlanner = view_of) -> list[Frame]:
    return list(itertools.islice(source.frames(plan), count))


def gone(pid: int, within_s: float = 30.0) -> bool:
    """Whether the process ends in time; one that only waits to be reaped has ended."""
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Deaths:
    """The reasons for which a source has lost its children, all of them: nobody has to look at the right moment."""

    def __init__(self, source: IsolatedSource) -> None:
        self._lost = patch.object(source._standing, "lost", wraps=source._standing.lost)

    def __enter__(self) -> Deaths:
        self._told = self._lost.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._lost.stop()

    @property
    def reasons(self) -> list[str]:
        return [call.args[1] for call in self._told.call_args_list]


def frame_of(index: int, *, width: int = 8, height: int = 6, level: int = 0) -> Frame:
    picture = np.full((height, width, 3), level, np.uint8)
    return Frame("cam", index, index, TIME_BASE, 0.0, width, height, picture=picture)


def message(**fields: Any) -> bytes:
    body = json.dumps(fields).encode()
    return struct.pack("<II", len(body), 0) + body


PICTURE: dict[str, Any] = Picture.of(frame_of(99, width=64, height=48), 0).model_dump()

CHATTER = message(**Report.of(SourceStatus(SourceState.LIVE, 0.0), 0.0, SourceLosses(), {}).model_dump(mode="json"))

LIES = {
    "noise": b"\xff" * 40,
    "endless": struct.pack("<II", 1 << 31, 0),
    "large payload": struct.pack("<II", 10, (1 << 32) - 1),
    "no json": struct.pack("<II", 4, 0) + b"\x80\x04\x95.",
    "deep json": struct.pack("<II", 60_000, 0) + b"[" * 60_000,
    "unknown": message(kind="exec", code="print()"),
    "order": message(kind="receipt", frames=1, demand="all", ready=False),
    "slot": message(**PICTURE | {"slot": 4_000_000_000}),
    "negative slot": message(**PICTURE | {"slot": -1}),
    "no slot": message(**PICTURE | {"slot": None}),
    "size": message(**PICTURE | {"width": 640}),
    "huge": message(kind="lay_out", width=65_535, height=65_535),
    "nan": message(**PICTURE | {"received_s": float("nan")}),
    "future": message(**PICTURE | {"received_s": 1e11}),
    "backwards": message(**PICTURE | {"index": 0}),
    "far": message(**PICTURE | {"pts": 1 << 50}),
    "packet": message(kind="coded", pts=0, dts=0, epoch=0, is_keyframe=True, received_s=0.0),
}

"""Results, changes and fakes made by hand, for the tests of zones and events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import count
from pathlib import Path

import numpy as np

from edge.events.event import Event, EventChange
from edge.events.settings import ChangeType
from stream.frame import FrameResult, Pixels, Refinement, ZoneView
from tests.results import boxes, result

STARTED_AT = 1_700_000_000.0
"""2023-11-14T22:13:20Z"""

FPS = 10
BLANK = np.zeros((240, 320, 3), np.uint8)

Seen = Mapping[int, tuple[float, float, float, float]]
"""Boxes by track."""


def frame(
    index: int,
    seen: Seen | None = None,
    *,
    name: str = "person",
    names: Sequence[str] | None = None,
    confidence: float | Sequence[float] = 0.8,
    carried: bool = False,
    epoch: int = 0,
    zones: tuple[ZoneView, ...] = (),
    refined: Mapping[int, Refinement] | None = None,
    picture: Pixels | None = BLANK,
    size: tuple[int, int] | None = None,
) -> FrameResult:
    """The ``index``-th frame of a camera of 10 fps, 320x240, that shows ``seen``."""
    seen = seen or {}
    confidences = [confidence] * len(seen) if isinstance(confidence, float) else list(confidence)
    found = boxes(
        list(seen.values()), names=names or [name] * len(seen), confidence=confidences, track_ids=list(seen.keys())
    )
    made = result(index, found, pts=index, time_base=Fraction(1, FPS), picture=BLANK, carried=carried, refined=refined)
    width, height = size or (320, 240)
    return replace(
        made, zones=zones, frame=replace(made.frame, epoch=epoch, picture=picture, width=width, height=height)
    )


def standing_at(x: float, y: float, height: float = 40.0) -> tuple[float, float, float, float]:
    """A box whose foot point is (x, y)."""
    return (x - height / 4, y - height, x + height / 4, y)


def zone(name: str, *inside: int) -> ZoneView:
    return ZoneView(name=name, points=((0, 0), (320, 0), (320, 240)), inside=inside)


def event(number: int = 1, **known: object) -> Event:
    """An event of ``cam1``."""
    made = Event(
        id=f"17000000000{number:02d}-abc",
        camera="cam1",
        class_name="person",
        track_id=number,
        sequence=1,
        confidence=0.9,
        box=(10.0, 20.0, 30.5, 60.25),
        latest_confidence=0.7,
        latest_box=(11.0, 21.0, 31.0, 61.0),
        width=320,
        height=240,
        start_s=STARTED_AT,
        latest_s=STARTED_AT + 2.5,
    )
    return replace(made, **known)  # type: ignore[arg-type] # each test knows the fields it sets


def change(kind: str = "new", number: int = 1, **known: object) -> EventChange:
    ended = {"end_s": STARTED_AT + 2.5} if kind == "end" else {}
    return EventChange(ChangeType(kind), event(number, **ended | known))


class Suffixes:
    """Suffixes of ids that can be foreseen: s1, s2, ..."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def __call__(self) -> str:
        return f"s{next(self._numbers)}"


class Heard:
    """A publisher that remembers what it was told."""

    def __init__(self) -> None:
        self.changes: list[EventChange] = []

    def publish(self, change: EventChange) -> None:
        self.changes.append(change)

    def close(self, within_s: float) -> None:
        """Nothing is on its way."""


class Clips:
    """A clip keeper that remembers what was asked of it, and has a clip of everything it holds."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[tuple[str, str, float]] = []
        self._folder = folder

    def hold(self, event_id: str, from_s: float) -> None:
        self.asked.append(("hold", event_id, round(from_s, 3)))

    def release(self, event_id: str, until_s: float) -> None:
        self.asked.append(("release", event_id, round(until_s, 3)))

    def clip_of(self, event_id: str) -> Path | None:
        return self._folder / f"{event_id}.mp4"

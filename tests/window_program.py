"""Cameras made by hand, and a program that shows them in the real window: ``python -m tests.window_program SCENE``.

It prints what the keys ask for, a line each, and ends when the window is closed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from edge.window import FeedFigures, WindowError, open_window
from stream.frame import FrameResult, Pixels, ZoneView
from stream.sources.status import SourceState, SourceStatus
from tests.results import boxes, result

GOOD, WAITING = (110, 210, 90), (60, 180, 250)
"""The colours of a camera that is live, and of one whose picture is not of now."""

BLUE, GREEN, RED, YELLOW = (200, 40, 40), (40, 160, 40), (40, 40, 200), (40, 200, 200)


@dataclass(slots=True)
class FakeFeed:
    """A camera whose every answer is set by the test."""

    name: str
    shown: FrameResult | None = None
    state: SourceStatus = field(default_factory=lambda: SourceStatus(SourceState.LIVE, 0.0))
    now: FeedFigures = field(default_factory=lambda: FeedFigures(25.0, 5.0))

    def newest(self) -> FrameResult | None:
        return self.shown

    def status(self, now_s: float) -> SourceStatus:
        return self.state

    def figures(self) -> FeedFigures:
        return self.now

    def show(self, seen: FrameResult, now_s: float) -> None:
        """Deliver a result as just received."""
        self.shown = replace(seen, frame=replace(seen.frame, received_s=now_s))


class FakeControls:
    """Remembers what was asked."""

    def __init__(self, told: Callable[[str], None] | None = None) -> None:
        self.asked: list[str] = []
        self._told = told or self.asked.append

    def quit(self) -> None:
        self._told("quit")

    def snapshot(self, camera: str) -> None:
        self._told(f"snapshot {camera}")

    def toggle_recording(self, camera: str) -> None:
        self._told(f"record {camera}")


def plain(colour: tuple[int, int, int], width: int = 640, height: int = 360) -> Pixels:
    return np.full((height, width, 3), colour, np.uint8)


def share(area: Pixels, colour: tuple[int, int, int]) -> float:
    """How much of an area has a colour."""
    return float((np.abs(area.astype(int) - colour).max(axis=2) < 8).mean())


def scene_of_one() -> list[FakeFeed]:
    """One camera: a person in a zone, on a blue ground."""
    person = boxes([[280, 120, 360, 300]], track_ids=[7])
    zone = ZoneView("door", ((200, 100), (440, 100), (440, 340), (200, 340)), inside=(7,))
    return [FakeFeed("front door", replace(result(0, person, picture=plain(BLUE)), zones=(zone,)))]


def scene_of_four() -> list[FakeFeed]:
    """Four colours; the second camera is offline, the third has not shown anything yet."""
    offline = SourceStatus(SourceState.BACKING_OFF, 0.0, "the camera closed the connection")
    connecting = SourceStatus(SourceState.CONNECTING, 0.0)
    return [
        FakeFeed("blue", result(0, picture=plain(BLUE))),
        FakeFeed("green", result(0, picture=plain(GREEN)), offline),
        FakeFeed("none", None, connecting),
        FakeFeed("yellow", result(0, picture=plain(YELLOW)), now=FeedFigures(25.0, 5.0, recording=True)),
    ]


SCENES = {"one": scene_of_one, "four": scene_of_four}


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def run(feeds: Sequence[FakeFeed], index: int = 0) -> None:
    """Show the feeds, the live ones with a new picture at every step, until the window is closed."""
    window = open_window(lambda: feeds, FakeControls(tell))
    begun_s = time.monotonic()
    for feed in feeds:
        if feed.shown is not None:
            feed.show(feed.shown, begun_s)
    while window.step(time.monotonic()):
        index += 1
        for feed in feeds:
            if feed.shown is not None and feed.state.state is SourceState.LIVE:
                frame = replace(feed.shown.frame, index=index, pts=512 * index)
                feed.show(replace(feed.shown, frame=frame), time.monotonic())
    window.close()
    tell("closed")


if __name__ == "__main__":
    try:
        run(SCENES[sys.argv[1]]())
    except WindowError as error:
        tell(f"refused: {error}")

"""How the cameras are doing, on a terminal or in a log."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.live import Live
from rich.table import Table
from rich.text import Text

from edge.cameras.camera import Camera
from edge.cli.console import Terminal
from stream.sources.status import SourceState, SourceStatus

PLAIN_LINE_EVERY_S = 10.0
"""Where no table can be drawn (a log, a pipe), a line this often says that the cameras are alive."""

_COLOURS = {
    SourceState.LIVE: "green",
    SourceState.CONNECTING: "cyan",
    SourceState.STALLED: "yellow",
    SourceState.BACKING_OFF: "yellow",
    SourceState.REFUSED: "red",
}


class LiveDisplay:
    """A table of the cameras on a terminal, plain lines elsewhere. Changes of state are lines of their own."""

    def __init__(self, console: Terminal) -> None:
        self._console = console
        self._table: Live | None = None
        if console.is_terminal:
            self._table = Live(console=console, auto_refresh=False, transient=True)
        self._next_line_s = time.monotonic() + PLAIN_LINE_EVERY_S

    def __enter__(self) -> LiveDisplay:
        if self._table is not None:
            self._table.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._table is not None:
            self._table.stop()

    def state(self, camera: str, status: SourceStatus) -> None:
        """A camera's state has changed; from any thread."""
        self._console.print(f"{time.strftime('%H:%M:%S')} {camera}: {told(status)}")

    def update(self, cameras: Sequence[Camera], now_s: float) -> None:
        """Show how they are doing now."""
        if self._table is not None:
            self._table.update(_table(cameras, now_s), refresh=True)
        elif now_s >= self._next_line_s:
            self._next_line_s = now_s + PLAIN_LINE_EVERY_S
            for camera in cameras:
                self._console.print(f"{camera.name}: {_line(camera, now_s)}")


def told(status: SourceStatus) -> str:
    """A state in words."""
    words = status.state.value.replace("_", " ")
    return f"{words}: {status.reason}" if status.reason else words


def age_ms(camera: Camera, now_s: float) -> float | None:
    """How old the newest result is, None before the first."""
    newest = camera.newest()
    return None if newest is None else (now_s - newest.frame.received_s) * 1e3


def _line(camera: Camera, now_s: float) -> str:
    figures, status = camera.figures(), camera.status(now_s)
    age = age_ms(camera, now_s)
    parts = [
        status.state.value.replace("_", " "),
        f"{figures.fps_in:.1f} fps",
        f"{figures.fps_detect:.1f} detected",
        "no picture yet" if age is None else f"age {age:.0f} ms",
        f"{figures.dropped} dropped",
    ]
    return ", ".join(parts + ["recording"] * figures.recording)


def _table(cameras: Sequence[Camera], now_s: float) -> Table:
    table = Table("camera", "state", box=None, pad_edge=False, header_style="bold")
    for heading in ("fps", "detected", "age, ms", "dropped"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for camera in cameras:
        figures, status = camera.figures(), camera.status(now_s)
        age = age_ms(camera, now_s)
        table.add_row(
            camera.name,
            Text(told(status), style=_COLOURS.get(status.state, "")),
            f"{figures.fps_in:.1f}",
            f"{figures.fps_detect:.1f}",
            "" if age is None else f"{age:.0f}",
            str(figures.dropped),
            "REC" if figures.recording else "",
        )
    return table

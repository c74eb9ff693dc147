"""How far a run is, on a terminal or in a log."""

from __future__ import annotations

import time
from types import TracebackType

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bars,
)
from rich.text import Text

from edge.cli.console import Terminal
from edge.station import Progress

PLAIN_LINE_EVERY_S = 5.0
"""Where no bar can be drawn (a log, a pipe), a line this often says that the run is alive."""


class ProgressDisplay:
    """A bar a source on a terminal, plain lines elsewhere."""

    def __init__(self, console: Terminal) -> None:
        self._display: _Bar | _Lines = _Bar(console) if console.is_terminal else _Lines(console)

    def __enter__(self) -> ProgressDisplay:
        self._display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.stop()

    def update(self, progress: Progress) -> None:
        if progress.source and progress.source_number <= progress.source_count:
            self._display.update(progress)


class _Bar:
    def __init__(self, console: Terminal) -> None:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            _Speed(),
            TimeRemainingColumn(),
        )
        self._bars = Bars(*columns, console=console, transient=True)
        self._tasks: dict[int, TaskID] = {}
        self.start, self.stop = self._bars.start, self._bars.stop

    def update(self, progress: Progress) -> None:
        number = progress.source_number
        if number not in self._tasks:
            for task in self._tasks.values():
                self._bars.update(task, visible=False)
            self._tasks[number] = self._bars.add_task(_title(progress))
        self._bars.update(self._tasks[number], completed=progress.frames, total=progress.frames_total)


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:5.1f} fps" if task.speed else "")


class _Lines:
    def __init__(self, console: Terminal) -> None:
        self._console = console
        self._number = 0
        self._begun_s = self._next_s = time.monotonic()

    def start(self) -> None:
        """Nothing to set up."""

    def stop(self) -> None:
        """Nothing to take down."""

    def update(self, progress: Progress) -> None:
        now_s = time.monotonic()
        if progress.source_number != self._number:
            self._number, self._begun_s, self._next_s = progress.source_number, now_s, now_s + PLAIN_LINE_EVERY_S
        if now_s < self._next_s:
            return
        self._next_s = now_s + PLAIN_LINE_EVERY_S
        self._console.print(f"{_title(progress)}: {_plain(progress, now_s - self._begun_s)}")


def _title(progress: Progress) -> str:
    place = f"{progress.source_number}/{progress.source_count} " if progress.source_count > 1 else ""
    return place + progress.source


def _plain(progress: Progress, elapsed_s: float) -> str:
    fps = progress.frames / elapsed_s if elapsed_s > 0 else 0.0
    if not progress.frames_total:
        return f"{progress.frames} frames, {fps:.1f} fps"
    left_s = (progress.frames_total - progress.frames) / fps if fps > 0 else 0.0
    return f"{progress.frames}/{progress.frames_total} frames, {fps:.1f} fps, {max(0.0, left_s):.0f} s left"

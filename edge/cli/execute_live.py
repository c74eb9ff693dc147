"""Running cameras from the terminal: signals, the window, what is shown meanwhile, and the closing words."""

from __future__ import annotations

import concurrent.futures
import contextlib
import signal
import time
from collections.abc import Callable
from types import FrameType

from edge.cameras.snapshot import write_snapshot
from edge.cameras.station import CameraStation
from edge.cli.closing import deliver, print_report
from edge.cli.console import Terminal
from edge.cli.execute import Interrupts
from edge.cli.live_display import LiveDisplay
from edge.config import RunSettings
from edge.report import RunReport
from edge.window import Window, WindowError, open_window
from stream.errors import VideoDiscoError
from stream.runtime import LoopThread

REFRESH_S = 0.25
"""How often the table of cameras is drawn."""

Reload = Callable[[], RunSettings]


def run_cameras(settings: RunSettings, *, show: bool, reload: Reload | None, quiet: bool) -> int:
    """Run cameras until a signal, the window's end or their own; the exit code.

    ``reload`` reads the configuration again: with it SIGHUP takes over what changed instead of ending the run.
    """
    console = Terminal(stderr=True, quiet=quiet, soft_wrap=True)
    errors = Terminal(stderr=True, soft_wrap=True)
    with LoopThread() as loop, LiveDisplay(console) as display:
        station = CameraStation(
            settings, show=show, on_state=display.state, on_note=lambda note: errors.print(f"videodisco: {note}")
        )
        interrupts = Interrupts(station.stop, loop, console)
        if reload is not None:
            _reload_on_sighup(station, reload, loop, console, errors)
        report = _watch(station, loop, display, _window(station, loop, console) if show else None)
    print_report(report, Terminal(quiet=quiet, soft_wrap=True), errors)
    code = interrupts.exit_code if interrupts.exit_code is not None else report.exit_code
    deliver(code, station.deliver, interrupts, console, errors)
    return code


def _watch(station: CameraStation, loop: LoopThread, display: LiveDisplay, window: Window | None) -> RunReport:
    running = loop.submit(station.run())
    next_s = 0.0
    try:
        while not running.done():
            now_s = time.monotonic()
            if now_s >= next_s:
                next_s = now_s + REFRESH_S
                display.update(station.cameras, now_s)
            if window is None:
                _wait(running, REFRESH_S)
            elif not window.step(now_s):
                window.close()
                window = None
                loop.call(station.stop)
    finally:
        if window is not None:
            window.close()
    return running.result()


def _wait(running: concurrent.futures.Future[RunReport], seconds: float) -> None:
    with contextlib.suppress(concurrent.futures.TimeoutError):
        running.exception(seconds)


def _window(station: CameraStation, loop: LoopThread, console: Terminal) -> Window | None:
    """The live window; None, with a sentence, where none can be opened: the run goes on without."""
    try:
        return open_window(lambda: station.cameras, _Controls(station, loop, console))
    except WindowError as exc:
        console.print(f"{exc}; the run goes on without a window")
        return None


class _Controls:
    """What the window's keys do, as :class:`edge.window.Controls`."""

    def __init__(self, station: CameraStation, loop: LoopThread, console: Terminal) -> None:
        self._station = station
        self._loop = loop
        self._console = console

    def quit(self) -> None:
        self._loop.call(self._station.stop)

    def snapshot(self, camera: str) -> None:
        found = next((each for each in self._station.cameras if each.name == camera), None)
        newest = found.newest() if found else None
        if newest is None or newest.frame.picture is None:
            self._console.print(f"{camera}: there is no picture yet")
            return
        try:
            path = write_snapshot(self._station.folder.path / "snapshots", newest, time.time())
        except VideoDiscoError as exc:
            self._console.print(str(exc))
            return
        self._console.print(f"snapshot: {path}")

    def toggle_recording(self, camera: str) -> None:
        for each in self._station.cameras:
            if each.name == camera and each.recorder is not None:
                stop = each.recorder.recording
                (each.recorder.stop_manual if stop else each.recorder.start_manual)()
                self._console.print(f"{camera}: recording {'stopped' if stop else 'started'}")


def _reload_on_sighup(
    station: CameraStation, reload: Reload, loop: LoopThread, console: Terminal, errors: Terminal
) -> None:
    async def take_over() -> None:
        try:
            for change in await station.apply(reload()):
                console.print(change)
        except VideoDiscoError as exc:
            errors.print(f"videodisco: nothing is changed: {exc}")

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        loop.submit(take_over())

    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, on_signal)

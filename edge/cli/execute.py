"""Running a station from the terminal: signals, progress, and the closing words."""

from __future__ import annotations

import concurrent.futures
import logging
import sys
from collections.abc import Callable

from edge.cameras.listing import wants_cameras
from edge.cli.closing import print_report
from edge.cli.console import Terminal
from edge.cli.progress import ProgressDisplay
from edge.config import RunSettings
from edge.report import RunReport
from edge.station import Station
from stream.errors import UsageError
from stream.redaction import RedactingFilter
from stream.runtime import LoopThread, SignalStop

REFRESH_S = 0.1
"""How often the main thread looks at the run's progress."""

SWITCH_INTERVAL_S = 0.001
"""How long a thread may keep the interpreter while others ask for it. Python's 5 ms is half an inference: threads
come out of libav and onnxruntime all the time, and what they do in between takes microseconds."""


class Interrupts(SignalStop):
    """SIGINT, SIGTERM and SIGHUP: the first ends the run in order, the second at once."""

    def __init__(self, stop: Callable[[], None], loop: LoopThread, console: Terminal) -> None:
        super().__init__(stop, loop, lambda: console.print("stopping: finishing the files (once more to stop at once)"))


def execute(
    settings: RunSettings, *, show: bool, reload: Callable[[], RunSettings] | None, quiet: bool, debug: bool
) -> int:
    """Run to the end and print what came of it; the exit code."""
    set_up_logging(debug=debug)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    if wants_cameras(settings):
        from edge.cli.execute_live import run_cameras

        return run_cameras(settings, show=show, reload=reload, quiet=quiet)
    if show:
        raise UsageError("--show is for cameras; add --realtime to play files as if they were cameras")
    return _run_files(settings, quiet=quiet)


def _run_files(settings: RunSettings, *, quiet: bool) -> int:
    console = Terminal(stderr=True, quiet=quiet, soft_wrap=True)
    with LoopThread() as loop:
        station = Station(settings)
        interrupts = Interrupts(station.stop, loop, console)
        report = _watch(station, loop, console)
    errors = Terminal(stderr=True, soft_wrap=True)
    print_report(report, Terminal(quiet=quiet, soft_wrap=True), errors)
    code = interrupts.exit_code if interrupts.exit_code is not None else report.exit_code
    interrupts.leave_at_once_with(code)
    with console.status("delivering to MLflow"):
        waiting = station.deliver()
    if waiting:
        errors.print(f"videodisco: {waiting}")
    return code


def _watch(station: Station, loop: LoopThread, console: Terminal) -> RunReport:
    running = loop.submit(station.run())
    with ProgressDisplay(console) as display:
        while True:
            try:
                return running.result(REFRESH_S)
            except concurrent.futures.TimeoutError:
                if running.done():
                    raise  # a TimeoutError out of the run itself
                display.update(station.progress())


def set_up_logging(*, debug: bool) -> None:
    """Warnings, or everything, on the terminal, without credentials."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s" if not debug else logging.BASIC_FORMAT))
    handler.addFilter(RedactingFilter())
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, handlers=[handler])

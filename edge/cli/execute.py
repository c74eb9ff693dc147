"""Running a station from the terminal: which kind it is, its signals and its log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from edge.cameras.listing import wants_cameras
from edge.cli.console import Terminal
from edge.config import RunSettings
from stream.errors import UsageError
from stream.redaction import RedactingFilter
from stream.runtime import LoopThread, SignalStop, without_collecting

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
        with without_collecting():
            from edge.cli.execute_live import run_cameras

        return run_cameras(settings, show=show, reload=reload, quiet=quiet)
    if show:
        raise UsageError("--show is for cameras; add --realtime to play files as if they were cameras")
    with without_collecting():
        from edge.cli.execute_files import run_files

    return run_files(settings, quiet=quiet)


def set_up_logging(*, debug: bool) -> None:
    """Warnings, or everything, on the terminal, without credentials."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s" if not debug else logging.BASIC_FORMAT))
    handler.addFilter(RedactingFilter())
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, handlers=[handler])

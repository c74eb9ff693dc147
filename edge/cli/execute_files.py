"""Running recorded files from the terminal: the progress meanwhile, and the closing words."""

from __future__ import annotations

import concurrent.futures

from edge.cli.closing import deliver, print_report
from edge.cli.console import Terminal
from edge.cli.execute import Interrupts
from edge.cli.progress import ProgressDisplay
from edge.config import RunSettings
from edge.report import RunReport
from edge.station import Station
from stream.runtime import LoopThread

REFRESH_S = 0.1
"""How often the main thread looks at the run's progress."""


def run_files(settings: RunSettings, *, quiet: bool) -> int:
    """Process files to their end, or until a signal; the exit code."""
    console = Terminal(stderr=True, quiet=quiet, soft_wrap=True)
    with LoopThread() as loop:
        station = Station(settings)
        interrupts = Interrupts(station.stop, loop, console)
        report = _watch(station, loop, console)
    errors = Terminal(stderr=True, soft_wrap=True)
    print_report(report, Terminal(quiet=quiet, soft_wrap=True), errors)
    code = interrupts.exit_code if interrupts.exit_code is not None else report.exit_code
    deliver(code, station.deliver, interrupts, console, errors)
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

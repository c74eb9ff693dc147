"""Running the service from the terminal: signals, what is said meanwhile, and the closing words."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import cv2

from edge.cli.closing import deliver, print_report
from edge.cli.console import Terminal
from edge.cli.execute import SWITCH_INTERVAL_S, Interrupts, set_up_logging
from edge.cli.live_display import told
from edge.config import RunSettings
from edge.report import RunReport
from edge.service.configuration import ConfigDocument
from edge.service.hub import Hub
from edge.service.program import ServeProgram, quiet_decoders
from stream.errors import EXIT_DONE, EXIT_LOSSES, VideoDiscoError
from stream.http.settings import require_closed_door
from stream.runtime import LoopThread
from stream.sources.status import SourceStatus


def serve_from_terminal(config: Path | None, options: Mapping[str, Any], *, quiet: bool, debug: bool) -> int:
    """Serve until a signal; the exit code."""
    set_up_logging(debug=debug)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    cv2.setNumThreads(1)  # pictures are looked at side by side already
    quiet_decoders()
    document = ConfigDocument(config, options)
    settings = document.load()
    require_closed_door(settings.serve.http)
    console = Terminal(stderr=True, quiet=quiet, soft_wrap=True)
    errors = Terminal(stderr=True, soft_wrap=True)
    with LoopThread() as loop:
        program = loop.run(_made(settings, document, console, errors))
        interrupts = Interrupts(program.stop, loop, console)
        _reload_on_sighup(program, document, loop, console, errors)
        report = loop.run(program.run())
    code = interrupts.exit_code if interrupts.exit_code is not None else _exit_code(report)
    if report is None or program.hub.station is None:
        return code
    print_report(report, Terminal(quiet=quiet, soft_wrap=True), errors)
    deliver(code, program.hub.station.deliver, interrupts, console, errors)
    return code


async def _made(settings: RunSettings, document: ConfigDocument, console: Terminal, errors: Terminal) -> ServeProgram:
    def listening(addresses: Sequence[str]) -> None:
        console.print(f"listening on {' and '.join(addresses)}")

    def state(camera: str, status: SourceStatus) -> None:
        console.print(f"{time.strftime('%H:%M:%S')} {camera}: {told(status)}")

    def ready() -> None:
        console.print("ready")

    return ServeProgram(
        Hub(settings, document),
        on_listening=listening,
        on_ready=ready,
        on_state=state,
        on_note=lambda note: errors.print(f"videodisco: {note}"),
    )


def _exit_code(report: RunReport | None) -> int:
    """A camera that never came is no loss of the service's."""
    return EXIT_LOSSES if report is not None and report.errors else EXIT_DONE


def _reload_on_sighup(
    program: ServeProgram, document: ConfigDocument, loop: LoopThread, console: Terminal, errors: Terminal
) -> None:
    async def take_over() -> None:
        try:
            for change in await program.hub.apply(document.load()):
                console.print(change)
        except VideoDiscoError as exc:
            errors.print(f"videodisco: nothing is changed: {exc}")

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        loop.submit(take_over())

    if hasattr(signal, "SIGHUP") and document.path is not None:
        signal.signal(signal.SIGHUP, on_signal)

"""Running the refiner from the terminal: settings, signals, and its one line."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2

from cloud.app import CloudService
from cloud.config import CloudSettings, with_token
from cloud.refiners.base import Refiner
from cloud.refiners.making import make_refiner
from stream.config import build, given, load_yaml, merged
from stream.errors import EXIT_DONE, EXIT_SIGTERM
from stream.http.settings import require_closed_door
from stream.redaction import RedactingFilter
from stream.runtime import LoopThread, SignalStop

END_S = 10.0
"""From the signal to the end of the process, whatever hangs."""

SWITCH_INTERVAL_S = 0.001
"""How long a thread may keep the interpreter while others ask for it: a worker that is out of onnxruntime for a moment
shall not wait Python's 5 ms for the loop."""


def read_settings(config: Path | None, options: Mapping[str, Any], token: str | None) -> CloudSettings:
    """The settings of ``config`` with all options that were given laid over them.

    Raises:
        UsageError: a wrong value or key.
    """
    values = merged(load_yaml(config) if config else {}, given(options))
    if token:
        values = with_token(values, token)
    settings = build(CloudSettings, values, origin=str(config) if config else "the command line")
    return settings.model_copy(update={"mlflow": settings.mlflow.with_environment(os.environ)})


def check_settings(settings: CloudSettings, config: Path | None) -> int:
    """Say that the settings would be served by; the exit code.

    Raises:
        UsageError: the door would stand open.
    """
    require_closed_door(settings.http)
    _say(f"{config or 'what the command line says'} is valid")
    return EXIT_DONE


def print_schema() -> int:
    """For editors that complete and check as you type; the exit code."""
    _say(json.dumps(CloudSettings.model_json_schema(), indent=2))
    return EXIT_DONE


def serve(settings: CloudSettings, *, debug: bool) -> int:
    """Serve until a signal; the exit code."""
    _set_up_logging(debug=debug)
    require_closed_door(settings.http)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    cv2.setNumThreads(1)  # crops are small, and decoded side by side already
    refiner = make_refiner(settings)
    with LoopThread() as loop:
        service = loop.run(_made(settings, refiner))
        stop = SignalStop(service.stop, loop, lambda: _end_within(END_S + _delivery_s(settings)))
        try:
            loop.run(service.start())
        except BaseException:
            loop.run(service.give_up())
            raise
        _say(f"videodisco cloud: {refiner.model.name} refines on {', '.join(service.addresses)}")
        loop.run(service.run())
    code = EXIT_DONE if stop.exit_code is None else stop.exit_code
    stop.leave_at_once_with(code)
    if waiting := service.deliver():
        _complain(waiting)
    return code


async def _made(settings: CloudSettings, refiner: Refiner) -> CloudService:
    return CloudService(settings, refiner)


def _delivery_s(settings: CloudSettings) -> float:
    """What the end may take longer where somebody wants to wait for MLflow."""
    return settings.mlflow.flush_s if settings.mlflow.enabled and settings.mlflow.wait else 0.0


def _end_within(seconds: float) -> None:
    """End the process even if a thread is stuck inside a library."""
    _complain("stopping: finishing what was begun (once more to stop at once)")
    watchdog = threading.Timer(seconds, os._exit, [EXIT_SIGTERM])
    watchdog.daemon = True
    watchdog.start()


def _set_up_logging(*, debug: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s" if not debug else logging.BASIC_FORMAT))
    handler.addFilter(RedactingFilter())
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, handlers=[handler])


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads it
        print(line, flush=True)  # noqa: T201 - this is the terminal


def _complain(line: str) -> None:
    with contextlib.suppress(OSError):
        print(f"videodisco: {line}", file=sys.stderr, flush=True)  # noqa: T201 - this is the terminal

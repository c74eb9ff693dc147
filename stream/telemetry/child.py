"""The courier as its parent sees it: a child process that is started, nudged, told to finish, and ended.

It hears lines on its standard input (``look``, ``finish``, ``leave``; the end of input means stop, unless it was told
to finish without its parent) and answers on its standard
output with one JSON string a line, each a sentence about what keeps it from delivering.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

log = logging.getLogger(__name__)

# A courier that was told to stop is given this long to end by itself.
STOP_GRACE_S = 1.0

# What it said last has come when its output ends, which a child of its own might hold open.
LAST_WORDS_S = 5.0

# What the courier's libraries say goes to a file for the curious, begun anew when it has grown beyond this.
LOG_LIMIT_BYTES = 1_000_000


class CourierProcess:
    """The child process that delivers a spool, with the first trouble it reports logged as a warning.

    ``trouble`` is the last sentence it said, empty where all went well.
    """

    def __init__(self, spool_path: Path, session: str, shown_destination: str) -> None:
        self.trouble = ""
        self._spool_path = spool_path
        self._session = session
        self._shown_destination = shown_destination
        self._process: subprocess.Popen[bytes] | None = None
        self._listener: threading.Thread | None = None
        self._warned = False

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, environment: Mapping[str, str]) -> None:
        """Start it, in a session of its own so that Ctrl-C reaches only its parent. Raises OSError."""
        self._release()
        log_path = self._spool_path.parent / "courier.log"
        too_long = log_path.exists() and log_path.stat().st_size > LOG_LIMIT_BYTES
        with log_path.open("wb" if too_long else "ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "stream.telemetry.courier", str(self._spool_path), self._session],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=_with_import_path(environment),
                # mlflow leaves files in the working directory
                cwd=self._spool_path.parent,
                start_new_session=True,
            )
        self._listener = threading.Thread(
            target=self._listen, args=(self._process.stdout,), name="mlflow-courier-reports", daemon=True
        )
        self._listener.start()

    def nudge(self) -> None:
        """Say that the spool holds something new."""
        self._say(b"look\n")

    def finish(self, deadline_s: float) -> None:
        """Let it deliver what it can until the monotonic ``deadline_s``, then end it."""
        if self._process is None:
            return
        self._say(b"finish\n")
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(deadline_s - time.monotonic(), 0.0))
        self._end()

    def leave(self) -> None:
        """Let it finish by itself: it outlives this process by the seconds that takes, bounded."""
        self._say(b"leave\n")
        self._close_input()

    def _end(self) -> None:
        process = self._process
        if process is None:
            return
        self._close_input()
        try:
            process.wait(STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._listener is not None:
            self._listener.join(LAST_WORDS_S)
        self._release()

    def _release(self) -> None:
        self._close_input()
        self._process = None

    def _close_input(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()

    def _say(self, line: bytes) -> None:
        if self._process is None or self._process.stdin is None:
            return
        # a courier that ended, or was just told to, is noticed elsewhere
        with suppress(OSError, ValueError):
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def _listen(self, reports: IO[bytes]) -> None:
        with reports:
            for line in reports:
                with suppress(ValueError):
                    self._report(str(json.loads(line)))

    def _report(self, sentence: str) -> None:
        self.trouble = sentence
        if sentence and not self._warned:
            self._warned = True
            log.warning("MLflow at %s: %s; records wait on disk meanwhile.", self._shown_destination, sentence)


def _with_import_path(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment, with the folder this package was imported from on the child's import path."""
    folder = str(Path(__file__).resolve().parents[2])
    # made absolute, for the child works in another folder
    inherited = [str(Path(entry).absolute()) for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return {**environment, "PYTHONPATH": os.pathsep.join([folder, *inherited])}

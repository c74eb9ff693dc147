"""A sink that comes back: what runs for months outlives a disk that was full for an hour."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from stream.errors import SinkError
from stream.frame import FrameResult, SourceInfo
from stream.sinks.base import Sink

RETRY_S = 10.0
"""How long a sink that failed is left alone before it is opened again."""


class RevivingSink:
    """Feeds another sink; when that fails it is closed, and opened again at a later result.

    ``on_note`` is told when it fails and when it is back, with the number of results it did not get; nothing is
    raised. ``lost`` counts them all.
    """

    def __init__(
        self, sink: Sink, *, on_note: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = sink.name
        self.optional = True
        self.lost = 0
        self._sink = sink
        self._on_note = on_note
        self._clock = clock
        self._info: SourceInfo | None = None
        self._is_open = False
        self._missed = 0
        self._retry_at_s = float("-inf")

    @property
    def wants_picture(self) -> bool:
        return self._sink.wants_picture

    @property
    def outputs(self) -> list[Path]:
        return self._sink.outputs

    def open(self, info: SourceInfo) -> None:
        self._info = info
        self._try(self._open)

    def write(self, result: FrameResult) -> None:
        if not self._is_open and self._clock() >= self._retry_at_s:
            self._try(self._open)
        if not (self._is_open and self._try(lambda: self._sink.write(result))):
            self._missed += 1
            self.lost += 1

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._try(self._sink.close)

    def _open(self) -> None:
        if self._info is None:
            raise RuntimeError("write before open")
        try:
            self._sink.open(self._info)
        except SinkError:
            with contextlib.suppress(SinkError):
                self._sink.close()
            raise
        self._is_open = True
        if self._missed:
            self._on_note(f"{self.name} of {self._info.name} is written again; {self._missed} results are missing")
            self._missed = 0

    def _try(self, step: Callable[[], None]) -> bool:
        try:
            step()
        except SinkError as exc:
            self._fail(exc)
            return False
        return True

    def _fail(self, error: SinkError) -> None:
        self._retry_at_s = self._clock() + RETRY_S
        if not self._missed:
            self._on_note(str(error))
        if self._is_open:
            self._is_open = False
            with contextlib.suppress(SinkError):  # told already
                self._sink.close()

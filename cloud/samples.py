"""Sampled predictions: lines of JSON to be looked at later, in files that are finished now and then."""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from cloud.config import SampleSettings
from stream.errors import SinkError
from stream.sinks.append import AppendFile

log = logging.getLogger(__name__)

FINISH_EVERY_S = 3600.0
"""A file is finished after this even if it is small, so that MLflow has the last hour's."""


def is_sampled(key: str, share: float) -> bool:
    """Whether an answer is among the ``share`` that is written down: the same for a key at any time."""
    return zlib.crc32(key.encode("utf-8", "replace")) < share * 2**32


class Samples:
    """Appends to ``predictions.jsonl`` in ``folder`` on a thread of its own.

    A file that is large or old becomes ``predictions-<time>.jsonl`` and is handed to ``finished``; ``lost`` counts
    lines that could not be written.
    """

    def __init__(
        self,
        folder: Path,
        settings: SampleSettings,
        finished: Callable[[Path], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lost = 0
        self._path = folder / "predictions.jsonl"
        self._settings = settings
        self._finished = finished
        self._clock = clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="samples")
        self._file: AppendFile | None = None
        self._begun_s = 0.0

    def write(self, line: str) -> None:
        """Add a line without its end; returns at once."""
        self._thread.submit(self._guarded, lambda: self._append(line))

    def tick(self) -> None:
        """Look whether the file is old; call it now and then."""
        self._thread.submit(self._guarded, self._finish_if_due)

    def close(self) -> None:
        """Finish the file."""
        self._thread.submit(self._guarded, self._finish)
        self._thread.shutdown(wait=True)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (SinkError, OSError) as exc:
            self.lost += 1
            if self.lost == 1:
                log.warning("samples are being lost: %s", exc)

    def _append(self, line: str) -> None:
        if self._file is None:
            self._file = AppendFile(self._path, self._clock)
            self._file.open()
            self._begun_s = self._clock()
        self._file.append(line + "\n")
        self._finish_if_due()

    def _finish_if_due(self) -> None:
        if self._file is None:
            return
        large = self._file.offset_bytes >= self._settings.max_mb * 1_000_000
        if large or self._clock() - self._begun_s >= FINISH_EVERY_S:
            self._finish()

    def _finish(self) -> None:
        if self._file is None:
            return
        file, self._file = self._file, None
        file.close()
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        path = self._path.with_name(f"predictions-{stamp}.jsonl")
        self._path.replace(path)
        self._finished(path)
        for old in sorted(self._path.parent.glob("predictions-*.jsonl"))[: -self._settings.keep]:
            old.unlink()

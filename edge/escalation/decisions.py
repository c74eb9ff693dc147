"""decisions.jsonl: why each track was asked about, or was not, and what became of the crops that never arrived."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge.events.event import iso_time
from stream.errors import SinkError
from stream.sinks.append import AppendFile
from stream.sinks.rotation import Rotation

DECISIONS = "decisions.jsonl"

DECISIONS_ROTATION = Rotation(max_bytes=32_000_000, keep=4)
"""About half a million decisions."""

MOST_A_SECOND = 50
"""More is no explanation any more; how many lines were left out is written with the next one."""

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


class DecisionLog:
    """Lines of one writer; several write into the same file. For one thread.

    What cannot be written is left out and counted: nobody needs the log to go on. ``lost`` counts what was left out,
    for a disk that is full as for there being too many lines.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        rotation: Rotation = DECISIONS_ROTATION,
    ) -> None:
        self.path = folder / DECISIONS
        self.lost = 0
        self._clock = clock
        self._wall_clock = wall_clock
        self._file = AppendFile(self.path, clock, rotation)
        self._is_open = False
        self._left = float(MOST_A_SECOND)
        self._asked_s = clock()
        self._unsaid = 0

    def write(self, decision: str, cause: str, why: str, **details: Any) -> None:
        """A line, at once; details that are None are left out."""
        if not self._may_write():
            self._leave_out()
            return
        line: dict[str, Any] = {"time": iso_time(self._wall_clock()), "decision": decision, "cause": cause, "why": why}
        line |= {name: _told(value) for name, value in details.items() if value is not None}
        if self._unsaid:
            line["left_out_before"] = self._unsaid
        try:
            self._open()
            self._file.append(_encode(line) + "\n")
            self._file.flush()
        except SinkError:
            self._leave_out()
            self.close()
        else:
            self._unsaid = 0

    def close(self) -> None:
        """A later line opens it again."""
        self._is_open = False
        try:
            self._file.close()
        except SinkError:
            self.lost += 1

    def _open(self) -> None:
        if not self._is_open:
            self._file.open()
            self._is_open = True

    def _leave_out(self) -> None:
        self._unsaid += 1
        self.lost += 1

    def _may_write(self) -> bool:
        now_s = self._clock()
        self._left = min(MOST_A_SECOND, self._left + (now_s - self._asked_s) * MOST_A_SECOND)
        self._asked_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


def _told(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_told(each) for each in value]
    return value

"""Whether a decode thread gets on, so far as that can be seen from beside it."""

from __future__ import annotations

import time

from stream.sources.status import SourceState, SourceStatus


class Pulse:
    """Judges by the source's status: one that is live has packets, one that waits to connect again says until when."""

    def __init__(self) -> None:
        self._waits = False
        self._beat_s = time.monotonic()

    def beat(self, *, waits: bool = False) -> None:
        """The thread gives a sign of life. Once it ``waits`` for the parent it may be quiet until the next."""
        self._waits = waits
        self._beat_s = time.monotonic()

    def quiet_s(self, status: SourceStatus, now_s: float) -> float:
        """How long there has been nothing that a thread which gets on would have done."""
        if self._waits or status.state in {SourceState.LIVE, SourceState.PAUSED}:
            return 0.0
        return max(0.0, now_s - max(self._beat_s, status.since_s, status.retry_at_s or 0.0))

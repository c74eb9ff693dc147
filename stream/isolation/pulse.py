"""Whether the decode thread of a child is alive, so far as that can be seen from beside it."""

from __future__ import annotations

import time

from stream.sources.status import SourceState, SourceStatus


class Pulse:
    """When the decode thread last gave a sign of life; ``waiting`` while it waits for the parent."""

    def __init__(self) -> None:
        self.waiting = False
        self._beat_s = time.monotonic()

    def beat(self) -> None:
        self._beat_s = time.monotonic()

    def quiet_s(self, status: SourceStatus, now_s: float) -> float:
        """How long it has been quiet without a reason: who waits to connect again may be."""
        lives = status.state in {SourceState.LIVE, SourceState.STALLED}
        sign_s = max(self._beat_s, status.retry_at_s or 0.0, 0.0 if lives else status.since_s)
        return 0.0 if self.waiting else max(0.0, now_s - sign_s)

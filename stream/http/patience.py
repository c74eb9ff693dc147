"""How long a connection may keep us waiting. Pure: whoever asks brings the time."""

from __future__ import annotations

from dataclasses import dataclass

from stream.http.settings import LimitSettings

_PROGRESS_BYTES = 64 << 10
"""A reader that takes as much within the send limit is slow, but reads."""

_STUCK_S = 3.0
"""A reader that took nothing for so long gives way when there are too many connections."""


@dataclass(slots=True)
class Patience:
    """One connection's clock: between requests it waits for a head, within one for its reader."""

    since_s: float
    fresh: bool = True
    busy: bool = False
    heard_s: float | None = None
    stuck_s: float | None = None
    stuck_bytes: int = 0

    def heard(self, now_s: float) -> None:
        """Bytes came; between requests they are the beginning of a head."""
        if not self.busy and self.heard_s is None:
            self.heard_s = now_s

    def began(self) -> None:
        """A whole head came."""
        self.busy, self.fresh, self.heard_s = True, False, None

    def ended(self, now_s: float) -> None:
        """The answer is written."""
        self.busy, self.since_s = False, now_s

    def blocked(self, now_s: float, waiting_bytes: int) -> None:
        """The reader does not keep up; ``waiting_bytes`` wait for it."""
        self.stuck_s, self.stuck_bytes = now_s, waiting_bytes

    def flowed(self) -> None:
        self.stuck_s = None

    def verdict(self, now_s: float, waiting_bytes: int, limits: LimitSettings) -> str | None:
        """The cause for which to give it up now, if any."""
        if self.busy:
            return "slow_reader" if self._reads_too_slowly(now_s, waiting_bytes, limits.send_timeout_s) else None
        if self.fresh and now_s - self.since_s >= limits.head_timeout_s:
            return "head_timeout"
        if self.heard_s is not None and now_s - self.heard_s >= limits.head_timeout_s:
            return "head_timeout"
        return "idle" if now_s - self.since_s >= limits.idle_s else None

    def gives_way(self, now_s: float) -> float | None:
        """How long it has been of no use, if it may be closed for somebody else's sake."""
        if not self.busy:
            return now_s - self.since_s
        if self.stuck_s is not None and now_s - self.stuck_s >= _STUCK_S:
            return now_s - self.stuck_s
        return None

    def _reads_too_slowly(self, now_s: float, waiting_bytes: int, limit_s: float) -> bool:
        if self.stuck_s is None:
            return False
        if self.stuck_bytes - waiting_bytes >= _PROGRESS_BYTES:
            self.blocked(now_s, waiting_bytes)
        return now_s - self.stuck_s >= limit_s

"""How a live source is doing, written by its decode thread and read by anybody."""

from __future__ import annotations

import threading
from dataclasses import replace

from stream.sources.backoff import Failure
from stream.sources.status import SourceState, SourceStatus

_STALL_INTERVALS = 2
"""A camera that sends seldom is stalled after so many of its own intervals."""

_SMOOTHING = 0.2
"""Weight of the newest interval in the running mean."""


class SourceHealth:
    """The state of one source. It reads no clock: ``now_s`` is monotonic and given by the caller.

    A stall is judged when somebody asks, from the time of the last packet: the thread that waits for the packet
    cannot say that none comes.
    """

    def __init__(self, now_s: float, *, stall_s: float) -> None:
        self._lock = threading.Lock()
        self._stall_s = stall_s
        self._status = SourceStatus(SourceState.CONNECTING, now_s)
        self._packet_s = now_s
        self._interval_s = 0.0

    def connecting(self, now_s: float) -> None:
        """The address is opened (again)."""
        with self._lock:
            self._change(SourceState.CONNECTING, now_s, self._status.reason)

    def packet(self, now_s: float) -> None:
        """A packet of the video has arrived."""
        with self._lock:
            if self._status.state is SourceState.LIVE:
                self._interval_s += _SMOOTHING * (now_s - self._packet_s - self._interval_s)
            self._packet_s = now_s

    def live(self, now_s: float) -> bool:
        """The first clean picture of a connection is there. False for a file that begins again: it was live before."""
        with self._lock:
            if self._status.state is SourceState.LIVE:
                return False
            self._interval_s = 0.0
            self._packet_s = now_s
            self._change(SourceState.LIVE, now_s, "")
            self._status = replace(self._status, connects=self._status.connects + 1)
            return True

    def failed(self, kind: Failure, reason: str, now_s: float, retry_at_s: float | None = None) -> None:
        """The connection is gone or did not come about; ``reason`` holds no credentials."""
        state = SourceState.REFUSED if kind is Failure.REFUSED else SourceState.BACKING_OFF
        with self._lock:
            self._change(state, now_s, reason)
            self._status = replace(self._status, retry_at_s=retry_at_s)

    def ended(self, now_s: float, reason: str = "") -> None:
        """It is over. The first reason stays."""
        with self._lock:
            if self._status.state is not SourceState.ENDED:
                self._change(SourceState.ENDED, now_s, reason)

    def live_for_s(self, now_s: float) -> float:
        """How long the connection has been giving pictures."""
        with self._lock:
            return now_s - self._status.since_s if self._status.state is SourceState.LIVE else 0.0

    def status(self, now_s: float) -> SourceStatus:
        """How it stands now; any thread may ask."""
        with self._lock:
            status, silent_s = self._status, now_s - self._packet_s
            limit_s = max(self._stall_s, _STALL_INTERVALS * self._interval_s)
            if status.state is not SourceState.LIVE or silent_s <= limit_s:
                return status
            return replace(
                status,
                state=SourceState.STALLED,
                since_s=self._packet_s + limit_s,
                reason=f"nothing has come from the camera for {silent_s:.0f} s",
            )

    def _change(self, state: SourceState, now_s: float, reason: str) -> None:
        self._status = SourceStatus(state, now_s, reason, self._status.connects)

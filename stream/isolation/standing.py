"""How a source stands whose children come and go: their word while they live, ours in between, totals over all."""

from __future__ import annotations

import threading
from dataclasses import asdict, replace

from stream.isolation.messages import Report
from stream.sources.backoff import Failure
from stream.sources.base import SourceLosses
from stream.sources.status import SourceState, SourceStatus

_LEAST_SILENCE_S = 3.0
"""A child that decodes reports every second; so long without a word is no accident."""


class Standing:
    """Written by the thread that listens to the child, read by anybody. Times are monotonic."""

    def __init__(self, now_s: float, *, stall_s: float) -> None:
        self._lock = threading.Lock()
        self._silence_s = max(stall_s, _LEAST_SILENCE_S)
        self._own: SourceStatus | None = None
        self._reason = ""
        self._report: Report | None = None
        self._begun_s = now_s
        self._listening_since_s: float | None = None
        self._connects = 0
        self._losses = SourceLosses()
        self._drops: dict[str, int] = {}

    def heard(self, report: Report) -> None:
        """What the child says of itself."""
        with self._lock:
            self._report = report
            if report.connects:
                self._reason = ""

    def listens(self, since_s: float | None) -> None:
        """Somebody waits for the child to say something, or does no longer."""
        self._listening_since_s = since_s

    def connecting(self, now_s: float) -> None:
        """There is a new child."""
        with self._lock:
            self._own, self._begun_s = None, now_s

    def lost(self, kind: Failure, reason: str, now_s: float, retry_at_s: float) -> None:
        """The child is gone; what it counted stays."""
        state = SourceState.REFUSED if kind is Failure.REFUSED else SourceState.BACKING_OFF
        with self._lock:
            self._keep_counts()
            self._reason = reason
            self._own = SourceStatus(state, now_s, reason, self._connects, retry_at_s)

    def ended(self, now_s: float, reason: str) -> None:
        """It is over. The child's own reason counts before ours, the first before others."""
        with self._lock:
            if self._own is not None and self._own.state is SourceState.ENDED:
                return
            if self._report is not None and self._report.state is SourceState.ENDED:
                reason = self._report.reason
            self._keep_counts()
            self._own = SourceStatus(SourceState.ENDED, now_s, reason, self._connects)

    def live_for_s(self, now_s: float) -> float:
        """How long the child has been giving pictures."""
        report = self._report
        lives = report is not None and report.state in {SourceState.LIVE, SourceState.STALLED}
        return max(0.0, now_s - report.since_s) if report and lives else 0.0

    @property
    def connects(self) -> int:
        with self._lock:
            return self._connects + (self._report.connects if self._report else 0)

    @property
    def losses(self) -> SourceLosses:
        with self._lock:
            return self._losses_so_far()

    @property
    def drops(self) -> dict[str, int]:
        with self._lock:
            return self._drops_so_far()

    def status(self, now_s: float) -> SourceStatus:
        with self._lock:
            if self._own is not None:
                return self._own
            report = self._report
            if report is None:
                return SourceStatus(SourceState.CONNECTING, self._begun_s, self._reason, self._connects)
            since_s, connects = min(report.since_s, now_s), self._connects + report.connects
            status = SourceStatus(report.state, since_s, report.reason or self._reason, connects, report.retry_at_s)
            return self._stalled(status, now_s)

    def _stalled(self, status: SourceStatus, now_s: float) -> SourceStatus:
        listening_since_s = self._listening_since_s
        silent_s = 0.0 if listening_since_s is None else now_s - listening_since_s
        if status.state is not SourceState.LIVE or silent_s < self._silence_s:
            return status
        return replace(
            status,
            state=SourceState.STALLED,
            since_s=now_s - silent_s + self._silence_s,
            reason=f"its decoding process has said nothing for {silent_s:.0f} s",
        )

    def _keep_counts(self) -> None:
        self._losses, self._drops = self._losses_so_far(), self._drops_so_far()
        if self._report is not None:
            self._connects += self._report.connects
            self._report = None

    def _losses_so_far(self) -> SourceLosses:
        if self._report is None:
            return self._losses
        before, now = asdict(self._losses), self._report.losses.model_dump()
        truncated = now.pop("truncated") or before.pop("truncated")
        return SourceLosses(**{name: before[name] + count for name, count in now.items()}, truncated=truncated)

    def _drops_so_far(self) -> dict[str, int]:
        now = self._report.drops if self._report else {}
        return self._drops | {cause: self._drops.get(cause, 0) + count for cause, count in now.items()}

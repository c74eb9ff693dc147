"""Whether the cloud is to be asked at all just now: a machine of states that is told what happened and when."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum


class BreakerState(StrEnum):
    """``closed`` lets everything through, ``open`` nothing; ``half_open`` lets one request try whether it works
    again. ``refused`` is ``open`` for a reason that somebody has to mend: a token, an address, a certificate."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    REFUSED = "refused"


FIRST_PAUSE_S = 1.0

REFUSED_PAUSE_S = 60.0
"""Who is not let in asks no more often than this."""

_MOST_DOUBLINGS = 30


@dataclass(frozen=True, slots=True)
class BreakerView:
    """How it stands. ``reason`` is empty while all is well; ``entered`` counts how often each state began."""

    state: BreakerState
    reason: str
    since_s: float
    entered: dict[str, int]


class Breaker:
    """Opens after ``failures`` in a row, or at once where we are refused. Times are monotonic seconds.

    The pause before a try doubles with every one that fails, from :data:`FIRST_PAUSE_S` up to ``longest_pause_s``,
    and is drawn from its upper half by ``luck`` in [0, 1): many edges do not come back to one cloud at once.
    """

    def __init__(self, *, failures: int, longest_pause_s: float, now_s: float) -> None:
        self._failures_allowed = failures
        self._longest_pause_s = longest_pause_s
        self._state = BreakerState.CLOSED
        self._reason = ""
        self._since_s = now_s
        self._retry_at_s = now_s
        self._failed_in_row = 0
        self._failed_tries = 0
        self._entered: Counter[str] = Counter({BreakerState.CLOSED.value: 1})

    @property
    def state(self) -> BreakerState:
        return self._state

    def view(self) -> BreakerView:
        return BreakerView(self._state, self._reason, self._since_s, dict(self._entered))

    def wait_s(self, now_s: float) -> float:
        """How long nothing may be sent; 0 when something may, infinity while a try is under way."""
        if self._state is BreakerState.CLOSED:
            return 0.0
        if self._state is BreakerState.HALF_OPEN:
            return float("inf")
        return max(0.0, self._retry_at_s - now_s)

    def begin(self, now_s: float) -> None:
        """A request goes out: after a pause it is the try that decides."""
        if self._state in (BreakerState.OPEN, BreakerState.REFUSED):
            self._enter(BreakerState.HALF_OPEN, now_s)

    def succeeded(self, now_s: float) -> None:
        """Something was answered as it should be. A late answer to a request from before the pause counts as well."""
        self._failed_in_row = self._failed_tries = 0
        self._reason = ""
        if self._state is not BreakerState.CLOSED:
            self._enter(BreakerState.CLOSED, now_s)

    def failed(self, reason: str, now_s: float, luck: float) -> None:
        """A request failed for a reason that passes."""
        self._failed_in_row += 1
        self._reason = reason
        if self._state is BreakerState.HALF_OPEN or (
            self._state is BreakerState.CLOSED and self._failed_in_row >= self._failures_allowed
        ):
            self._pause(BreakerState.OPEN, FIRST_PAUSE_S, now_s, luck)

    def refused(self, reason: str, now_s: float, luck: float) -> None:
        """We are not let in, or not understood, and will not be before somebody changes something."""
        self._reason = reason
        if self._state is not BreakerState.REFUSED:
            self._pause(BreakerState.REFUSED, min(REFUSED_PAUSE_S, self._longest_pause_s), now_s, luck)

    def note(self, reason: str) -> None:
        """Something is not well, but the cloud is there."""
        self._reason = reason

    def abandoned(self, now_s: float, luck: float) -> None:
        """The request that was begun told nothing, for it was given up by us."""
        if self._state is BreakerState.HALF_OPEN:
            self._pause(BreakerState.OPEN, FIRST_PAUSE_S, now_s, luck)

    def _pause(self, state: BreakerState, first_s: float, now_s: float, luck: float) -> None:
        longest_s = min(self._longest_pause_s, first_s * 2.0 ** min(self._failed_tries, _MOST_DOUBLINGS))
        self._failed_tries += 1
        self._retry_at_s = now_s + longest_s * (1 + luck) / 2
        self._enter(state, now_s)

    def _enter(self, state: BreakerState, now_s: float) -> None:
        self._state = state
        self._since_s = now_s
        self._entered[state.value] += 1

"""The role of a publisher, and how long it pauses after failures."""

from __future__ import annotations

from typing import Protocol

from edge.events.event import EventChange

BACKOFF_BASE_S = 1.0


class Publisher(Protocol):
    """Tells somebody outside of events. Called from the threads of all cameras; both methods raise nothing."""

    def publish(self, change: EventChange) -> None:
        """Take a change to be told; returns at once, whatever the other side does."""

    def close(self, within_s: float) -> None:
        """Tell what can be told within that time, and end. Later changes are not taken."""


def backoff_s(failures: int, longest_s: float, luck: float) -> float:
    """How long to wait after so many failures in a row: anything (by ``luck`` in [0, 1)) up to a bound that doubles
    with each of them, so that many who lost the same server do not come back at once."""
    return luck * min(longest_s, BACKOFF_BASE_S * 2.0 ** min(failures - 1, 30))

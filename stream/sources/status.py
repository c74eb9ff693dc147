"""How a live source is doing: one state at a time, since when, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class SourceState(StrEnum):
    """The life of a live source.

    ``connecting`` -> ``live`` <-> ``stalled`` -> ``backing_off`` or ``refused`` -> ``connecting`` ... -> ``ended``
    """

    CONNECTING = "connecting"
    """An address is being opened, or the first clean picture is awaited."""

    LIVE = "live"
    """Packets arrive."""

    STALLED = "stalled"
    """The connection stands and nothing comes through it."""

    BACKING_OFF = "backing_off"
    """The connection failed in a way that passes by itself; it is tried again soon."""

    REFUSED = "refused"
    """The camera says no (password, path, format); it is tried again, but seldom."""

    PAUSED = "paused"
    """The operator wants no pictures of it for now."""

    ENDED = "ended"
    """It is over: a file that was played to its end, or a source that was stopped."""


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """A source's state at one moment. Times are of the monotonic clock.

    ``reason`` is one sentence without credentials, empty where the state says it all; ``connects`` counts the
    connections that gave a picture; ``retry_at_s`` is when it is tried next.
    """

    state: SourceState
    since_s: float
    reason: str = ""
    connects: int = 0
    retry_at_s: float | None = None
